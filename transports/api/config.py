"""Settings of the api transport: the official Gemini API with the operator's keys."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from transports.accounts.configured import AccountSettings, Count
from transports.generate_content.config import Address, ModelsConfig, Proxy


class ApiKeyAccount(AccountSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key of the Gemini API."""

    key_file: Path | None = None
    """File with the key."""
    key: str = ""
    """The key as text; `key_file` is safer."""
    concurrency: Count = 50
    """Limit of concurrent requests, over all processes that share the store."""
    tier: Literal["free", "paid"] = "free"
    """Whether the key's project pays. Free keys are used first; models that need a paid key never use them."""
    project: Annotated[str, Meta(max_length=64)] = ""
    """The key's project, if several keys are of one: they share its quotas, so a cooldown of one covers all."""
    proxy: Proxy | None = None
    """Proxy for this key only: http, https, socks5, socks5h (the proxy resolves host names) or socks4."""


class ApiConfig(ModelsConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the api transport."""

    accounts: tuple[ApiKeyAccount, ...] = ()
    base_url: Address = "https://generativelanguage.googleapis.com"
    """The API's origin, without a version."""
    inline_bytes: Annotated[int, Meta(ge=0, le=48 * 1024 * 1024)] = 16 * 1024 * 1024
    """Bytes of files that a request contains; longer ones are uploaded before, and kept there for 48 hours."""
    upload_seconds: Annotated[float, Meta(gt=0)] = 300.0
    """How long the upload of a file may take, and its processing."""
    delete_seconds: Annotated[float, Meta(ge=0, le=30 * 86400)] = 86400.0
    """The interactions of a video or research are deleted at the API this long after the result was read. Until then
    the key that made a video can change it."""
    poll_seconds: Annotated[float, Meta(ge=0.05, le=600)] = 5.0
    """How often the API is asked for a film or research in progress."""
