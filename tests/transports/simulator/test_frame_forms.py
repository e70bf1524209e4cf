"""The profile `site` answers in the forms that recorded answers have, and the tags change what they say they change."""

import json

import pytest

from tests.clock import ManualClock
from tests.conftest import ROOT
from tests.transports.conftest import ACCOUNT
from tests.transports.simulator.conftest import VIDEO, visit
from transports.simulator import SimulatedAccount
from transports.web.codec import jspb

CAPTURES = ROOT / "tests" / "captures"
CODE = "type.googleapis.com/assistant.boq.bard.application.BardErrorInfo"


def captured(name):
    """Return the frames of a recorded answer, read by line."""
    return [json.loads(line) for line in (CAPTURES / name).read_text().split("\n") if line.startswith("[")]


def content(name):
    """Return what stands in the answer parts of a recorded answer."""
    parts = [part for frame in captured(name) for part in frame if part[0] == "wrb.fr" and part[2]]
    return [json.loads(part[2]) for part in parts]


def shape(value):
    """Return a value's form: types in place of texts and numbers, and lists that end alike."""
    if isinstance(value, list):
        return [shape(one) for one in value]
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    return type(value).__name__


@pytest.fixture
async def opened(open_site):
    async with open_site(profile="site") as site, visit(site.base) as browser:
        yield browser


def frames_of(answer):
    """Return the frames of an answer, in short: keys of the state, `snapshot`, a code, or the first part's name."""
    said = []
    for line in answer.body.decode().split("\n"):
        if not line.startswith("["):
            continue
        part = json.loads(line)[0]
        if part[0] != "wrb.fr":
            said.append(part[0])
        elif part[2] is None:
            said.append(part[5][2][0][1][0])
        else:
            inner = json.loads(part[2])
            state = inner[2] if len(inner) > 2 else inner[0]
            said.append("snapshot" if len(inner) > 4 and inner[4] else "".join(state))
    return said


async def test_a_turn_is_ids_snapshots_title_and_end(opened):
    answer = await opened.say('<echo>a few words</echo><sim frames="2"/>')
    assert frames_of(answer) == ["182144", "snapshot", "snapshot", "snapshot", "1144", "di", "e"]
    ids, *_, last, title = answer.inner
    recorded_ids, recorded, recorded_title = content("sg-answer-then-1096.txt")
    assert shape(ids) == shape(recorded_ids)
    assert shape(title) == shape(recorded_title)
    assert last[39:] == ["e6fa609c3fa255c0", None, None, "3.1 Pro", True]
    assert [type(one) for one in recorded[39:]] == [str, type(None), type(None), str, bool]
    assert shape(last[4][0]) == shape(recorded[4][0])


async def test_a_turn_that_continues_a_conversation_has_no_title(opened):
    first = await opened.say("<echo>one</echo>")
    assert "1144" not in frames_of(await opened.say("<echo>two</echo>", place=first.place))


async def test_one_turn_of_four_ends_with_a_frame_of_state(opened):
    lasts = [frames_of(await opened.say("<echo>x</echo>"))[-1] for _ in range(8)]
    assert lasts == ["e", "e", "e", "37"] * 2


async def test_only_rich_content_is_in_a_dict(opened):
    cited = await opened.say('<echo>So [cite: 1].</echo><sim citations="1"/>')
    assert [list(one) for one in cited.candidate[12]] == [["44"]]
    assert not isinstance(cited.snapshot[-1], dict)
    canvas = await opened.say("<document>x</document>")
    assert "x" in canvas.candidate[30][0][4]
    assert not isinstance(canvas.candidate[-1], dict)


async def test_a_picture_has_the_form_of_a_recorded_one(opened):
    answer = await opened.say("a fox", {49: 14})
    recorded = content("sg-image.txt")
    progress, running = answer.inner[1:3]
    assert shape(progress) == shape(recorded[0])
    assert shape(running)[6][1][0] == shape(recorded[1])[6][1][0]
    snapshot = answer.snapshot
    assert shape(snapshot[4][0][12][0]["8"]) == shape(recorded[2][4][0][12][0]["8"])
    assert snapshot[42] == recorded[2][42] == "Nano Banana 2"
    place = [*snapshot[1], snapshot[4][0][0]]
    identity = snapshot[4][0][12][0]["8"][0][0][1][0]
    picture = [[None, None, None, [*[None] * 5, ""]], [identity, 0], None, [19, ""], *[None] * 5, ""]
    where = [place[1], place[2], place[0], None, ""]
    assert (await opened.call("c8o8Fe", [picture, where, 1, 0, 1]))[0].startswith("http")


async def test_models_have_the_form_of_recorded_ones(opened):
    (recorded,) = content("batch-otAQ7b-2026-08-24.txt")
    status = await opened.call("otAQ7b", [])
    assert [shape(entry) for entry in status[15]] == [shape(entry) for entry in recorded[15]]
    assert [entry[1] for entry in status[15]] == [entry[1] for entry in recorded[15]]
    assert [entry[17] for entry in status[15]] == [entry[17] for entry in recorded[15]]


async def test_usage_has_the_form_of_a_recorded_one_and_grows(open_site):
    account = SimulatedAccount(psid="p", psidts="t", plan="pro", quota=4)
    async with open_site(account, profile="site") as site, visit(site.base, account) as browser:
        before = await browser.call("jSf9Qc", [])
        (recorded,) = content("batch-jSf9Qc-paid.txt")
        assert [len(window) for window in before[1]] == [len(window) for window in recorded[1]]
        assert (before[0], before[2]) == (recorded[0], recorded[2])
        await browser.say("x")
        after = await browser.call("jSf9Qc", [])
        assert [window[1] for window in (before[1][0], after[1][0])] == [0, 0.25]


async def test_chats_come_in_pages(opened):
    for number in range(5):
        await opened.say(f"chat {number}")
    (recorded,) = content("batch-MaZiqc.txt")
    titles, token = [], None
    while True:
        _, token, chats = await opened.call("MaZiqc", [2, token, [0, None, 1]])
        titles.append([chat[1] for chat in chats])
        assert shape(chats[0]) == shape(recorded[2][0])
        if token is None:
            break
    assert titles == [["chat 4", "chat 3"], ["chat 2", "chat 1"], ["chat 0"]]


async def test_without_a_limit_the_quota_has_zeros(opened):
    ((item,),) = await opened.call("qpEbW", [[[1, 11]]])
    assert (item[2], item[4], item[5]) == (0, 0, 0)
    await opened.say('<sim error="1037"/>')
    ((item,),) = await opened.call("qpEbW", [[[1, 4]]])
    assert (item[2], item[5]) == (100, 0)
    assert item[4] > 0


async def test_1096_follows_temporary_chats_of_browsers(opened):
    answer = await opened.say("<echo>x</echo>", {68: 2}, temporary=True)
    frames = [frame for frame in frames_of(answer) if frame != "snapshot"]
    assert frames == ["182144", "1144", 1096, "di", "e"]
    assert answer.code == 1096
    assert (await opened.say("<echo>x</echo>", {68: 1}, temporary=True)).code is None


@pytest.mark.parametrize("profile", ["strict", "site"])
async def test_a_code_can_follow_the_answer(open_site, profile):
    async with open_site(profile=profile) as site, visit(site.base) as browser:
        answer = await browser.say('<echo>whole</echo><sim late-error="1155"/>')
        assert answer.code == 1155
        snapshots = [inner for inner in answer.inner if jspb.field(inner, 4)]
        candidate = jspb.field(snapshots[-1], 4)[0]
        assert (candidate[1][0], jspb.field(candidate, 8)) == ("whole", [2])


@pytest.mark.parametrize("profile", ["strict", "site"])
@pytest.mark.parametrize(("text", "after", "shown"), [("abc", 3, 3), ("abcdef", 2, 2), ("ab", 3, 2), ("abc", 0, 0)])
async def test_an_error_comes_after_the_requested_text_frames(open_site, profile, text, after, shown):
    async with open_site(profile=profile) as site, visit(site.base) as browser:
        answer = await browser.say(f'<echo>{text}</echo><sim error="1037" after="{after}" frames="2"/>')
        texts = [jspb.field(inner, 4)[0][1][0] for inner in answer.inner if jspb.field(inner, 4)]
        assert len(texts) == shown
        assert answer.code == 1037
        assert not any(jspb.field(jspb.field(inner, 4)[0], 8) == [2] for inner in answer.inner if jspb.field(inner, 4))


@pytest.mark.parametrize("profile", ["strict", "site"])
async def test_a_text_can_be_rewritten(open_site, profile):
    async with open_site(profile=profile) as site, visit(site.base) as browser:
        answer = await browser.say('<echo>Canberra</echo><sim rewrite="It is Sydney"/>')
        texts = [jspb.field(inner, 4)[0][1][0] for inner in answer.inner if jspb.field(inner, 4)]
        assert "It is Sydney" in texts
        assert texts[-1] == "Canberra"


async def test_sources_name_their_claims(opened):
    answer = await opened.say('<echo>One is so. Two is not.</echo><sim sources="2"/>')
    snapshot = answer.snapshot
    groups = snapshot[4][0][2][1]
    for group, claim in zip(groups, ("One is so.", "Two is not."), strict=True):
        (start, end) = group[0][3][0]
        assert (group[0][0], "One is so. Two is not."[start:end]) == (claim, claim)
        assert "#:~:text=" in group[2][0][0]


@pytest.mark.parametrize("markup", ["follow-up", "elicitations", "widget", "all"])
async def test_markup_is_appended_to_the_text(opened, markup):
    answer = await opened.say(f'<echo>x</echo><sim markup="{markup}"/>')
    text = answer.snapshot[4][0][1][0]
    assert text.startswith("x\n\n<")


async def test_flicker_appears_only_before_marks_and_in_open_fences(opened):
    fence = "```"
    text = f"some plain words, then **bold** ones\n\n{fence}\ncode\nmore\n{fence}\n\nand words again"
    answer = await opened.say(f'<echo>{text}</echo><sim frames="200"/>')
    shown = [inner[4][0][1][0] for inner in answer.inner if len(inner) > 4]
    odd = [one for one in shown if not text.startswith(one)]
    assert {one[-1] for one in odd} == {"\\", "`"}
    for one in odd:
        so_far = one.removesuffix("\\").removesuffix(f"\n{fence}")
        assert text.startswith(so_far)
        assert (text[len(so_far)] in "*_`#[]~>") if one.endswith("\\") else so_far.count(fence) == 1


async def test_a_refused_first_video_names_its_turn_as_recorded(opened):
    answer = await opened.say("a wave", VIDEO)
    (recorded,) = content("sg-video-1053.txt")
    assert frames_of(answer)[:2] == ["182144", 1053]
    assert shape(answer.inner[0]) == shape(recorded)
    assert (await opened.call("MaZiqc", [13, None, [0, None, 1]]))[2] == []


async def test_a_refused_video_can_still_be_generated(open_site):
    clock = ManualClock()
    async with (
        open_site(clock=clock, profile="site", video_refused_but_generated=True) as site,
        visit(site.base) as browser,
    ):
        assert (await browser.say("a wave", VIDEO)).code == 1053
        ((cid, *_),) = (await browser.call("MaZiqc", [13, None, [0, None, 1]]))[2]
        clock.advance(4)
        candidate = await browser.newest([cid])
        assert jspb.field(candidate, 8) == [2]
        assert jspb.path(candidate, 12, 59)


async def test_a_pending_video_has_the_form_of_a_recorded_one(opened):
    answer = await opened.say("Make a video of a wave")
    snapshot = answer.snapshot
    (recorded,) = content("sg-video-pending.txt")
    assert shape(snapshot[4][0]) == shape(recorded[4][0])
    assert snapshot[4][0][8] == [1]


async def test_accounts_of_one_profile_share_cookies_and_nothing_else(open_site):
    second = SimulatedAccount(psid=ACCOUNT.psid, psidts=ACCOUNT.psidts, user=1, plan="free")
    async with open_site(ACCOUNT, second) as site, visit(site.base) as browser:
        pages = [(await browser.get(f"{site.base}{prefix}/app"))[1] for prefix in ("", "/u/0", "/u/1", "/u/7")]
        assert pages[0] == pages[1] == pages[3]
        assert pages[2] != pages[0]
        accounts = (await site.state())["accounts"]
        assert [account["signed_in"] for account in accounts] == [4, 1]
