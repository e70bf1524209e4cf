"""Prints the settings that hold, as TOML, without what is secret."""

from collections.abc import Mapping
from typing import Any, cast

import msgspec
import tomli_w

from service.settings import Settings

_SECRET_KEYS = frozenset({"key", "cookies", "psid", "psidts", "proxy", "secret", "token", "password", "api_key"})


def shown(settings: Settings, transports: Mapping[str, msgspec.Struct]) -> str:
    """Return the settings, defaults included, as TOML; secrets are `***`."""
    tree = msgspec.to_builtins(settings, enc_hook=str)
    tree["transports"] = {name: msgspec.to_builtins(config, enc_hook=str) for name, config in transports.items()}
    return tomli_w.dumps(_masked(tree))


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        return {
            key: "***" if key in _SECRET_KEYS and below else _masked(below)
            for key, below in table.items()
            if below is not None
        }
    if isinstance(value, list | tuple):
        return [_masked(below) for below in cast("list[Any]", value)]
    return value
