"""Settings that the transports of the API have in common."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from transports.generate_content.wire import SafetySetting
from transports.http import Timeouts

Proxy = Annotated[str, Meta(pattern=r"\A(https?|socks(4|5|5h))://[!-~]+\Z", max_length=1024)]
Address = Annotated[str, Meta(pattern=r"\Ahttps?://[!-~]+[^/]\Z", max_length=256)]
Threshold = Literal["", "BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF"]


class ContextCaching(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the beginnings of requests are cached in the projects of paid accounts, which costs money by the hour."""

    after: Annotated[int, Meta(ge=2)] = 3
    """How often a beginning must be sent before it is cached."""
    within_seconds: Annotated[float, Meta(ge=10, le=86400)] = 600.0
    """How much time may pass from one time to the next."""
    ttl_seconds: Annotated[float, Meta(ge=60, le=86400)] = 300.0
    """How long a cache is kept after its last use, about."""
    min_tokens: Annotated[int, Meta(ge=1024)] = 4096
    """How many tokens a beginning must have, about; the API has a least number of its own for each model."""


class ModelsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a transport that asks the API's models."""

    ca_file: Path | None = None
    """Certificates to trust instead of the system's, for a proxy or a replaced host."""
    models: dict[str, str] = {}
    """Models of the API by what they are for: a family such as `pro`, or a family and a capability such as
    `pro-imagen`. They replace the choice by default."""
    models_seconds: Annotated[float, Meta(ge=60)] = 3600.0
    """How often the list of an account's models is read."""
    media_seconds: Annotated[float, Meta(ge=60, le=30 * 86400)] = 86400.0
    """How long pictures and sounds are kept in the store; the API sends them within its answers."""
    media_bytes: Annotated[int, Meta(ge=64 * 1024 * 1024)] = 1024 * 1024 * 1024
    """Bytes of all these files; above it the oldest of the license that has the most are removed."""
    safety: Threshold = ""
    """From which probability of harm on the API blocks a prompt or answer; empty: the API's default."""
    context_cache: ContextCaching | None = None
    """Caches the beginnings of requests that come again and again; None: the API's own caching must do."""
    timeouts: Timeouts = Timeouts()

    @property
    def safety_settings(self) -> tuple[SafetySetting, ...]:
        """The safety settings of each request."""
        names = ("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT") if self.safety else ()
        return tuple(SafetySetting(f"HARM_CATEGORY_{name}", self.safety) for name in names)


def on_this_machine(address: str) -> bool:
    """Return whether an address is one of this machine, where only a simulator answers."""
    host = address.partition("://")[2].partition("/")[0].rpartition(":")[0]
    return host in {"127.0.0.1", "localhost", "[::1]"}
