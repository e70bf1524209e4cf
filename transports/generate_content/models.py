"""Chooses the API's model for a requested one. No I/O.

Source: "Models", "Images", "Thinking".
"""

import re
from collections.abc import Collection, Mapping

from protocol.model import Capability, Selection
from transports.generate_content.listed_models import ListedModel
from transports.generate_content.request_body import ModelTraits

_VERSION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_NOT_THINKING = ("lite-image", "-tts", "-transcribe")
_PREVIEW = ("", "-preview")
DEFAULTS: Mapping[str, str] = {
    "pro": "gemini-pro-latest",
    "flash": "gemini-flash-latest",
    "flash-lite": "gemini-flash-lite-latest",
    "pro-imagen": "gemini-3-pro-image",
    "flash-imagen": "gemini-3.1-flash-image",
    "flash-lite-imagen": "gemini-3.1-flash-lite-image",
    "embedding": "gemini-embedding-2",
    "tts": "gemini-3.8-flash-tts",
    "tts-lite": "gemini-3.8-flash-lite-tts",
    "transcribe": "gemini-3.5-transcribe",
}
"""Models by family, and by family and capability."""
OWN_FAMILIES = frozenset({"embedding", "tts", "tts-lite", "transcribe"})
"""Families of models for embeddings, speech and transcripts. Vertex AI has only the first by these names."""


def choose(
    selection: Selection,
    transport: str,
    config: Mapping[str, str],
    listed: Collection[str],
    defaults: Mapping[str, str] = DEFAULTS,
) -> str | None:
    """Return the id of the model to ask; None: there is none.

    The settings of the model come first, then those of the transport, then a model of the same name that the API lists,
    then the newest of the family. `listed` is empty until the list was read.
    """
    model, capability = selection.model, selection.capability
    if not model.is_at(transport):
        return None
    if transport in model.upstream and (capability in _TEXT or capability is model.plain or not model.only_upstream):
        return model.upstream[transport]
    key = model.family if capability in _TEXT or capability.has_own_models else f"{model.family}-{capability}"
    if key in config:
        return config[key]
    if capability in _TEXT:
        for ending in _PREVIEW:
            if f"{model.id}{ending}" in listed:
                return f"{model.id}{ending}"
    return defaults.get(key)


def traits_of(model: str, listed: ListedModel | None = None) -> ModelTraits:
    """Return what a model can do, by its name; an unknown one thinks if the list says so, and else is as the newest."""
    found = _VERSION.match(model)
    if found is None:
        known = "gemma" not in model
        thinking = known if listed is None or listed.thinking is None else listed.thinking
        return ModelTraits(thinking=thinking, signatures=known, minimal="-pro" not in model, mixed_tools=known)
    since_3 = int(found[1]) >= 3
    return ModelTraits(
        thinking=(int(found[1]) >= 3 or found[2] == "5") and not any(part in model for part in _NOT_THINKING),
        small_images="flash-image" in model,
        levels=since_3,
        signatures=since_3,
        json_with_tools=since_3,
        minimal="-pro" not in model,
        mixed_tools=since_3,
        speech_styles=(int(found[1]), int(found[2] or 0)) >= (3, 8),
    )


_TEXT = frozenset({Capability.CHAT, Capability.CANVAS, Capability.STORYBOOK})
"""Capabilities that are answered with text."""
