"""Gives functions names that the API accepts, and recognises them in its answers.

A name begins with a letter or an underscore and has at most 128 characters; those of other dialects may begin with a
digit or have other characters. Such a name is sent with a digest of the original, so two names never become equal.

Example: `1-get` is sent as `_1-get_7e1d9a54`, and a call of that is one of `1-get`.

Source: "GenerateContentRequest".
"""

import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b

_FITTING = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_FOREIGN = re.compile(r"[^A-Za-z0-9_.:-]")
_KEPT = 100


def api_name(name: str) -> str:
    """Return the name of a function as the API accepts it."""
    if _FITTING.fullmatch(name):
        return name
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"_{_FOREIGN.sub('_', name)[:_KEPT]}_{digest}"


def changed_names(names: Iterable[str]) -> Mapping[str, str]:
    """Return the original names of the functions that the API knows by another one."""
    return {sent: name for name in names if (sent := api_name(name)) != name}
