"""Tells models with endpoints of their own from the others: for embeddings, speech and transcripts.

The catalogue has these models always, since clients hard-code their names. Whether a gateway can use them depends on
its transports: where none offers them, they are not listed, and their endpoints are refused by name.
"""

from collections.abc import Collection

from protocol.http.errors import HttpError
from protocol.model import Capability, Engine, ModelUnknown, Selection

_WITH_A_KEY = "The gateway needs a key of the official API for that"
_OTHER_ENDPOINT = {
    Capability.EMBEDDING: "computes embeddings and nothing else: send texts to '/v1/embeddings'",
    Capability.SPEECH: "makes speech and nothing else: send texts to '/v1/audio/speech'",
    Capability.TRANSCRIPTION: "writes down speech and nothing else: send sound to '/v1/audio/transcriptions'",
}
_NOT_OFFERED = {
    Capability.EMBEDDING: f"no model here computes embeddings. {_WITH_A_KEY}, or use another server for embeddings",
    Capability.SPEECH: f"no model here speaks. {_WITH_A_KEY}, or use another speech server",
    Capability.TRANSCRIPTION: "send sound to '/v1/audio/transcriptions', or to a chat model as 'input_audio'",
}


def may_be_listed(engine: Engine, selection: Selection) -> bool:
    """Return whether lists of models have a selection: models of these kinds, and those of a list, only if offered."""
    always = not selection.capability.has_own_models and not selection.model.only_upstream
    return always or engine.offers(selection)


def check_own_model(engine: Engine, selection: Selection, own: Collection[Capability]) -> None:
    """Check that a model is not one of these kinds, apart from the kinds `own` that are offered.

    Raises:
        ModelUnknown: it is, so this endpoint cannot use it.

    """
    capability = selection.capability
    if not capability.has_own_models:
        return
    offered = engine.offers(selection)
    if offered and capability in own:
        return
    if offered:
        raise ModelUnknown(f"The model '{selection.id}' {_OTHER_ENDPOINT[capability]}.")
    raise ModelUnknown(f"This gateway does not offer '{selection.id}': {_NOT_OFFERED[capability]}.")


def check_offered(engine: Engine, capability: Capability, name: str) -> None:
    """Check that a transport offers a model of a kind.

    Raises:
        HttpError: none does; the message says that `name`, a path or an operation, is not offered.

    """
    if not any(one.capability is capability and engine.offers(one) for one in engine.catalogue.selections()):
        raise HttpError(404, "not_found", f"This gateway does not offer '{name}': {_NOT_OFFERED[capability]}.")
