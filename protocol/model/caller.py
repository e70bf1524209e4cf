"""Who asks, and what they may have."""

from enum import StrEnum
from fnmatch import fnmatchcase

import msgspec

from protocol.model.errors import Forbidden
from protocol.model.names import Capability, Selection


class Feature(StrEnum):
    """What a license can be for."""

    CHAT = "chat"
    IMAGES = "images"
    VIDEO = "video"
    CANVAS = "canvas"
    RESEARCH = "research"
    STORYBOOK = "storybook"


_FEATURE_OF = {
    Capability.CHAT: Feature.CHAT,
    Capability.IMAGEN: Feature.IMAGES,
    Capability.VIDEO: Feature.VIDEO,
    Capability.CANVAS: Feature.CANVAS,
    Capability.DEEPSEARCH: Feature.RESEARCH,
    Capability.STORYBOOK: Feature.STORYBOOK,
}


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The holder of a license, as protocols and transports may know them."""

    id: str
    """The license's id (never the key): fit for logs."""

    models: tuple[str, ...] = ("*",)
    """Shell-style patterns of the model ids this license may call."""

    features: tuple[Feature, ...] = tuple(Feature)
    """What this license is for."""

    def may_use(self, selection: Selection, asked: str) -> bool:
        """Say whether this license covers a selection, by its own name or by the one it was asked for."""
        return self._refusal(selection, asked) is None

    def permit(self, selection: Selection, asked: str) -> None:
        """Let a selection pass that was asked for by the name `asked`.

        Raises:
            Forbidden: the license does not cover the model, or lacks the feature; says which.

        """
        refusal = self._refusal(selection, asked)
        if refusal is not None:
            raise refusal

    def _refusal(self, selection: Selection, asked: str) -> Forbidden | None:
        if not any(fnmatchcase(name, pattern) for name in (selection.id, asked) for pattern in self.models):
            return Forbidden(f"This license may not use the model '{selection.id}'.")
        feature = _FEATURE_OF[selection.capability]
        if feature not in self.features:
            message = f"This license does not include '{feature}', which the model '{selection.id}' needs."
            return Forbidden(message, code="license_required")
        return None
