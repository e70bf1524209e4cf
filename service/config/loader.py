"""Where settings come from, and how what is wrong in them is told: by its place, its key and what was expected."""

import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_type_hints

import msgspec

ENVIRONMENT_PREFIX = "GEMINI_GATEWAY__"

SectionT = TypeVar("SectionT", bound=msgspec.Struct)


class SettingsError(Exception):
    """A setting that is wrong; the message says where it is, its key and what was expected, never its value."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where settings come from."""

    name: str
    """For messages."""
    path: Path | None = None
    """Of the file, where there is one."""
    folder: Path = Path()
    """What relative paths are relative to."""
    variables: tuple[str, ...] = ()
    """The environment's, over the file."""

    def of(self, path: str) -> str:
        """Return where the setting at a path, as `server.port`, comes from: the file, or which variable."""
        keys = [key.partition("[")[0] for key in path.split(".")]
        for name in self.variables:
            own = keys_of(name)
            if all(a == b for a, b in zip(own, keys, strict=False)):
                return f"the environment ({name})"
        return self.name


def origin_of(path: Path | None, environment: Mapping[str, str] | None = None) -> Origin:
    """Return where the settings of a file and the environment, or of the environment alone, come from."""
    variables = tuple(sorted(name for name in environment or () if name.startswith(ENVIRONMENT_PREFIX)))
    if path is None:
        return Origin(name="the environment", variables=variables)
    return Origin(name=str(path), path=path.absolute(), folder=path.absolute().parent, variables=variables)


def keys_of(variable: str) -> list[str]:
    """Return the path, as section and key, that a variable of the environment sets."""
    return variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")


def convert(tree: Any, section: type[SectionT], origin: Origin, *, at: str = "", strict: bool = True) -> SectionT:
    """Convert a tree of plain values; `at` is its own key in the whole.

    Raises:
        SettingsError: it does not fit.

    """
    try:
        return msgspec.convert(tree, section, strict=strict, dec_hook=partial(_decode, origin.folder))
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `")
        path = ".".join(filter(None, (at, place.rstrip("`").removeprefix("$").lstrip("."))))
        path, reason = _explained(reason, path, section, at)
        raise SettingsError(f"{origin.of(path)}: {path or 'the file'}: {reason}") from None


def _decode(folder: Path, kind: type, value: Any) -> Any:
    """Decode what msgspec does not know: paths."""
    if kind is Path and isinstance(value, str) and value:
        try:
            return folder / Path(value).expanduser()
        except RuntimeError:
            raise msgspec.ValidationError("There is no home folder of that name") from None
    raise msgspec.ValidationError(f"Expected `{'str' if kind is Path else kind.__name__}`")


def _explained(reason: str, path: str, section: type[msgspec.Struct], at: str) -> tuple[str, str]:
    """Return the path of what is wrong, down to the key, and why it is."""
    if reason.startswith("Object contains unknown field "):
        field = reason.partition("`")[2].rstrip("`")
        known = _fields(section, path.removeprefix(at).lstrip("."))
        expected = f"; expected one of: {', '.join(known)}" if known else ""
        return ".".join(filter(None, (path, field))), f"unknown key{expected}"
    if reason.startswith("Object missing required field "):
        return ".".join(filter(None, (path, reason.partition("`")[2].rstrip("`")))), "is required"
    return path, reason


def _fields(section: type[msgspec.Struct], path: str) -> list[str]:
    """Return the keys that the section at `path` knows, or nothing where it is no section."""
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
        SettingsError: it cannot be read, or is none.

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
    """Return a tree with another value at a path."""
    head, *rest = keys
    below = tree.get(head)
    inner = cast("dict[str, Any]", below) if isinstance(below, dict) else {}
    return {**tree, head: with_value(inner, rest, value) if rest else value}


def value_of(text: str) -> Any:
    """Return what a variable of the environment says: JSON where it is a list or table, else the text."""
    if text.startswith(("[", "{")):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
    return text
