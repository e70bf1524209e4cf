"""Runs gemini-webapi, as its users install it, against a simulated site; prints one JSON line for each step.

It runs in a venv of its own, where the gateway cannot be imported. Arguments: the proxy that leads to the simulator,
and a folder for what is downloaded. Every coroutine `step_<name>` is a step; those in `SLOW` run while the others do.
"""

import asyncio
import base64
import io
import json
import os
import sys
import time
import traceback
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from gemini_webapi import GeminiClient
from gemini_webapi.constants import AccountStatus
from gemini_webapi.exceptions import GeminiError, ModelInvalidError, TemporarilyBlockedError, UsageLimitExceededError
from gemini_webapi.utils import rotate_1psidts

STEP_SECONDS = 40
SLOW = ("deep_research", "video")
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
MARKDOWN = (
    "# Überschrift 你好 🎉\n\nSome *emphasis*, `code` and a_name_with_underscores.\n\n"
    "```python\nprint('*' * 3)\n```\n\n" + "A sentence that is long enough to take several frames. " * 12 + "End."
)


class World:
    """The site's address, and one client of the main account that the quick steps share."""

    def __init__(self, proxy, folder):
        self._proxy, self.folder = proxy, folder
        self.main = None

    @asynccontextmanager
    async def client(self, name, *, secret="first"):
        """Sign in as an account; a name of None is a guest."""
        cookies = (name, f"{name}-{secret}") if name else (None, None)
        client = GeminiClient(*cookies, proxy=self._proxy)
        await client.init(timeout=90, watchdog_timeout=20, auto_refresh=False)
        try:
            yield client
        finally:
            await client.close()


def equal(found, wanted):
    assert found == wanted, f"found {found!r}, wanted {wanted!r}"


async def step_init(world):
    client = world.main
    equal(client.account_status, AccountStatus.AVAILABLE)
    assert client.access_token
    assert client.build_label
    assert client.session_id
    assert client.push_id.startswith("feeds/")
    equal(client.language, "en")


async def step_models(world):
    models = {model.model_name: model for model in world.main.list_models()}
    assert {"gemini-flash", "gemini-pro", "gemini-flash-lite"} <= models.keys(), models.keys()
    numbers = {name: models[name].model_number for name in ("gemini-flash", "gemini-pro", "gemini-flash-lite")}
    equal(numbers, {"gemini-flash": 1, "gemini-pro": 3, "gemini-flash-lite": 6})
    assert all(model.is_available and model.display_name for model in models.values())
    pro = models["gemini-pro"]
    for name in (pro.model_id, pro.display_name, "pro", "gemini-3.0-pro"):
        equal(world.main.resolve_model(name).model_id, pro.model_id)


async def step_chat(world):
    output = await world.main.generate_content(f"Say it. <echo>{MARKDOWN}</echo>")
    equal(output.text, MARKDOWN)
    equal(len(output.candidates), 1)
    for model in world.main.list_models():
        answer = await world.main.generate_content(f"<echo>by {model.model_name}</echo>", model=model)
        equal(answer.text, f"by {model.model_name}")
    header = json.dumps([1, None, None, None, world.main.resolve_model("flash").model_id, None, None, 0, [4, 5, 6, 8]])
    custom = {"model_name": "custom", "model_header": {"x-goog-ext-525001261-jspb": header}}
    equal((await world.main.generate_content("<echo>by a custom one</echo>", model=custom)).text, "by a custom one")


async def step_stream(world):
    deltas, text = [], ""
    async for output in world.main.generate_content_stream(f"Say it. <echo>{MARKDOWN}</echo>"):
        deltas.append(output.text_delta)
        text = output.text
    equal(text, MARKDOWN)
    equal("".join(deltas), MARKDOWN)
    assert sum(map(bool, deltas)) > 3, deltas


async def step_thinking(world):
    prompt = '<sim thoughts="First this, then that."/><echo>Done.</echo>'
    output = await world.main.generate_content(prompt, model="gemini-pro", extended_thinking=True)
    equal((output.thoughts, output.text), ("First this, then that.", "Done."))
    deltas = [part.thoughts_delta or "" async for part in world.main.generate_content_stream(prompt)]
    equal("".join(deltas), "First this, then that.")


async def step_files(world):
    path = world.folder / "notes.txt"
    path.write_text("some notes\n" * 100)
    image, sound = io.BytesIO(PIXEL), b"RIFF\0\0\0\0WAVE" + bytes(5000)
    output = await world.main.generate_content("What are these?", files=[path, image, sound])
    assert f"- notes.txt (text/plain, {path.stat().st_size} bytes)" in output.text, output.text
    assert f"(image/png, {len(PIXEL)} bytes)" in output.text, output.text
    assert f"(audio/wav, {len(sound)} bytes)" in output.text, output.text


async def step_images(world):
    output = await world.main.generate_content("Generate an image of a fox in the snow")
    assert len(output.images) == 1, output.text
    image = output.images[0]
    assert image.image_id
    assert "googleusercontent.com" not in output.text, output.text
    url = image.url
    small = await image.save(str(world.folder), "small.bin", full_size=False)
    equal(image.url, f"{url}=s1024-rj")
    image.url = url
    full = await image.save(str(world.folder), "full.bin")
    assert "=s2048-rj" not in image.url, "the original was not found, a rendition was taken"
    chat = world.main.start_chat()
    await chat.send_message("Draw a picture of a boat", files=[io.BytesIO(PIXEL)])
    edited = await chat.send_message("Use image generation tool to modify the boat with another design.")
    another = await edited.images[0].save(str(world.folder), "edited.bin")
    return {"small": small, "full": full, "edited": another}


async def step_web_images(world):
    output = await world.main.generate_content('<sim web-images="2"/><echo>Look at these.</echo>')
    equal(output.text.strip(), "Look at these.")
    equal(len({image.url for image in output.images}), 2)
    assert all(image.alt for image in output.images)
    output = await world.main.generate_content("Send me some pictures of cats")
    assert {type(image).__name__ for image in output.images} == {"WebImage"}, output


async def step_citations(world):
    output = await world.main.generate_content('<sim citations="2"/><echo>One [cite: 1]. Both [cite: 1, 2].</echo>')
    equal([source.id for source in output.candidates[0].citations], [1, 2])
    assert all(source.url.startswith("https://") and source.title for source in output.candidates[0].citations)


async def step_conversation(world):
    chat = world.main.start_chat(model="gemini-flash")
    first = await chat.send_message("<echo>one</echo>")
    cid, rid = chat.cid, chat.rid
    assert cid.startswith("c_")
    second = await chat.send_message("<echo>two</echo>")
    equal((first.text, second.text, chat.cid), ("one", "two", cid))
    assert chat.rid != rid
    async with world.client("main") as elsewhere:
        resumed = elsewhere.start_chat(metadata=chat.metadata)
        third = await resumed.send_message("<echo>three</echo>")
        equal((third.text, resumed.cid), ("three", cid))
        named = elsewhere.start_chat(cid=cid)
        equal([(await named.send_message("<echo>four</echo>")).text, named.cid], ["four", cid])
    history = await world.main.read_chat(cid)
    equal([turn.text for turn in history.turns if turn.role == "model"], ["four", "three", "two", "one"])
    equal([turn.text for turn in history.turns if turn.role == "user"][-1], "<echo>one</echo>")
    equal(len((await world.main.read_chat(cid, limit=1)).turns), 2)


async def step_history(world):
    chat = world.main.start_chat()
    await chat.send_message("Remember the name of this chat <echo>yes</echo>")
    newest = world.main.list_chats()[0]
    equal(newest.cid, chat.cid)
    assert abs(newest.timestamp - time.time()) < 60
    async with world.client("main") as elsewhere:
        found = {one.cid: one for one in elsewhere.list_chats()}
        assert found[chat.cid].title
        assert abs(found[chat.cid].timestamp - time.time()) < 60
        equal((await elsewhere.read_chat(chat.cid)).turns[0].text, "yes")


async def step_delete(world):
    kept, gone = world.main.start_chat(), world.main.start_chat()
    for chat in (kept, gone):
        await chat.send_message("<echo>here</echo>")
    await world.main.delete_chat(gone.cid)
    history = await world.main.read_chat(gone.cid)
    assert not (history and history.turns)
    async with world.client("main") as elsewhere:
        listed = {one.cid for one in elsewhere.list_chats()}
        assert kept.cid in listed
        assert gone.cid not in listed


async def step_temporary(world):
    chat = world.main.start_chat()
    first = await chat.send_message("<echo>whispered</echo>", temporary=True)
    cid = chat.cid
    second = await chat.send_message("<echo>whispered again</echo>", temporary=True)
    equal((first.text, second.text, chat.cid), ("whispered", "whispered again", cid))
    async with world.client("main") as elsewhere:
        assert cid not in {one.cid for one in elsewhere.list_chats()}
        history = await elsewhere.read_chat(cid)
        assert not (history and history.turns)
    chat = world.main.start_chat()
    await chat.send_message("<echo>kept</echo>")
    kept = chat.cid
    switched = await chat.send_message("<echo>no longer kept</echo>", temporary=True)
    equal(switched.text, "no longer kept")
    assert chat.cid != kept
    equal([turn.text for turn in (await world.main.read_chat(kept)).turns if turn.role == "model"], ["kept"])


async def step_gems(world):
    gem = await world.main.create_gem(name="Pirate", prompt="Answer like a pirate.", description="Arr")
    listed = (await world.main.fetch_gems(include_hidden=True)).get(id=gem.id)
    equal((listed.name, listed.prompt, listed.description), ("Pirate", "Answer like a pirate.", "Arr"))
    assert not listed.predefined
    used = await world.main.generate_content("Who are you?", gem=gem)
    assert "Answer like a pirate." in used.text, used.text
    await world.main.update_gem(gem=gem, name="Poet", prompt="Answer in verse.", description="Oh")
    jar = await world.main.fetch_gems()
    listed = jar.get(name="Poet")
    equal((listed.id, listed.prompt, listed.description), (gem.id, "Answer in verse.", "Oh"))
    assert jar.filter(predefined=True)
    used = await world.main.generate_content("Who are you?", gem=gem.id)
    assert "Answer in verse." in used.text, used.text
    assert "pirate" not in used.text, used.text
    plain = await world.main.generate_content("Who are you?")
    assert "Answer in verse." not in plain.text
    chat = world.main.start_chat(gem=gem)
    said = [await chat.send_message(words) for words in ("Who are you?", "And now?")]
    assert all("Answer in verse." in output.text for output in said), said
    premade = next(iter(jar.filter(predefined=True)))
    assert (await world.main.generate_content("Who are you?", gem=premade)).text
    await world.main.delete_gem(gem)
    assert gem.id not in await world.main.fetch_gems(include_hidden=True)


async def step_candidates(world):
    chat = world.main.start_chat()
    output = await chat.send_message('<sim candidates="3"/><echo>pick one</echo>')
    equal(len({candidate.rcid for candidate in output.candidates}), 3)
    chosen = chat.choose_candidate(1)
    equal(chat.rcid, output.candidates[1].rcid)
    assert chosen.text.startswith("pick one")
    cid = chat.cid
    following = await chat.send_message("<echo>went on</echo>")
    equal((following.text, chat.cid), ("went on", cid))


async def step_at_once(world):
    chats = [world.main.start_chat() for _ in range(6)]
    said = [chat.send_message(f"<echo>answer {number}</echo>") for number, chat in enumerate(chats)]
    equal([output.text for output in await asyncio.gather(*said)], [f"answer {number}" for number in range(6)])
    equal(len({chat.cid for chat in chats}), 6)


async def step_large_file(world):
    output = await world.main.generate_content("How long is it?", files=[b"%PDF-1.7" + bytes(5_000_000)])
    assert "(application/pdf, 5000008 bytes)" in output.text, output.text


async def step_music(world):
    output = await world.main.generate_content("Create a song about the sea")
    assert len(output.media) == 1, output.text
    return await output.media[0].save(str(world.folder), "song")


async def step_usage(world):
    async with world.client("usage") as client:
        info = client.usage_info
        equal(info["tier"]["label"], "PRO")
        for window in ("current_5h", "weekly"):
            assert 0 <= info[window]["usage_level"] < 1, info
            assert info[window]["reset_at"]
            assert info[window]["remaining_credits"] is not None
        equal(client.abuse_status["is_clean"], True)
        quotas = [quota for name, quota in client.quotas.items() if name not in ("extra", "usage_info")]
        assert quotas
        assert all(isinstance(quota["total"], int) and isinstance(quota["remaining"], int) for quota in quotas)
        before = info["current_5h"]["usage_level"]
        await client.generate_content("<echo>that costs</echo>")
        assert client.usage_info["current_5h"]["usage_level"] > before, client.usage_info
        await client.generate_content("<echo>the last</echo>")
        try:
            await client.generate_content("<echo>one too many</echo>")
        except UsageLimitExceededError:
            return
        raise AssertionError("the quota was never reached")


async def step_rotation(world):
    async with world.client("rotating") as client:
        old = client.cookies.get("__Secure-1PSIDTS")
        equal(old, "rotating-first")
        new = await rotate_1psidts(client.client)
        assert new, "the rotation brought no cookie"
        assert new != old
        equal(client.cookies.get("__Secure-1PSIDTS"), new)
        equal((await client.generate_content("<echo>still here</echo>")).text, "still here")
    async with world.client("rotating") as client:
        equal(client.cookies.get("__Secure-1PSIDTS"), new)
        equal(client.account_status, AccountStatus.AVAILABLE)
        equal((await client.generate_content("<echo>back again</echo>")).text, "back again")


async def step_errors(world):
    async with world.client("failing") as client:
        for code, error in ((1037, UsageLimitExceededError), (1050, ModelInvalidError), (1052, ModelInvalidError)):
            await refused(client, f'<sim error="{code}"/>x', error)
        await refused(client, '<sim error="1060"/>x', TemporarilyBlockedError)
        equal((await client.generate_content("<echo>well again</echo>", model="gemini-pro")).text, "well again")


async def refused(client, prompt, error):
    try:
        output = await client.generate_content(prompt)
    except error:
        return
    raise AssertionError(f"no {error.__name__} but {output.text!r}")


async def step_plans(world):
    for plan in ("free", "plus", "pro", "advanced"):
        async with world.client(f"plan-{plan}") as client:
            model = client.resolve_model("gemini-flash")
            equal((await client.generate_content("<echo>hello</echo>", model=model)).text, "hello")
            equal(model.advanced_only, plan != "free")
    async with world.client("plan-free") as client:
        refusal = await client.generate_content("Generate a video of a fox")
        assert refusal.text, refusal
        assert not refusal.videos, refusal


async def step_signed_out(world):
    async with world.client("expired", secret="old") as client:
        equal(client.account_status, AccountStatus.UNAUTHENTICATED)


async def step_guest(world):
    with cookies_kept_in(world.folder / "guest"):
        await visit_as_guest(world)


@contextmanager
def cookies_kept_in(folder):
    """Hide the cookies of the other accounts, which the client would use if it has none."""
    before, os.environ["GEMINI_COOKIE_PATH"] = os.environ["GEMINI_COOKIE_PATH"], str(folder)
    try:
        yield
    finally:
        os.environ["GEMINI_COOKIE_PATH"] = before


async def visit_as_guest(world):
    async with world.client(None) as client:
        equal(client.account_status, AccountStatus.UNAUTHENTICATED)
        equal((await client.generate_content("<echo>hello stranger</echo>")).text, "hello stranger")
        try:
            await client.generate_content("What is this?", files=[b"x"])
        except GeminiError:
            return
        raise AssertionError("a guest sent a file")


async def step_deep_research(world):
    async with world.client("research") as client:
        prompt = 'Rivers of Europe <sim ready="1" citations="2"/><echo># Rivers\n\nThe Rhine [cite: 1, 2].</echo>'
        result = await client.deep_research(prompt, poll_interval=0.5, timeout=90)
        assert result.plan.title
        assert len(result.plan.steps) > 1
        assert result.plan.eta_text
        assert result.done
        document = result.final_output.deep_research_document
        equal(document.content, "# Rivers\n\nThe Rhine [cite: 1, 2].")
        equal([source["id"] for source in map(as_dict, document.sources)], [1, 2])
        equal((await client.read_chat(result.plan.cid)).turns[-1].text, prompt)


def as_dict(model):
    return model if isinstance(model, dict) else model.model_dump()


async def step_video(world):
    async with world.client("video") as client:
        output = await client.generate_content('Generate a video of a fox that runs <sim ready="1"/>')
        assert len(output.videos) == 1, output.text
        return await output.videos[0].save(str(world.folder), "film")


def report(name, started, error=None, data=None):
    line = {"step": name, "seconds": round(time.monotonic() - started, 2), "error": error, "data": data}
    print(json.dumps(line), flush=True)


async def run(name, world):
    started = time.monotonic()
    try:
        async with asyncio.timeout(STEP_SECONDS):
            data = await globals()[f"step_{name}"](world)
    except Exception:  # noqa: BLE001 -- any error ends this step only
        report(name, started, traceback.format_exc())
    else:
        report(name, started, data=data)


async def run_quick(world, names):
    started = time.monotonic()
    try:
        async with asyncio.timeout(STEP_SECONDS), world.client("main") as world.main:
            pass
    except Exception:  # noqa: BLE001 -- no quick step can go on without it
        for name in names:
            report(name, started, traceback.format_exc())
        return
    async with world.client("main") as world.main:
        for name in names:
            await run(name, world)


async def main(proxy, folder):
    world = World(proxy, Path(folder))
    names = [name.removeprefix("step_") for name in globals() if name.startswith("step_")]
    async with asyncio.TaskGroup() as tasks:
        for name in SLOW:
            tasks.create_task(run(name, world))
        tasks.create_task(run_quick(world, [name for name in names if name not in SLOW]))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
