"""Who asks, and what they may have."""

from fnmatch import fnmatchcase

import msgspec


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The holder of a license, as protocols and transports may know them."""

    id: str
    """The license's id (never the key): fit for logs."""

    models: tuple[str, ...] = ("*",)
    """Shell-style patterns of the model ids this license may call."""

    def may_use(self, model_id: str) -> bool:
        """Say whether this license covers the model id."""
        return any(fnmatchcase(model_id, pattern) for pattern in self.models)
