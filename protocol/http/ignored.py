"""Reports the fields of a request that have no effect here although they would change the answer.

They are accepted, because clients send them with every request, and named in a `Warning` header of the answer. With the
setting `api.strict` they are refused instead.
"""

from collections.abc import Container, Iterable, Mapping
from operator import attrgetter

from protocol.http.context import ApiSettings
from protocol.model import BadRequest

_EMPTY: tuple[object, ...] = (None, "", [], {})
"""Values that leave any field unset, in addition to false, which equals 0 here."""


def warning(text: str) -> tuple[bytes, bytes]:
    """Return the `Warning` header with a sentence, which has no quotation marks."""
    return (b"warning", f'299 - "{text}"'.encode())


class IgnoredFields:
    """The fields of a kind of request that have no effect, with the values that ask for nothing."""

    def __init__(self, neutral: Mapping[str, tuple[object, ...]]) -> None:
        """Know these fields, at least two, and for each the values that change nothing; empty values never do."""
        self.names = frozenset(neutral)
        self._neutral = tuple(neutral.items())
        self._values_of = attrgetter(*neutral)
        self._unset = (None,) * len(neutral)

    def sent(self, body: object, applied: Container[str] = ()) -> list[str]:
        """Return the fields of a body that ask for something, without those that have an effect after all."""
        values = self._values_of(body)
        if values == self._unset:
            return []
        fields = zip(self._neutral, values, strict=True)
        return [
            name
            for (name, neutral), value in fields
            if value is not False and value not in _EMPTY and value not in neutral and name not in applied
        ]


def notices(fields: Iterable[str], api: ApiSettings) -> tuple[str, ...]:
    """Return the sentences of the `Warning` headers for fields that have no effect.

    Raises:
        BadRequest: there is one, and the settings refuse it; `param` is the first.

    """
    named = tuple(dict.fromkeys(fields))
    if not named:
        return ()
    if api.strict:
        message = f"'{named[0]}' has no effect here, and the settings of this gateway refuse it: leave it out."
        raise BadRequest(message, param=named[0], code="unsupported_parameter")
    return (f"These fields have no effect here: {', '.join(named)}.",)
