"""Reads a lock: what is pinned, by which hashes, and what asked for it."""

import re
from typing import NamedTuple

_PINNED = re.compile(r"([A-Za-z0-9][\w.-]*)(?:\[[\w,-]+\])?==([^\s;\\]+)(?: ; (.*?))?(?: \\)?$")
_HASH = re.compile(r" +--hash=sha256:([0-9a-f]{64})(?: \\)?$")
_VIA = re.compile(r" +# (?:via |  )(\S+).*$")


class Pinned(NamedTuple):
    """A package of the lock."""

    name: str
    version: str
    marker: str | None
    hashes: list[str]
    via: list[str]
    """The packages that asked for it."""


def plain(name):
    """Return a package's name in the one way of writing it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(text):
    """Return the packages of a lock.

    Raises:
        ValueError: a line is none of a lock's.

    """
    found = []
    for line in filter(str.strip, text.splitlines()):
        if match := _PINNED.match(line):
            name, version, marker = match.groups()
            found.append(Pinned(plain(name), version, marker, [], []))
        elif match := _HASH.match(line):
            found[-1].hashes.append(match[1])
        elif match := _VIA.match(line):
            found[-1].via.append(plain(match[1]))
        elif line.strip() != "# via":
            raise ValueError(f"is not a line of a lock: {line!r}")
    return found
