"""Prints the settings that hold, as TOML, without what is secret."""

from collections.abc import Mapping
from typing import Any, cast

import msgspec
import tomli_w

from service.settings import Settings
from service.stores import shown_url
from service.wiring import TRANSPORTS

_SECRETS = frozenset({"key", "token"})


def shown(settings: Settings, transports: Mapping[str, msgspec.Struct]) -> str:
    """Return the settings, defaults included, as TOML; secrets are `***`."""
    tree = _masked(msgspec.to_builtins(msgspec.structs.replace(settings, transports={}), enc_hook=str), _SECRETS)
    tree["store"]["url"] = shown_url(settings.store.url)
    tree["transports"] = {
        name: _masked(msgspec.to_builtins(config, enc_hook=str), TRANSPORTS[name].secrets)
        for name, config in transports.items()
    }
    return tomli_w.dumps(tree)


def _masked(value: Any, secrets: frozenset[str]) -> Any:
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        return {
            key: "***" if key in secrets and below else _masked(below, secrets)
            for key, below in table.items()
            if below is not None
        }
    if isinstance(value, list | tuple):
        return [_masked(below, secrets) for below in cast("list[Any]", value)]
    return value
