"""Finds the JSON value of an answer, which may stand in prose or in a code block.

Each opening brace is tried in turn, by reading JSON from there: so braces in the prose before it, and code fences
within its strings, do no harm. Nothing is released before the value; what follows it is dropped.
"""

import re

import msgspec

from protocol.structured.json_reader import InvalidJson, JsonReader
from protocol.structured.json_schema import CompiledSchema

_MOST_TRIES = 200
_BLOCK = re.compile(r"```[^\n]*\n(.*?)```", re.DOTALL)
_JSON = re.compile(r'\s*(?:["\[]|-?\d|(?:true|false|null)\b)')
_NO_VALUE = "it has no JSON {kind}: answer with the JSON {kind} alone"


class Extractor:
    """Reads the text of one answer."""

    def __init__(self, schema: CompiledSchema | None) -> None:
        """Look for a value that fits `schema`; None: for any object."""
        types = schema.root_types if schema is not None else frozenset({"object"})
        self._schema, self._of_object = schema, types <= {"object"} and bool(types)
        self._opening = "{" if self._of_object else "{["
        self._scalar = bool(types) and not types & {"object", "array"}
        self._of_text = bool(types) and types <= {"string"}
        self._reader: JsonReader | None = None
        self._tried = ""
        """The text since the character at which the value may begin."""
        self.tries = 0
        """The number of places at which an object or array was looked for."""
        self._parts: list[str] = []
        self.problem = ""
        """What was wrong with the first value that was tried, in words for the model."""

    @property
    def done(self) -> bool:
        """Whether the value is complete, and fits its schema."""
        return self._reader is not None and self._reader.done and not self._reader.failed

    def feed(self, piece: str) -> str:
        """Read a piece of text; return the JSON that it releases.

        Raises:
            InvalidJson: a part of the value was released, and the rest is invalid.

        """
        if not self._of_object:
            self._parts.append(piece)
        if self._scalar:
            return ""
        while piece and not self.done:
            if self._reader is None:
                piece = piece[min((at for at in map(piece.find, self._opening) if at >= 0), default=len(piece)) :]
                if not piece or self.tries >= _MOST_TRIES:
                    return ""
                self._reader, self._tried = JsonReader(self._schema, of_object=self._of_object), ""
                self.tries += 1
            self._tried += piece
            try:
                return self._reader.feed(piece)
            except InvalidJson as error:
                piece = self._next_try(error)
        return ""

    def declined(self, text: str) -> bool:
        """Return whether the answer's whole text is a refusal in words: nothing in it looks like JSON."""
        return not self.tries and "```" not in text and _JSON.match(text) is None

    def close(self) -> str:
        """Read the end of the text; return the JSON that it releases.

        Raises:
            InvalidJson: the text has no value that fits.

        """
        if self._scalar or (self._parts and not self.tries):
            return self._close_scalar()
        while not self.done:
            if self._reader is None:
                raise InvalidJson(self.problem or _NO_VALUE.format(kind="object" if self._of_object else "value"))
            try:
                return self._reader.close()
            except InvalidJson as error:
                again = self._next_try(error)
            if released := self.feed(again):
                return released
        return ""

    def _close_scalar(self) -> str:
        """Return a value that is neither object nor array: it is all of the text, or the first code block in it.

        Models leave out the quotes of a text.
        """
        text = "".join(self._parts).strip()
        block = _BLOCK.search(text)
        if block is not None and not text.startswith('"'):
            text = block[1].strip()
        if self._of_text and not text.startswith('"'):
            text = msgspec.json.encode(text).decode()
        self._reader = JsonReader(self._schema, of_object=False)
        released = self._reader.feed(text) + self._reader.close()
        if self._reader.rest.strip():
            raise InvalidJson("text follows the JSON value")
        return released

    def _next_try(self, error: InvalidJson) -> str:
        """Return the text to try next, after the value that was tried."""
        self.problem = self.problem or str(error)
        if self._reader is not None and self._reader.released:
            raise error
        self._reader = None
        return self._tried[1:]
