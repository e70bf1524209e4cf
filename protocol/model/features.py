"""The features that a license includes: which capability needs which one, and which one media belong to."""

import re
from enum import StrEnum

from protocol.model.names import Capability


class Feature(StrEnum):
    """A feature that a license can include."""

    CHAT = "chat"
    IMAGES = "images"
    VIDEO = "video"
    MUSIC = "music"
    """No model name asks for it: the site makes music in a chat."""
    CANVAS = "canvas"
    RESEARCH = "research"
    STORYBOOK = "storybook"


FEATURE_OF = {
    Capability.CHAT: Feature.CHAT,
    Capability.IMAGEN: Feature.IMAGES,
    Capability.VIDEO: Feature.VIDEO,
    Capability.CANVAS: Feature.CANVAS,
    Capability.DEEPSEARCH: Feature.RESEARCH,
    Capability.STORYBOOK: Feature.STORYBOOK,
    Capability.EMBEDDING: Feature.CHAT,
    Capability.SPEECH: Feature.CHAT,
    Capability.TRANSCRIPTION: Feature.CHAT,
}
"""The feature that a request for a capability needs."""

_OUTPUT = {
    Feature.CHAT: "An answer",
    Feature.IMAGES: "A picture",
    Feature.VIDEO: "A video",
    Feature.MUSIC: "Music",
    Feature.CANVAS: "A document",
    Feature.RESEARCH: "A report",
    Feature.STORYBOOK: "A picture of a storybook",
}
_LEFT_OUT = "was left out: this license does not include"
NOTICE = re.compile(rf"\((?:{'|'.join(_OUTPUT.values())}) {_LEFT_OUT} '\w+'\.\)")
"""Matches each notice that `notice_of` returns."""


def notice_of(feature: Feature) -> str:
    """Return the sentence that an answer has in place of what was withheld."""
    return f"({_OUTPUT[feature]} {_LEFT_OUT} '{feature}'.)"
