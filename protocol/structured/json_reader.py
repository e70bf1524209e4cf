"""Reads one JSON value from text that arrives in pieces, and releases the text that is checked.

An object whose members can be checked one by one is released member by member: each as soon as it is complete and fits
its schema. A member that may be any string is released while it arrives. An array is released element by element, from
its first valid element on. Everything else is released when it is complete. Example with
`{"n": <integer>, "text": <string>}`:

    feed('{"n": 1')      -> ""                    more digits may follow
    feed('2, "text": "') -> '{"n": 12, "text": "'
    feed('Hel')          -> 'Hel'
    feed('lo"}')         -> 'lo"}'

Two mistakes that models often make are mended: line breaks and tabs within a string are escaped, and a
comma before the closing brace or bracket is dropped.
"""

import re
from typing import Any, cast

import msgspec

from protocol.model import JsonScanner
from protocol.structured.json_schema import CompiledSchema

_BLANK = re.compile(r"[ \t\r\n]*")
_STRING_PART = re.compile(r'(?:[^"\\]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+')
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_ESCAPE_BEGUN = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_CONTROL = re.compile(r"[\x00-\x1f]")

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class InvalidJson(Exception):
    """The text is not JSON, or does not fit its schema; the message says why, in words for the model."""


def _escaped(text: str) -> str:
    """Escape control characters, which JSON does not allow in a string."""
    return _CONTROL.sub(lambda found: _encode(found[0]).decode()[1:-1], text) if _CONTROL.search(text) else text


class JsonReader:
    """Reads a value whose first character is the first of the text; blanks may stand before it."""

    def __init__(self, schema: CompiledSchema | None, *, of_object: bool = True) -> None:
        """Check the value against `schema`, if there is one; `of_object`: it must be an object."""
        self._schema, self._of_object = schema, of_object
        self._by_members = of_object and (schema is None or schema.by_members)
        self._step = self._first
        self._text = ""
        """Text that is not read yet."""
        self._value: JsonScanner | None = None
        self._raw: list[str] = []
        self._names: set[str] = set()
        self._name = ""
        self._elements: list[Any] = []
        """The elements so far of the member that is read now."""
        self.released = ""
        """All text released so far: the canonical form of the value, once it is complete."""
        self.done = False
        """Whether the value is complete."""
        self.failed = False
        """Whether the value is complete, and does not fit its schema."""
        self.value: Any = None
        """The value, once it is complete."""

    def feed(self, piece: str) -> str:
        """Read a piece; return the text that it releases.

        Raises:
            InvalidJson: the text is not JSON, or does not fit its schema.

        """
        self._text += piece
        released: list[str] = []
        while not self.done:
            found = self._step()
            if found is None:
                break
            released.append(found)
        text = "".join(released)
        self.value = _read(self.released + text) if self.done else None
        if self.done and self._schema is not None and (problem := self._schema.problem(self.value)):
            self.failed = True
            raise InvalidJson(problem)
        self.released += text
        return text

    def close(self) -> str:
        """Read the end of the text; return the text that it releases.

        Raises:
            InvalidJson: the value is not complete.

        """
        released = "" if self.done else self.feed("\n")  # a blank ends a number
        if not self.done:
            raise InvalidJson("it is not complete")
        return released

    @property
    def rest(self) -> str:
        """The text after the value, once it is complete."""
        return self._text

    def _skip_blanks(self) -> str:
        """Drop blanks; return the next character, or an empty text."""
        end = _BLANK.match(self._text)
        if end is not None and end.end():
            self._text = self._text[end.end() :]
        return self._text[:1]

    def _take(self) -> str | None:
        """Take one whole value from the unread text, or return None if it goes on."""
        if self._value is None:
            self._value = JsonScanner()
        end = self._value.end(self._text)
        if end is None:
            self._raw.append(self._text)
            self._text = ""
            return None
        raw = "".join(self._raw) + self._text[:end]
        self._text, self._value = self._text[end:], None
        self._raw.clear()
        return raw

    def _first(self) -> str | None:
        first = self._skip_blanks()
        if not first:
            return None
        if self._of_object and first != "{":
            raise InvalidJson("it must be a JSON object: begin with '{'")
        if not self._by_members:
            self._step = self._whole
            return ""
        self._text = self._text[1:]
        self._step = self._member_or_end
        return ""

    def _whole(self) -> str | None:
        raw = self._take()
        if raw is None:
            return None
        _read(raw)
        self.done = True
        return _mended(raw)

    def _member_or_end(self) -> str | None:
        """Read the name of a member, or the closing brace after the opening one or a comma."""
        first = self._skip_blanks() if self._value is None else '"'
        if not first:
            return None
        if first == "}":
            return self._close()
        if first != '"':
            raise InvalidJson("it is not valid JSON: a member's name must stand in double quotes")
        raw = self._take()
        if raw is None:
            return None
        self._name = _read(raw)
        if self._name in self._names:
            raise InvalidJson(f"the member {self._name!r} stands there twice")
        self._step = self._colon
        return ""

    def _comma_or_end(self) -> str | None:
        first = self._skip_blanks()
        if not first:
            return None
        if first == "}":
            return self._close()
        if first != ",":
            raise InvalidJson("it is not valid JSON: a comma or a closing brace must follow a member")
        self._text = self._text[1:]
        self._step = self._member_or_end
        return ""

    def _close(self) -> str:
        self._text = self._text[1:]
        self.done = True
        return "}" if self._names else "{}"

    def _colon(self) -> str | None:
        first = self._skip_blanks()
        if not first:
            return None
        if first != ":":
            raise InvalidJson("it is not valid JSON: a colon must follow a member's name")
        self._text = self._text[1:]
        self._step = self._member
        return ""

    def _member(self) -> str | None:
        first = self._skip_blanks() if self._value is None else "_"
        if not first:
            return None
        if first == '"' and (self._schema is None or self._schema.takes_any_string(self._name)):
            self._text = self._text[1:]
            self._step = self._string
            return self._head() + '"'
        if first == "[" and (self._schema is None or self._schema.by_elements(self._name)):
            self._text = self._text[1:]
            self._elements = []
            self._step = self._element_or_end
            return ""
        raw = self._take()
        if raw is None:
            return None
        value = _read(raw)
        problem = self._schema.member_problem(self._name, value) if self._schema is not None else ""
        if problem:
            raise InvalidJson(problem)
        text = self._head() + _mended(raw)
        self._step = self._comma_or_end
        return text

    def _element_or_end(self) -> str | None:
        """Read an element, or the closing bracket after the opening one or a comma."""
        first = self._skip_blanks() if self._value is None else "_"
        if not first:
            return None
        if first == "]":
            return self._close_array()
        raw = self._take()
        if raw is None:
            return None
        value = _read(raw)
        if self._schema is not None and (problem := self._schema.element_problem(self._name, value)):
            raise InvalidJson(problem)
        before = ", " if self._elements else self._head() + "["
        self._elements.append(value)
        self._step = self._comma_or_bracket
        return before + _mended(raw)

    def _comma_or_bracket(self) -> str | None:
        first = self._skip_blanks()
        if not first:
            return None
        if first == "]":
            return self._close_array()
        if first != ",":
            raise InvalidJson("it is not valid JSON: a comma or a closing bracket must follow an element")
        self._text = self._text[1:]
        self._step = self._element_or_end
        return ""

    def _close_array(self) -> str:
        if self._schema is not None and (problem := self._schema.member_problem(self._name, self._elements)):
            raise InvalidJson(problem)
        self._text = self._text[1:]
        self._step = self._comma_or_end
        return "]" if self._elements else self._head() + "[]"

    def _head(self) -> str:
        """Return the text before a member's value."""
        before = ", " if self._names else "{"
        self._names.add(self._name)
        return f"{before}{_encode(self._name).decode()}: "

    def _string(self) -> str | None:
        """Release the next part of a string."""
        end = cast("re.Match[str]", _STRING_PART.match(self._text)).end()
        part, self._text = _escaped(self._text[:end]), self._text[end:]
        if self._text.startswith('"'):
            self._text = self._text[1:]
            self._step = self._comma_or_end
            return part + '"'
        if self._text and _ESCAPE_BEGUN.match(self._text) is None:
            raise InvalidJson(f"it is not valid JSON: {self._text[:2]!r} is not an escape within a string")
        return part or None


def _read(raw: str) -> Any:
    try:
        return _decode(_mended(raw))
    except (msgspec.DecodeError, RecursionError):
        raise InvalidJson("it is not valid JSON") from None


def _mended(raw: str) -> str:
    """Return a value's text with the control characters of its strings escaped."""
    if _CONTROL.search(raw) is None:
        return raw
    parts: list[str] = []
    at = 0
    for found in _STRING.finditer(raw):
        parts += [raw[at : found.start()], _escaped(found[0])]
        at = found.end()
    return "".join([*parts, raw[at:]])
