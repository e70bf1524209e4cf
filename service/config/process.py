"""Settings sections about the process itself, and the number types that all sections use."""

from typing import Annotated

import msgspec
from msgspec import Meta

Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
Ratio = Annotated[float, Meta(gt=0)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base class of these sections."""


class Overload(_Section, frozen=True):
    """Load shedding, in three steps, when memory runs low or the event loop falls behind."""

    long_bodies_at: Ratio = 0.85
    """Refuse long bodies above this share of the container's memory limit, or of `lag_seconds`."""
    close_at: Ratio = 0.92
    """Close connections after each response above this share."""
    refuse_at: Ratio = 0.95
    """Refuse all requests except probes above this share."""
    long_body_bytes: Count = 1024 * 1024
    """Size from which a body counts as long."""
    lag_seconds: Seconds = 2.0
    """Event loop lag that counts as a load of 1, like full memory."""
    ready_lag_seconds: Seconds = 0.25
    """Event loop lag from which `/readyz` reports not ready."""


class Operations(_Section, frozen=True):
    """A separate listener for probes and metrics."""

    host: str = "127.0.0.1"
    port: Port = 0
    """0: serve them on the API listener."""


class Reload(_Section, frozen=True):
    """Reloading of changed secret files while the process runs."""

    look_seconds: Seconds = 10.0
    """Interval between checks for changed files."""
