"""The engine that dialects call."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from protocol.model.errors import Unsupported
from protocol.model.exchange import Exchange, UpstreamModel
from protocol.model.media import MediaRef, MediaStream, Rendition
from protocol.model.names import Capability, Catalogue, Selection
from protocol.model.request import GenerationRequest, Handle


class Engine(Protocol):
    """Opens exchanges. Entering `open` waits for the first event, so it raises errors before an HTTP status is sent."""

    @property
    def catalogue(self) -> Catalogue:
        """The models that this gateway knows."""
        ...

    def offers(self, selection: Selection) -> bool:
        """Return whether a transport has this model and capability now."""
        ...

    def available(self, selection: Selection) -> bool:
        """Return whether an account can serve this now: it has quota, no cooldown, and needs no attention; no I/O."""
        ...

    def served_by(self, selection: Selection) -> Sequence[UpstreamModel]:
        """Return the upstream models that would serve this now, as far as they are known; no I/O."""
        ...

    def asked_for(self, selection: Selection) -> frozenset[tuple[str, str]]:
        """Return what each transport that offers this asks its upstream for; two names with the same are one model."""
        ...

    def applies(self, selection: Selection) -> frozenset[str]:
        """Return the names of the `AnswerOptions` that some transport which may serve this applies; no I/O."""
        ...

    def open(self, request: GenerationRequest) -> AbstractAsyncContextManager[Exchange]:
        """Open an exchange; leaving the context closes the upstream response, then releases the lease.

        Raises:
            GatewayError: the request was refused, or no account could serve it.

        """
        ...

    async def cancel(self, handle: Handle) -> None:
        """End long-running work whose result is not wanted any more, if its upstream can; failures are only logged."""
        ...

    def media(self, ref: MediaRef, rendition: Rendition = Rendition.USUAL) -> AbstractAsyncContextManager[MediaStream]:
        """Open a media file with the account that owns it; leaving the context closes the upstream response.

        Entering waits for the first bytes, so a file that is unavailable raises there.

        Raises:
            UpstreamFailed: the file is unavailable, not ready yet (`media_not_ready`) or deleted (`media_gone`).
            GatewayError: the account or its transport no longer exists.

        """
        ...


_OFFERED_BY = {
    Capability.VIDEO: "a paid key of the Gemini API, or an account of the website",
    Capability.DEEPSEARCH: "a key of the Gemini API, or an account of the website",
}
"""What an operator adds for the capabilities that not every transport has."""


def not_offered(selection: Selection) -> Unsupported:
    """Return the error for a model that no upstream has, with what has it."""
    message = f"The model '{selection.id}' is not available here: no upstream of this gateway offers it."
    found = _OFFERED_BY.get(selection.capability)
    advice = f" Use another model, or ask the operator to add {found}." if found is not None else ""
    return Unsupported(f"{message}{advice}", param="model")
