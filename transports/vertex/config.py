"""Settings of the vertex transport: Gemini in Google Cloud, with the operator's service accounts."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from transports.accounts.configured import AccountSettings
from transports.generate_content.config import ModelsConfig, Proxy

Project = Annotated[str, Meta(pattern=r"\A([a-z][a-z0-9.:-]{4,61}[a-z0-9])?\Z")]
Location = Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9-]{1,31}\Z")]
Label = Annotated[str, Meta(pattern=r"\A[a-z0-9_-]{0,63}\Z")]


class VertexAccount(AccountSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A service account of Google Cloud, or the credentials of the machine."""

    credentials_file: Path | None = None
    """File with the JSON key of a service account, or with the word `adc`."""
    credentials: str = ""
    """The same as text; `adc` stands for Application Default Credentials: those of the machine, pod or environment."""
    project: Project = ""
    """Project that is asked and pays; empty: the service account's own. `adc` needs it."""
    location: Location = "global"
    """Location of the models, such as `europe-west4`, `eu` or `global`."""
    proxy: Proxy | None = None
    """Proxy for this account only: http, https, socks5, socks5h (the proxy resolves host names) or socks4."""


class VertexConfig(ModelsConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the vertex transport."""

    accounts: tuple[VertexAccount, ...] = ()
    base_url: Annotated[str, Meta(pattern=r"\A(https?://[!-~]+[^/])?\Z", max_length=256)] = ""
    """The API's origin, without a version; empty: Google's origin for the account's location."""
    labels: dict[Label, Label] = msgspec.field(default_factory=dict[str, str])
    """Labels of each request, by which Google Cloud divides the bill."""


def origin_of(config: VertexConfig, location: str) -> str:
    """Return the origin of the API for a location. Source: "Vertex AI"."""
    if config.base_url:
        return config.base_url
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in {"us", "eu"}:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"
