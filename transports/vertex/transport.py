"""The transport for Gemini in Google Cloud: sends requests to Vertex AI with the operator's service accounts.

`TRANSPORT_TYPE` registers it; `connect` opens its accounts. It needs the package google-auth.

Source: "Vertex AI".
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec

import msgspec

from protocol.model import GatewayError, SignedOut
from transports.account import Finding, failed, ok
from transports.base import Deps, TransportType
from transports.generate_content import models
from transports.generate_content.config import on_this_machine
from transports.generate_content.transport import ModelTransport
from transports.http import trusted
from transports.vertex.accounts import ServiceAccounts, open_accounts
from transports.vertex.config import VertexConfig, origin_of
from transports.vertex.service_accounts import ACCOUNTS, project_of

_OWN_FAMILIES = frozenset({"embedding"})
_DEFAULTS: Mapping[str, str] = {
    **{key: model for key, model in models.DEFAULTS.items() if key not in models.OWN_FAMILIES - _OWN_FAMILIES},
    "pro": "gemini-3.1-pro-preview",
    "flash": "gemini-3.8-flash",
    "flash-lite": "gemini-3.5-flash-lite",
}
"""The names that end in `-latest` are the Developer API's."""
_TRY_AGAIN = "The failure may be temporary; check again in a minute."


class VertexTransport(ModelTransport[ServiceAccounts]):
    """Serve requests through Vertex AI."""

    defaults = _DEFAULTS

    async def examine(self, account: str) -> AsyncGenerator[Finding]:
        """Check that Google issues a token, and that it is good for a model; see `Transport.examine`."""
        connected = self.connected.get(account)
        if connected is None or connected.configured is None:
            yield self.connected.missing(account)
            return
        settings, credential = connected.configured.settings, connected.configured.credential
        project = project_of(settings, credential)
        step, model = "token", self._config.models.get("flash", self.defaults["flash"])
        with connected.used():
            try:
                await connected.tokens.authorize()
                yield ok(step, "Google issues a token for the account.")
                step = "model"
                await connected.count_tokens(model)
                await connected.read_models()
            except SignedOut as error:
                yield failed(step, error.message, error.advice)
                return
            except (GatewayError, msgspec.MsgspecError) as error:
                message = error.message if isinstance(error, GatewayError) else "The answer has an unknown form."
                yield failed(step, message, _TRY_AGAIN)
                return
        yield ok(step, f"Vertex AI answers for project '{project}' in '{settings.location}', by '{model}'.")


def check(config: VertexConfig) -> None:
    """Check the settings other than the accounts.

    Raises:
        ValueError: google-auth is missing, or the certificates cannot be used; the message says what to do.

    """
    if not has_google_auth():
        raise ValueError("the package google-auth is missing: install it, as in pip install gemini-gateway[vertex]")
    trusted(config.ca_file)


def has_google_auth() -> bool:
    """Return whether google-auth is installed."""
    try:
        return find_spec("google.auth") is not None
    except ModuleNotFoundError:  # not even its namespace
        return False


@asynccontextmanager
async def connect(config: VertexConfig, deps: Deps) -> AsyncGenerator[VertexTransport]:
    """Connect the accounts of the settings and the store.

    Raises:
        ValueError: an account is invalid, or as `check`.

    """
    check(config)
    async with open_accounts(config, deps) as accounts:
        yield VertexTransport(config, origin_of(config, "global"), accounts, deps)


TRANSPORT_TYPE = TransportType(
    VertexConfig,
    connect,
    check,
    secrets=frozenset({"credentials", "proxy"}),
    accounts=ACCOUNTS,
    tiers=frozenset({"paid"}),
    families=frozenset({"pro", "flash", "flash-lite", *_OWN_FAMILIES}),
    is_simulated=lambda config: on_this_machine(config.base_url),
    chosen_model=VertexTransport.chosen_model,
    reload=VertexTransport.reload,
)
