import re

import anyio
import pytest

from protocol.model import (
    Finish,
    Media,
    MediaKind,
    RateLimited,
    Rendition,
    Text,
    Thought,
    Unsupported,
    UpstreamFailed,
    WorkStarted,
)
from tests.clock import ManualClock
from tests.transports.conftest import asking, deps_for, request_for
from transports import simulator
from transports.simulator import sample_media
from transports.web.long_running.work import Phase, location_of

MODEL = "gemini-3-pro-video"
FAST = {"poll_seconds": 0.05, "delete_seconds": 0.0}


def account_of(transport):
    return next(account for account in transport.accounts if not account.guest)


async def film(transport, text, **more):
    async with asking(transport, request_for(text, MODEL, **more), account_of(transport)) as answer:
        return [event async for event in answer]


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


async def content(transport, ref):
    async with transport.media(ref, Rendition.USUAL) as stream:
        return stream.mime, b"".join([piece async for piece in stream])


@pytest.mark.parametrize("refused", [True, False])
@pytest.mark.parametrize(("aspect", "wide"), [((16, 9), True), ((9, 16), False), (None, True)])
async def test_a_video_is_requested_polled_and_playable(open_site, refused, aspect, wide):
    async with open_site(video_first_turn_refused=refused, video_seconds=0.3) as site:
        async with site.connect(**FAST) as transport:
            events = await film(transport, "a cat on a boat", aspect=aspect)
            (media,) = of(Media, events)
            mime, data = await content(transport, media.ref)
            assert (media.ref.kind, mime, data[4:8]) == (MediaKind.VIDEO, "video/mp4", b"ftyp")
            assert isinstance(events[0], WorkStarted)
            assert isinstance(events[-1], Finish)
            assert "googleusercontent" not in "".join(event.text for event in of(Text, events))
        state = await site.state()
    assert state["departures"] == []
    assert state["seen"]["generate"] == (3 if refused else 1)
    assert (data == sample_media.WIDE_VIDEO) is wide


@pytest.mark.parametrize("profile", ["strict", "site"])
async def test_a_refused_video_that_the_site_makes_is_not_requested_again(open_site, profile):
    options = {"profile": profile, "video_refused_but_generated": True, "video_seconds": 0.3}
    async with open_site(**options) as site, site.connect(**FAST) as transport:
        events = await film(transport, "a cat on a boat")
        assert isinstance(events[0], WorkStarted)
        assert of(Media, events)
        assert await site.seen("generate") == 1


@pytest.mark.parametrize("profile", ["strict", "site"])
async def test_a_refused_video_is_requested_again_after_a_short_turn(open_site, profile):
    async with open_site(profile=profile, video_seconds=0.3) as site, site.connect(**FAST) as transport:
        assert of(Media, await film(transport, "a cat on a boat"))
        assert await site.seen("generate") == 3


@pytest.mark.parametrize("profile", ["strict", "site"])
async def test_a_video_is_made_with_extended_thinking(open_site, profile):
    async with open_site(profile=profile, video_seconds=0.2) as site:
        async with site.connect(**FAST) as transport:
            assert of(Media, await asked_before(transport, "a cat", f"{MODEL}-extended"))
        assert (await site.state())["departures"] == []


async def asked_before(transport, text, model):
    account = account_of(transport)
    async with asking(transport, request_for(text, model), account) as answer:
        return [event async for event in answer]


@pytest.mark.parametrize("model", ["gemini-3-pro", "gemini-3-pro-imagen", MODEL])
@pytest.mark.parametrize("profile", ["strict", "site"])
async def test_a_video_with_the_prompt_of_an_earlier_answer_is_not_looked_for_there(open_site, profile, model):
    async with open_site(profile=profile, video_seconds=0.2) as site, site.connect(**FAST) as transport:
        await asked_before(transport, "a cat on a boat", model)
        asked = await site.seen("generate")
        assert of(Media, await film(transport, "a cat on a boat"))
        assert await site.seen("generate") == asked + 3


@pytest.mark.parametrize("profile", ["strict", "site"])
async def test_a_picture_of_another_process_with_the_prompt_of_a_video_is_not_the_video(open_site, profile):
    async with open_site(profile=profile, video_seconds=0.2) as site:
        async with site.connect(**FAST) as other:
            await asked_before(other, "a cat on a boat", "gemini-3-pro-imagen")
        async with site.connect(**FAST) as transport:
            assert of(Media, await film(transport, "a cat on a boat"))


@pytest.mark.parametrize("profile", ["strict", "site"])
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "a cat"),
        ({"video_refused_but_generated": True}, "a cat"),
        ({"video_first_turn_refused": False}, '<sim eof-after="0"/> a cat'),
    ],
)
async def test_simultaneous_videos_with_one_prompt_never_share_a_conversation(open_site, profile, options, text):
    found, failed = [], []
    async with open_site(profile=profile, video_seconds=0.2, **options) as site, site.connect(**FAST) as transport:

        async def ask():
            try:
                found.extend(media.ref.url for media in of(Media, await film(transport, text)))
            except UpstreamFailed as error:
                failed.append(error.code)

        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(ask)
    assert len(found) == len(set(found))
    assert len(found) + len(failed) == 2
    assert set(failed) <= {"upstream_outcome_unknown"}
    assert failed == [] or options


async def test_a_setting_disables_the_second_request_of_a_refused_video(site):
    async with site.connect(video_1053="refuse", **FAST) as transport:
        with pytest.raises(Unsupported):
            await film(transport, "a cat")
    assert (await site.seen("generate"), await site.seen("rpc_MaZiqc")) == (1, 0)


@pytest.mark.parametrize("profile", ["strict", "site"])
async def test_a_refused_video_is_not_requested_again_if_the_search_fails(open_site, profile):
    async with open_site(profile=profile) as site, site.connect(**FAST) as transport:
        await site.order(where="MaZiqc", status=503, times=10)
        with pytest.raises(UpstreamFailed) as caught:
            await film(transport, "a cat")
        assert caught.value.code == "upstream_outcome_unknown"
        assert await site.seen("generate") == 1


async def test_a_video_refused_twice_leaves_no_conversation(open_site):
    account = simulator.SimulatedAccount(psid="psid-1", psidts="psidts-1", plan="free")
    async with open_site(account) as site:
        async with site.connect(**FAST) as transport:
            with pytest.raises(Unsupported):
                await film(transport, '<sim error="1053"/> a cat')
        assert await site.seen("generate") == 3
        assert await site.seen("rpc_GzXR5e") == 1


async def test_the_conversation_is_deleted_only_after_it_was_read(open_site):
    async with open_site(video_seconds=0.2) as site:
        async with site.connect(**{**FAST, "delete_seconds": 3600.0}) as transport:
            await film(transport, "a cat")
            assert await site.seen("rpc_GzXR5e") == 0
        assert await site.seen("rpc_GzXR5e") == 1


async def test_the_conversation_is_kept_without_temporary_chats(open_site):
    async with open_site(video_seconds=0.2) as site:
        async with site.connect(temporary=False, **FAST) as transport:
            await film(transport, "a cat")
        assert await site.seen("rpc_GzXR5e") == 0


async def test_an_abandoned_video_is_deleted_after_a_delay(open_site):
    clock = ManualClock()
    async with open_site(video_seconds=3600.0) as site:
        options = {**FAST, "abandoned_seconds": 1000.0, "rotate_seconds": 0}
        async with site.connect(deps=deps_for(clock), **options) as transport:
            async with asking(transport, request_for("a cat", MODEL), account_of(transport)) as answer:
                async for event in answer:
                    assert isinstance(event, WorkStarted)
                    break
            while not await site.seen("rpc_GzXR5e"):
                await clock.until_asleep()
                assert clock.now < 3000.0
                clock.advance(61)
            assert clock.now >= 2000.0


async def test_a_refusal_as_text_is_the_answer(open_site):
    async with open_site(video_seconds=0.2) as site, site.connect(**FAST) as transport:
        events = await film(transport, '<sim refuse="video"/> a cat')
        assert of(Media, events) == []
        assert "can't make" in of(Text, events)[0].text
        assert isinstance(events[-1], Finish)
        events = await film(transport, '<sim refuse="safety"/> a cat')
        assert "can't help" in of(Text, events)[0].text


async def test_a_handle_resumes_the_work_without_a_new_turn(open_site):
    async with open_site(video_seconds=0.5) as site:
        async with site.connect(**FAST) as transport:
            async with asking(transport, request_for("a cat", MODEL), account_of(transport)) as answer:
                begun = await anext(aiter(answer))
        assert location_of(begun.handle).phase is Phase.VIDEO
        asked = await site.seen("generate")
        async with site.connect(**FAST) as transport:
            events = await film(transport, "a cat", handle=begun.handle)
        assert of(Media, events)
        assert await site.seen("generate") == asked


async def test_a_turn_that_starts_work_runs_to_its_end_after_a_disconnect(open_site):
    slow = '<sim tokens-per-second="20" frames="4"/> a cat'
    async with open_site(video_first_turn_refused=False, video_seconds=0.2) as site:
        async with site.connect(**FAST) as transport:
            async with asking(transport, request_for(slow, MODEL), account_of(transport)) as answer:
                begun = await anext(aiter(answer))
            assert not begun.settled
        async with site.connect(**FAST) as transport:
            events = await film(transport, slow, handle=begun.handle)
        assert of(Media, events)
        assert await site.seen("generate") == 1


async def test_polling_stops_when_the_client_leaves(open_site):
    clock = ManualClock()
    async with open_site(video_seconds=3600) as site:
        async with site.connect(deps=deps_for(clock), poll_seconds=10.0, rotate_seconds=0) as transport:
            async with asking(transport, request_for("a cat", MODEL), account_of(transport)) as answer:
                async with anyio.create_task_group() as tasks:

                    async def listen():
                        async for _ in answer:
                            pass

                    tasks.start_soon(listen)
                    await clock.until_asleep(2)
                    clock.advance(10)
                    await clock.until_asleep(2)
                    tasks.cancel_scope.cancel()
            read = await site.seen("rpc_hNvQHb")
            assert read == 2
            for _ in range(3):
                assert clock.sleepers == 1, "only the conversations' time is watched"
                clock.advance(10)
                await clock.until_asleep()
            assert await site.seen("rpc_hNvQHb") == read
            assert await site.seen("rpc_GzXR5e") == 0


async def test_work_that_may_have_started_but_is_not_found_has_an_unknown_outcome(open_site):
    async with open_site(video_first_turn_refused=False) as site, site.connect(**FAST) as transport:
        with pytest.raises(UpstreamFailed) as caught:
            await film(transport, '<sim drop-after="1"/> a cat')
        assert caught.value.code == "upstream_outcome_unknown"
        assert await site.seen("generate") == 1


async def test_a_lost_answer_is_found_by_reading_and_not_requested_again(open_site):
    async with open_site(video_first_turn_refused=False, video_seconds=0.2) as site:
        async with site.connect(**FAST) as transport:
            events = await film(transport, '<sim eof-after="0"/> a cat')
        assert of(Media, events)
        assert await site.seen("generate") == 1
        assert await site.seen("rpc_MaZiqc") == 1


async def test_a_used_up_limit_is_reported_before_the_work_starts(site):
    async with site.connect(**FAST) as transport:
        with pytest.raises(RateLimited):
            await film(transport, '<sim error="1037"/> a cat')


async def test_progress_is_reported_at_intervals(open_site):
    clock = ManualClock()
    async with open_site(video_seconds=3600) as site:
        async with site.connect(deps=deps_for(clock), poll_seconds=10.0, rotate_seconds=0) as transport:
            async with asking(transport, request_for("a cat", MODEL), account_of(transport)) as answer:
                thoughts = []
                async with anyio.create_task_group() as tasks:

                    async def listen():
                        async for event in answer:
                            if isinstance(event, Thought):
                                thoughts.append(event.text)
                            if len(thoughts) == 2:
                                tasks.cancel_scope.cancel()

                    async def pass_time():
                        while True:
                            await clock.until_asleep(2)
                            clock.advance(10)

                    tasks.start_soon(listen)
                    tasks.start_soon(pass_time)
    seconds = [int(re.fullmatch(r"The video is being made… (\d+) s\n", thought)[1]) for thought in thoughts]
    assert seconds[0] == 0
    assert seconds[1] >= 20
