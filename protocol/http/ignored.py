"""Reports the fields of a request that have no effect here although they would change the answer.

They are accepted, because clients send them with every request, and named in a `Warning` header of the answer. With the
setting `api.strict` they are refused instead.

Transports differ in the options that they apply. A field is refused if none that may answer applies it. The header
names what the transport that answers has not applied.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from operator import attrgetter

from protocol.http.context import ApiSettings
from protocol.model import NO_OPTIONS, AnswerOptions, BadRequest, Served

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


class Notices:
    """What an answer does not do that its request asks for."""

    def __init__(
        self,
        fields_of: Callable[[frozenset[str]], Iterable[str]],
        api: ApiSettings,
        applied: frozenset[str] = frozenset(),
    ) -> None:
        """Take the fields that have no effect if some options are applied; `applied`: those that some upstream applies.

        Raises:
            BadRequest: there is one, and the settings refuse it; `param` is the first.

        """
        self._fields_of, self._applied = fields_of, applied
        self._fields = tuple(dict.fromkeys(fields_of(applied)))
        """Those that no upstream applies."""
        if self._fields and api.strict:
            first = self._fields[0]
            message = f"'{first}' has no effect here, and the settings of this gateway refuse it: leave it out."
            raise BadRequest(message, param=first, code="unsupported_parameter")

    def sentences(self, served: Served, options: AnswerOptions = NO_OPTIONS) -> Sequence[str]:
        """Return the sentences of the `Warning` headers for an answer; `options` are those of its request."""
        fields = self._fields
        if options != NO_OPTIONS and served.transport:
            left = {name for name in self._applied if getattr(options, name) != getattr(NO_OPTIONS, name)}
            left -= served.applied
            if left:
                fields = tuple(dict.fromkeys(self._fields_of(self._applied - left)))
        return (f"These fields have no effect here: {', '.join(fields)}.",) if fields else ()


NO_NOTICES = Notices(lambda _: (), ApiSettings())
"""Nothing is left undone."""
