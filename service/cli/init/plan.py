"""The setup plan, and the settings file that results from it."""

import tomllib
from pathlib import Path
from typing import Any, cast

import msgspec
import tomli_w

from service import wiring
from transports.accounts.registry import AccountId, AccountRecord

KEY_FILE = "gateway.key"
_KEYS, _WEBSITE, _SIMULATED = "api", "web", "simulator"

_HEAD = """\
# Written by `gemini-gateway init`. Run `gemini-gateway config check` after changes; all settings are listed in
# deploy/gateway.example.toml of the source tree.

# The key encrypts secrets in the store: back up both, in separate places.
"""
_SECTIONS = {
    _WEBSITE: """
# Accounts are kept in the store: see `gemini-gateway accounts`.{other}
[transports.web]
""",
    _KEYS: """
# Keys are kept in the store: see `gemini-gateway accounts`.{other}
[transports.api]
""",
    _SIMULATED: """
# Answers are simulated. To use your own account or key: gemini-gateway init --replace
[transports.simulator]
""",
}
_OTHERS = {
    _WEBSITE: " For keys of the Gemini API, too: [transports.api]",
    _KEYS: " For accounts of the website, too: [transports.web]",
}
_ORDER = """
# Free keys are asked first, then the website, then paid keys; [[routes]] choose another order.
"""


class SetupAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account that `init` adds."""

    id: str
    secret: str
    """The session or key."""

    @property
    def transport(self) -> str:
        """Its transport, by the form of the credential."""
        return transport_of(self.secret)

    def __repr__(self) -> str:
        """Hide the secret."""
        return f"SetupAccount(id={self.id!r})"


class SetupPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What `init` sets up."""

    path: Path
    """Path of the settings file."""
    license: str = "me"
    accounts: tuple[SetupAccount, ...] = ()
    """The accounts to add, at most one for each transport; none: use the simulator."""

    @property
    def transports(self) -> list[str]:
        """The transports that it sets up."""
        return [account.transport for account in self.accounts] or [_SIMULATED]


def store_section(path: Path) -> dict[str, Any]:
    """Return the [store] section for the settings at `path`, keeping the store of an existing file.

    A local store gets an encryption key file; a shared store keeps its own setting, because its other users must agree.
    """
    try:
        found: Any = tomllib.loads(path.read_text("utf-8")).get("store", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        found = {}
    store = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    if "url" in store or "url_file" in store:
        return store
    return {"key_file": KEY_FILE, **store}


def settings_text(plan: SetupPlan, store: dict[str, Any]) -> str:
    """Return the text of the settings file."""
    names = plan.transports
    both = len(names) > 1
    sections = [_SECTIONS[name].format(other="" if both else _OTHERS.get(name, "")) for name in names]
    return _HEAD + tomli_w.dumps({"store": store}) + "".join(sections) + (_ORDER if both else "")


def transport_of(secret: str) -> str:
    """Return the transport of a credential: that of keys if it has their form, otherwise the website's."""
    keys = wiring.TRANSPORTS[_KEYS].accounts
    return _KEYS if keys is not None and keys.recognizes(secret) else _WEBSITE


def valid_account_name(account: str) -> str:
    """Return an account's name if it is valid.

    Raises:
        ValueError: the name is invalid.

    """
    try:
        return msgspec.convert(account, AccountId)
    except msgspec.ValidationError:
        expected = "expected 1 to 64 letters, digits or any of . _ @ + -"
        raise ValueError(f"{account[:64]!r} is not a valid account name: {expected}") from None


def account_problem(account: str, session: str) -> str | None:
    """Return why an account is invalid, or None; it contacts no upstream and never quotes the session or key."""
    name = transport_of(session)
    account_type = wiring.TRANSPORTS[name].accounts
    try:
        record = AccountRecord(id=valid_account_name(account), transport=name, secret=session, created=0.0, by="init")
        if account_type is not None:
            account_type.from_record(record)
    except ValueError as error:
        return str(error)
    return None
