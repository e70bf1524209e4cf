"""The forms of Anthropic's own tools that clients run: a shell, an editor, a memory.

A request offers them by their types alone, because Anthropic's models know them. Others must be told.
"""

from collections.abc import Mapping

from protocol.model import Schema, Tool

_TEXT: Schema = {"type": "string"}
_FIELDS: Mapping[str, Schema] = {
    "path": _TEXT,
    "view_range": {"type": "array", "items": {"type": "integer"}, "description": "The first and last line; -1: all"},
    "file_text": _TEXT,
    "old_str": {"type": "string", "description": "A text that the file contains once"},
    "new_str": _TEXT,
    "insert_line": {"type": "integer", "description": "The line behind which to insert; 0: at the beginning"},
    "insert_text": _TEXT,
    "old_path": _TEXT,
    "new_path": _TEXT,
}
_EDITOR = {
    "view": ("path",),
    "create": ("path", "file_text"),
    "str_replace": ("path", "old_str", "new_str"),
    "insert": ("path", "insert_line", "insert_text"),
}
"""The fields that each command of an editor requires."""


def _commands(required: Mapping[str, tuple[str, ...]]) -> Schema:
    """Return the form of a tool whose fields depend on its command."""
    return {"type": "object", "anyOf": [_command(name, fields) for name, fields in required.items()]}


def _command(name: str, fields: tuple[str, ...]) -> Schema:
    optional = ("view_range",) if name == "view" else ()
    forms = {field: _FIELDS[field] for field in (*fields, *optional)}
    return {"properties": {"command": {"const": name}, **forms}, "required": ["command", *fields]}


_SHELL: Schema = {
    "type": "object",
    "properties": {
        "command": {"type": "string", "description": "Required unless the shell is restarted"},
        "restart": {"type": "boolean"},
    },
}
_FORMS: Mapping[str, tuple[str, Schema]] = {
    "bash_": ("Runs a command in a shell, which keeps its state.", _SHELL),
    "text_editor_": ("Shows, creates and changes text files. `view` lists a folder, too.", _commands(_EDITOR)),
    "memory_": (
        "Your memory of earlier conversations: files below /memories. Look there first, and note what will be useful.",
        _commands({**_EDITOR, "delete": ("path",), "rename": ("old_path", "new_path")}),
    ),
}
"""The description and the arguments of a tool by the beginning of its type."""


def client_tool(kind: str, name: str) -> Tool | None:
    """Return the tool of a type, such as `bash_20250124`; None: it is not one that clients run, or not supported."""
    form = next((form for beginning, form in _FORMS.items() if kind.startswith(beginning)), None)
    return None if form is None else Tool(name=name, description=form[0], parameters=form[1])
