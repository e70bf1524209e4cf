"""Makes models of the catalogue from those that the API lists. No I/O.

The id of a model says what it produces, since the API also lists methods that a model refuses. One that the
gateway asks by default for a family is open to the other transports that have the family; all others are asked only
where they are listed.

Source: "Models".
"""

from collections.abc import Mapping

import msgspec

from protocol.model import Capability, Model

MOST_MODELS = 500
"""Of longer lists the first ones count."""
_GENERATES = "generateContent"
_NOT_SERVED = ("lyria", "-live", "native-audio", "deep-research", "computer-use", "imagen-", "veo-", "robotics", "aqa")
"""Parts of the ids of models that have interfaces of their own, or that the gateway does not know how to ask."""
_KINDS = (
    ("embedding", Capability.EMBEDDING, "embedding"),
    ("-lite-tts", Capability.SPEECH, "tts-lite"),
    ("-tts", Capability.SPEECH, "tts"),
    ("transcribe", Capability.TRANSCRIPTION, "transcribe"),
    ("omni", Capability.VIDEO, ""),
    ("image", Capability.IMAGEN, ""),
    ("nano-banana", Capability.IMAGEN, ""),
)
"""Parts of the ids of models with a single capability, with that and the family."""
_FAMILIES = ("flash-lite", "flash", "pro")
_TEXT = (Capability.CHAT, Capability.IMAGEN, Capability.CANVAS, Capability.STORYBOOK)
_CREATED = 1796083200
"""When names that only a list has are said to be created: the list has no dates."""


class ListedModel(msgspec.Struct, frozen=True, rename="camel"):
    """A model of the API's list."""

    name: str
    display_name: str = ""
    input_token_limit: int = 0
    output_token_limit: int = 0
    thinking: bool | None = None
    """None: not said."""
    supported_generation_methods: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The name without its collection."""
        return self.name.rpartition("/")[2]


ModelLists = Mapping[str, ListedModel]
"""Listed models by their ids."""


def discovered_models(listed: ModelLists, transport: str, defaults: Mapping[str, str]) -> tuple[Model, ...]:
    """Return the models of the lists of a transport whose names clients can use; `defaults` has those of families."""
    families = {model: key for key, model in reversed(list(defaults.items()))}
    named: list[Model] = []
    for id_, entry in listed.items():
        found = _kind_of(entry)
        if found is None:
            continue
        capabilities, family = found
        is_default = id_ in families and Capability.VIDEO not in capabilities
        if is_default:
            family = families[id_].removesuffix(f"-{capabilities[0]}")
        named.append(
            Model(
                id=id_,
                family=family,
                capabilities=capabilities,
                created=_CREATED,
                upstream={transport: id_},
                only_upstream=not is_default,
                input_tokens=max(entry.input_token_limit, 0),
                output_tokens=max(entry.output_token_limit, 0),
            )
        )
    return tuple(named)


def _kind_of(entry: ListedModel) -> tuple[tuple[Capability, ...], str] | None:
    """Return what a model produces, the first by its plain name, and its family; None: it is not served."""
    id_, methods = entry.id, entry.supported_generation_methods
    if any(part in f"{id_}-" for part in _NOT_SERVED):
        return None
    family = next((one for one in _FAMILIES if f"-{one}-" in f"{id_}-"), "flash" if "gemini" in id_ else id_)
    for part, capability, own in _KINDS:
        if part in id_:
            return (capability,), own or family
    if methods and _GENERATES not in methods:
        return None
    if not methods and not id_.startswith(("gemini-", "gemma-")):
        return None
    return (_TEXT if family in _FAMILIES else (Capability.CHAT, Capability.CANVAS)), family
