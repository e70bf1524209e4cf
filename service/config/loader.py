"""Read settings from TOML and the environment, and report errors by source, key and expected value."""

import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_type_hints

import msgspec

ENVIRONMENT_PREFIX = "GEMINI_GATEWAY__"

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
        keys = [key.partition("[")[0] for key in path.split(".")]
        for name in self.variables:
            own = keys_of(name)
            if all(a == b for a, b in zip(own, keys, strict=False)):
                return f"the environment ({name})"
        return self.name


def origin_of(path: Path | None, environment: Mapping[str, str] | None = None) -> Origin:
    """Return the origin of settings that are read from an optional file and the environment."""
    variables = tuple(sorted(name for name in environment or () if name.startswith(ENVIRONMENT_PREFIX)))
    if path is None:
        return Origin(name="the environment", variables=variables)
    return Origin(name=str(path), path=path.absolute(), folder=path.absolute().parent, variables=variables)


def keys_of(variable: str) -> list[str]:
    """Return the section and key that an environment variable sets."""
    return variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")


def convert(tree: Any, section: type[SectionT], origin: Origin, *, at: str = "", strict: bool = True) -> SectionT:
    """Convert a tree of plain values to a settings section; `at` is the section's own key, for messages.

    Raises:
        SettingsError: a key is unknown or missing, or a value has the wrong type.

    """
    try:
        return msgspec.convert(tree, section, strict=strict, dec_hook=partial(_decode, origin.folder))
    except msgspec.ValidationError as error:
        reason, _, location = str(error).partition(" - at `")
        path = ".".join(filter(None, (at, location.rstrip("`").removeprefix("$").lstrip("."))))
        field = reason.partition("`")[2].rstrip("`")
        if reason.startswith("Object contains unknown field "):
            known = _fields(section, path.removeprefix(at).lstrip("."))
            expected = f"; expected one of: {', '.join(known)}" if known else ""
            path, reason = ".".join(filter(None, (path, field))), f"unknown key{expected}"
        elif reason.startswith("Object missing required field "):
            path, reason = ".".join(filter(None, (path, field))), "is required"
        raise SettingsError(f"{origin.of(path)}: {path or 'the file'}: {reason}") from None


def _decode(folder: Path, kind: type, value: Any) -> Any:
    """Decode types that msgspec does not know: paths, relative to the folder of the settings file."""
    if kind is Path and isinstance(value, str) and value:
        try:
            return folder / Path(value).expanduser()
        except RuntimeError:
            raise msgspec.ValidationError("The path names the home folder of an unknown user") from None
    raise msgspec.ValidationError(f"Expected `{'str' if kind is Path else kind.__name__}`")


def _fields(section: type[msgspec.Struct], path: str) -> list[str]:
    """Return the keys of the section at `path`, or an empty list if `path` is not a section."""
    found: Any = section
    for name in filter(None, path.split(".")):
        plain = name.partition("[")[0]
        hints = get_type_hints(found) if isinstance(found, type) and issubclass(found, msgspec.Struct) else {}
        found = hints.get(plain)
        if "[" in name:
            found = next(iter(get_args(found)), None)
    if isinstance(found, type) and issubclass(found, msgspec.Struct):
        return [field.encode_name for field in msgspec.structs.fields(found)]
    return []


def read(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        SettingsError: the file cannot be read or is not valid TOML.

    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: is not valid TOML: {error}") from None


def with_value(tree: dict[str, Any], keys: list[str], value: Any) -> dict[str, Any]:
    """Return a copy of the tree with the value at the path `keys` replaced."""
    head, *rest = keys
    below = tree.get(head)
    inner = cast("dict[str, Any]", below) if isinstance(below, dict) else {}
    return {**tree, head: with_value(inner, rest, value) if rest else value}


def value_of(text: str) -> Any:
    """Parse an environment variable: JSON for a list or table, otherwise plain text."""
    if text.startswith(("[", "{")):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
    return text
