"""Read settings from TOML and the environment, and report errors by source, key and expected value."""

import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from service.config.environment import keys_of, resolve, settings_in
from service.config.expected import shape_of, unknown_key, wrong_value
from transports.secret_files import decode_text

SectionT = TypeVar("SectionT", bound=msgspec.Struct)


class SettingsError(Exception):
    """An invalid setting. The message names the source, the key and what was expected, never the value."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """The source of the settings: a file, the environment, or both."""

    name: str
    """Name of the source in messages."""
    path: Path | None = None
    """Path of the settings file, if there is one."""
    folder: Path = Path()
    """Folder that relative paths start from."""
    variables: tuple[str, ...] = ()
    """Environment variables that override the file."""

    def of(self, path: str) -> str:
        """Name the source of the setting at a path such as `server.port`: the file or an environment variable."""
        variable = self.variable_of(path)
        return f"the environment ({variable})" if variable else self.name

    def variable_of(self, path: str) -> str | None:
        """Return the environment variable that sets the setting at a path, or part of it; None: the file does."""
        keys = [key.partition("[")[0] for key in path.split(".")]
        same = (name for name in self.variables if all(a == b for a, b in zip(keys_of(name), keys, strict=False)))
        return next(same, None)


def origin_of(path: Path | None, environment: Mapping[str, str] | None = None) -> Origin:
    """Return the origin of settings that are read from an optional file and the environment."""
    variables = tuple(settings_in(environment or {}))
    if path is None:
        return Origin(name="the environment", variables=variables)
    return Origin(name=str(path), path=path.absolute(), folder=path.absolute().parent, variables=variables)


def convert(tree: Any, section: type[SectionT], origin: Origin, *, at: str = "", strict: bool = True) -> SectionT:
    """Convert a tree of plain values to a settings section; `at` is the section's own key, for messages.

    Raises:
        SettingsError: a key is unknown or missing, or a value has the wrong type.

    """
    shape = shape_of(section)
    try:
        return msgspec.convert(resolve(tree, shape), section, strict=strict, dec_hook=partial(_decode, origin.folder))
    except msgspec.ValidationError as error:
        reason, _, location = str(error).partition(" - at `")
        path = location.removeprefix("key` in `").rstrip("`").removeprefix("$").lstrip(".")
        field = reason.partition("`")[2].rstrip("`")
        if reason.startswith("Object contains unknown field "):
            path, reason = ".".join(filter(None, (path, field))), unknown_key(shape, path, field)
        elif reason.startswith("Object missing required field "):
            path, reason = ".".join(filter(None, (path, field))), "is required"
        elif reason.startswith(("Expected `", "Invalid ")):
            variable = origin.variable_of(".".join(filter(None, (at, path))))
            exact = variable is not None and keys_of(variable)[-1] == path.rpartition(".")[2]
            reason = wrong_value(shape, path, variable if exact else None, of_key=location.startswith("key`"))
        path = ".".join(filter(None, (at, path)))
        raise SettingsError(f"{origin.of(path)}: {path or 'the file'}: {reason}") from None


def _decode(folder: Path, kind: type, value: Any) -> Any:
    """Decode types that msgspec does not know: paths, relative to the folder of the settings file."""
    if kind is Path and isinstance(value, str) and value:
        try:
            return folder / Path(value).expanduser()
        except RuntimeError:
            raise msgspec.ValidationError("the path names the home folder of an unknown user") from None
    raise msgspec.ValidationError(f"Expected `{'str' if kind is Path else kind.__name__}`")


def read(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        SettingsError: the file cannot be read or is not valid TOML.

    """
    try:
        return tomllib.loads(decode_text(path.read_bytes()))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: is not valid TOML: {error}") from None
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from None


def with_value(tree: dict[str, Any], keys: list[str], value: Any) -> dict[str, Any]:
    """Return a copy of the tree with the value at the path `keys` replaced."""
    head, *rest = keys
    below = tree.get(head)
    inner = cast("dict[str, Any]", below) if isinstance(below, dict) else {}
    return {**tree, head: with_value(inner, rest, value) if rest else value}
