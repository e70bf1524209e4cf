"""Finds several accounts in a file or a folder, for `accounts add --from`.

A folder has one account in each file, named after the file. A file has accounts in one of these forms; any other text
is one account, named after the file:

    [{"id": "a", "secret": "…", "tags": ["eu"]}]    also with other names for the secret, as lines, or under "accounts"
    {"a": "AIza…", "b": {"__Secure-1PSID": "…"}}    ids and secrets
    AIza…                                           a secret a line, which may have its id in front
    # a                                             secrets with blank lines between them, which may have their id as
    __Secure-1PSID=…                                a comment in the first line
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import click
import msgspec

from service.cli.credentials import read_file

Recognizes = Callable[[str], bool]
"""Returns whether a text has the form of a credential."""

_OPTIONS = (
    "concurrency", "weight", "per_minute", "capabilities", "tags", "note", "proxy", "tier", "project", "location",
    "authuser", "user_agent",
)  # fmt: skip
_SECRETS = ("secret", "key", "api_key", "cookies", "cookie")
_LINE = re.compile(r"([A-Za-z0-9._@+-]{1,64})(?:\s*[,|\t]\s*|\s+)(.+)")
_TITLE = re.compile(r"#\s*([A-Za-z0-9._@+-]{1,64})\s*")


class AccountEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An account that was found."""

    id: str
    secret: str
    transport: str = ""
    options: dict[str, Any] = {}

    def __repr__(self) -> str:
        """Hide the secret."""
        return f"AccountEntry(id={self.id!r})"


def entries_of(path: Path, recognizes: Recognizes) -> list[AccountEntry]:
    """Return the accounts of a file, or of the files of a folder; hidden files and folders in it are left out.

    Raises:
        click.ClickException: a file cannot be read, the folder is empty, or two accounts have one id.

    """
    folder = path.is_dir()
    files = sorted(one for one in path.iterdir() if one.is_file() and one.name[0] != ".") if folder else [path]
    found = [entry for file in files for entry in entries_in(read_file(file), _id_of(file.stem), recognizes)]
    ids = [one.id for one in found]
    twice = sorted({one for one in ids if ids.count(one) > 1})
    if twice:
        raise click.ClickException(f"{path}: several accounts have the id {twice[0]!r}; name them apart")
    if not found:
        raise click.ClickException(f"{path} has no accounts: it is empty")
    return found


def entries_in(text: str, name: str, recognizes: Recognizes) -> list[AccountEntry]:
    """Return the accounts of a text; those without an id are named after `name`, with numbers."""
    for read in (read_json, read_titled, read_lines, read_blocks):
        found = list(read(text))
        if len(found) > 1 and all(recognizes(one.secret) for one in found):
            return [
                msgspec.structs.replace(one, id=one.id or f"{name}-{number}") for number, one in enumerate(found, 1)
            ]
    alone = list(read_json(text))
    is_entry = len(alone) == 1 and recognizes(alone[0].secret) and ('"secret"' in text or text.lstrip()[:1] == "[")
    found = alone if is_entry else [AccountEntry(id="", secret=text)]
    return [msgspec.structs.replace(one, id=one.id or name) for one in found if one.secret.strip()]


def _id_of(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._@+-]+", "-", text).strip("-")[:60] or "account"


def read_json(text: str) -> Iterator[AccountEntry]:
    """Yield the accounts of JSON: of a list, or of an object with ids as keys."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return
    if isinstance(value, dict):
        value = cast("dict[str, Any]", value).get("accounts", cast("dict[str, Any]", value))
    if isinstance(value, list):
        for item in cast("list[Any]", value):
            yield _entry(item)
    elif isinstance(value, dict) and "secret" in value:
        yield _entry(value)
    elif isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            yield msgspec.structs.replace(_entry(item), id=_id_of(key))


def _entry(item: Any, name: str = "") -> AccountEntry:
    """Return the account of an item of JSON: its secret, or an object that has it."""
    if not isinstance(item, dict):
        return AccountEntry(id=name, secret=item if isinstance(item, str) else json.dumps(item))
    table = cast("dict[str, Any]", item)
    secret = next((table[key] for key in _SECRETS if table.get(key)), table)
    given = table.get("options")
    options = {key: table[key] for key in _OPTIONS if key in table and secret is not table}
    return AccountEntry(
        id=str(table.get("id") or ("" if "value" in table else table.get("name")) or name),
        secret=secret if isinstance(secret, str) else json.dumps(secret),
        transport=str(table.get("transport") or ""),
        options=options | (cast("dict[str, Any]", given) if isinstance(given, dict) else {}),
    )


def read_lines(text: str) -> Iterator[AccountEntry]:
    """Yield an account a line: JSON, or a secret that may have its id in front."""
    for line in filter(None, (line.strip() for line in text.splitlines())):
        if line.startswith("#"):
            continue
        if line.startswith("{"):
            try:
                yield _entry(json.loads(line))
            except ValueError:
                yield AccountEntry(id="", secret=line)
        elif (match := _LINE.fullmatch(line)) and not match[1].startswith(("AIza", "AQ.", "g.a", "export", "curl")):
            yield AccountEntry(id=match[1], secret=match[2])
        else:
            yield AccountEntry(id="", secret=line)


def read_titled(text: str) -> Iterator[AccountEntry]:
    """Yield the parts of the text between blank lines, if each of them has its id in its first line."""
    found = list(read_blocks(text))
    yield from found if all(one.id for one in found) else ()


def read_blocks(text: str) -> Iterator[AccountEntry]:
    """Yield an account for each part of the text between blank lines."""
    for block in re.split(r"\n[ \t\r]*\n", text):
        if block.strip():
            title = _TITLE.fullmatch(block.strip().splitlines()[0])
            yield AccountEntry(id=title[1] if title else "", secret=block)
