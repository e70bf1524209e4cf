"""What is to be set up, and the settings' file that says so."""

import tomllib
from pathlib import Path
from typing import Any, cast

import msgspec
import tomli_w

from service import wiring
from transports.accounts.registry import AccountId, AccountRecord

KEY_FILE = "gateway.key"
_TRANSPORT = "web"

_HEAD = """\
# Written by `gemini-gateway init`. `gemini-gateway config check` says whether all is well with it, and
# gateway.example.toml, in the sources' folder deploy, has every setting there is.

# The key encrypts what is secret in the store: back both up, apart.
"""
_SITE = """
# The accounts are in the store: see `gemini-gateway accounts`.
[transports.web]
"""
_SIMULATOR = """
# Answers are made up. With an account of yours: gemini-gateway init --replace
[transports.simulator]
"""


class SetupPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be set up."""

    path: Path
    """Of the settings."""
    license: str = "me"
    account: str = "first"
    session: str | None = None
    """What signs the account's requests; None: there is no account, and the simulator answers."""

    def __repr__(self) -> str:
        """Show no session."""
        return f"Plan(path={str(self.path)!r}, account={self.account!r}, simulated={self.session is None})"


def store_section(path: Path) -> dict[str, Any]:
    """Return the store's section for the settings at `path`: what is there says where accounts and licenses are kept.

    What is kept on this machine is encrypted from now on; the key of a store that others share is theirs to choose.
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
    """Return the settings' file with this section of the store."""
    return _HEAD + tomli_w.dumps({"store": store}) + (_SIMULATOR if plan.session is None else _SITE)


def valid_account_name(account: str) -> str:
    """Return an account's name as it is.

    Raises:
        ValueError: it is none.

    """
    try:
        return msgspec.convert(account, AccountId)
    except msgspec.ValidationError:
        expected = "expected 1 to 64 letters, digits and any of . _ @ + -"
        raise ValueError(f"{account[:64]!r} is no name for an account: {expected}") from None


def account_problem(account: str, session: str) -> str | None:
    """Say why an account cannot be one, None where it can; no site is asked, and nothing of the session is shown."""
    kind = wiring.TRANSPORTS[_TRANSPORT]
    try:
        entry = AccountRecord(
            id=valid_account_name(account), transport=_TRANSPORT, secret=session, created=0.0, by="init"
        )
        kind.admit(kind.config(), entry)
    except ValueError as error:
        return str(error)
    return None
