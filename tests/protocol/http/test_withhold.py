from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from protocol.http.withhold import withholding
from protocol.model import (
    Caller,
    Feature,
    Finish,
    Media,
    MediaKind,
    MediaRef,
    Rewritten,
    Served,
    Text,
    Usage,
    Withheld,
)

USAGE = Usage(input_tokens=1, output_tokens=1)


def media(kind, part_of=None):
    return Media(ref=MediaRef(transport="web", account="one", kind=kind, url="https://x/1", part_of=part_of))


PICTURE, FILM, SONG = media(MediaKind.IMAGE), media(MediaKind.VIDEO), media(MediaKind.AUDIO)
SONG_FILM = media(MediaKind.VIDEO, Feature.MUSIC)
PAGE = media(MediaKind.IMAGE, Feature.STORYBOOK)


class Steps:
    served = Served(transport="web", account="one")

    def __init__(self, steps):
        self._steps = steps

    async def __aiter__(self):
        for step in self._steps:
            yield step


async def kept(steps, *features):
    @asynccontextmanager
    async def opened():
        yield Steps(steps)

    async with withholding(opened(), Caller(id="me", features=features)) as exchange:
        assert exchange.served.account == "one"
        return [step async for step in exchange]


@pytest.mark.parametrize(
    ("one", "feature"),
    [
        (PICTURE, Feature.IMAGES),
        (FILM, Feature.VIDEO),
        (SONG, Feature.MUSIC),
        (SONG_FILM, Feature.MUSIC),
        (PAGE, Feature.STORYBOOK),
    ],
)
async def test_media_need_their_own_feature_and_no_other(one, feature):
    others = [other for other in Feature if other is not feature]
    assert await kept([Text(text="a"), one], feature) == [Text(text="a"), one]
    assert await kept([Text(text="a"), one], *others) == [Text(text="a"), Withheld(feature=feature)]


async def test_each_feature_is_named_once_and_logged():
    with capture_logs() as logs:
        found = await kept([PICTURE, Text(text="a"), PICTURE, FILM, Withheld(feature=Feature.IMAGES)], Feature.CHAT)
    assert found == [Withheld(feature=Feature.IMAGES), Text(text="a"), Withheld(feature=Feature.VIDEO)]
    assert [(log["event"], log["license"], log["feature"]) for log in logs] == [
        ("output_withheld", "me", "images"),
        ("output_withheld", "me", "video"),
    ]


async def test_a_rewritten_answer_is_narrowed_too():
    whole = Rewritten(pieces=(Text(text="b"), PICTURE, PICTURE), thoughts="", usage=USAGE)
    (text, finish) = await kept([Text(text="a"), Finish(reason="stop", usage=USAGE, rewritten=whole)], Feature.CHAT)
    assert text == Text(text="a")
    assert finish.rewritten.pieces == (Text(text="b"), Withheld(feature=Feature.IMAGES))


async def test_steps_of_a_dialect_pass():
    assert await kept([1, "two"], Feature.CHAT) == [1, "two"]
