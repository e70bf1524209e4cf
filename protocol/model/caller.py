"""The caller of a request, and the permissions of its license."""

from enum import StrEnum
from fnmatch import fnmatchcase

import msgspec

from protocol.model.errors import Forbidden
from protocol.model.names import Capability, Selection


class Feature(StrEnum):
    """A feature that a license can include."""

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
    """The license that a request came with, without its key."""

    id: str
    """The id of the license, never its key. It may be logged."""

    models: tuple[str, ...] = ("*",)
    """Shell-style patterns of the model ids this license may call."""

    features: tuple[Feature, ...] = tuple(Feature)
    """The features that this license includes."""

    def may_use(self, selection: Selection, asked: str) -> bool:
        """Return whether this license covers a selection, by its canonical name or by the name `asked`."""
        return self._refusal(selection, asked) is None

    def permit(self, selection: Selection, asked: str) -> None:
        """Check that this license covers a selection that was requested by the name `asked`.

        Raises:
            Forbidden: the license does not cover the model or the feature; the message names it.

        """
        refusal = self._refusal(selection, asked)
        if refusal is not None:
            raise refusal

    def _refusal(self, selection: Selection, asked: str) -> Forbidden | None:
        if not any(fnmatchcase(name, pattern) for name in (selection.id, asked) for pattern in self.models):
            return Forbidden(
                f"This license does not allow the model '{selection.id}': use a model that '/v1/models' lists."
            )
        feature = _FEATURE_OF[selection.capability]
        if feature not in self.features:
            message = f"This license does not include '{feature}', which the model '{selection.id}' needs."
            return Forbidden(message, code="license_required")
        return None
