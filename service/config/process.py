"""Sections of the settings on the process itself, and what numbers in any section may be."""

from typing import Annotated

import msgspec
from msgspec import Meta

Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
Ratio = Annotated[float, Meta(gt=0)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of these sections."""


class Overload(_Section, frozen=True):
    """What is taken from callers when memory or the event loop is short, before the kernel takes all."""

    long_bodies_at: Ratio = 0.85
    """Of the memory that the container may take, or of `lag_seconds`: long bodies are refused from then on, …"""
    close_at: Ratio = 0.92
    """… no connection is kept, …"""
    refuse_at: Ratio = 0.95
    """… and everything but probes is refused."""
    long_body_bytes: Count = 1024 * 1024
    lag_seconds: Seconds = 2.0
    """An event loop that is so late is as bad as no memory."""
    ready_lag_seconds: Seconds = 0.25
    """One that is so late asks for no more work: `/readyz` says so."""


class Operations(_Section, frozen=True):
    """Probes and metrics on a listener of their own."""

    host: str = "127.0.0.1"
    port: Port = 0
    """0: they are on the API's."""


class Reload(_Section, frozen=True):
    """Secret files that have changed, taken over while the process runs."""

    look_seconds: Seconds = 10.0
    """How often they are looked at."""
