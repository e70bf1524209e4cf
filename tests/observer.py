"""An observer for tests that look elsewhere."""


class NullObserver:
    """Hears nothing."""

    def upstream_request(self, transport: str) -> None:
        """Ignore a request."""

    def upstream_error(self, transport: str, kind: str) -> None:
        """Ignore an error."""

    def leased(self, transport: str, change: int) -> None:
        """Ignore a lease."""
