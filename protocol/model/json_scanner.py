"""Finds the end of a JSON value in text that arrives in pieces. Each character is looked at once."""

import re

_STRUCTURAL = re.compile(r'["{}\[\]]')
_SCALAR_END = re.compile(r"[,}\]\s]")
_STRING_STOP = re.compile(r'["\\]')
_DEPTH = {"{": 1, "[": 1, "}": -1, "]": -1}


class JsonScanner:
    """Finds the end of one value; its first character is the first of the text."""

    def __init__(self) -> None:
        """Start before the value."""
        self._depth = 0
        self._in_string = self._escape = False
        self._scalar = False
        self._begun = False

    def end(self, text: str) -> int | None:
        """Read the next piece; return the index in it after the value, or None if the value is not complete."""
        at = 0
        if not self._begun and text:
            self._begun = True
            self._scalar = text[0] not in '{["'
        if self._scalar:
            found = _SCALAR_END.search(text, at)
            return found.start() if found else None
        while at < len(text):
            if self._escape:
                self._escape = False
                at += 1
                continue
            stop = (_STRING_STOP if self._in_string else _STRUCTURAL).search(text, at)
            if stop is None:
                return None
            at = stop.end()
            self._escape = stop[0] == "\\"
            self._in_string ^= stop[0] == '"'
            self._depth += _DEPTH.get(stop[0], 0)
            if self._depth <= 0 and not self._in_string:
                return at
        return None
