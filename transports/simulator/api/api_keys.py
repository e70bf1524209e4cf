"""The keys of the simulated API, each with its quotas."""

import hmac
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from starlette.requests import Request

from transports.clock import Clock
from transports.simulator.api.api_models import SimulatedModel
from transports.simulator.api.key_problems import KeyProblems
from transports.simulator.api.rpc_errors import bad_key, missing_key, quota_exceeded

_MINUTE, _DAY = 60.0, 86400.0
Tier = Literal["free", "paid"]
Count = Annotated[int, msgspec.Meta(ge=0)]


class SimulatedKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that the simulated API accepts; it opens nothing else."""

    key: Annotated[str, msgspec.Meta(min_length=8)]
    tier: Tier = "free"
    per_minute: Count = 0
    """Requests per minute and model; 0: no limit."""
    per_day: Count = 0
    """Requests per day and model; 0: no limit."""

    def __repr__(self) -> str:
        """Hide the key."""
        return f"SimulatedKey(tier={self.tier!r})"


def read_key(text: str) -> SimulatedKey:
    """Read a key that is written `KEY[:free|paid[:PER_MINUTE[:PER_DAY]]]`.

    Raises:
        ValueError: the text does not have this form; the message does not show it.

    """
    key, tier, per_minute, per_day, *more = [*text.split(":"), "", "", ""]
    fields = {"key": key, "tier": tier or "free", "per_minute": per_minute or 0, "per_day": per_day or 0}
    try:
        found = msgspec.convert(fields, SimulatedKey, strict=False)
    except msgspec.ValidationError:
        found = None
    if found is None or any(more):
        raise ValueError("expected KEY[:free|paid[:PER_MINUTE[:PER_DAY]]] with a key of at least 8 characters")
    return found


class KeyRing:
    """The keys, and what each has used of its quotas."""

    def __init__(self, keys: Iterable[SimulatedKey], clock: Clock) -> None:
        """Accept these keys."""
        self._keys, self._clock = list(keys), clock
        self.problems = KeyProblems()
        self._used: Counter[tuple[str, str, str, int]] = Counter()

    def find(self, sent: str | None) -> SimulatedKey:
        """Return the key that a request sent.

        Raises:
            ApiRefusal: it sent none, an unknown one, or one that does not work.

        """
        if not sent:
            raise missing_key()
        found = [key for key in self._keys if hmac.compare_digest(key.key.encode(), sent.encode())]
        if not found:
            raise bad_key()
        self.problems.check(found[0].key, at_work=False)
        return found[0]

    def of_request(self, request: Request) -> SimulatedKey:
        """Return the key in a request's header, or in its address; raises as `find`."""
        return self.find(request.headers.get("x-goog-api-key") or request.query_params.get("key"))

    def use(self, key: SimulatedKey, model: SimulatedModel) -> None:
        """Count a request with a model.

        Raises:
            ApiRefusal: the key's quota for it is used up, or was always 0, or the key does not work.

        """
        self.problems.check(key.key, at_work=True)
        if model.paid and key.tier == "free":
            raise quota_exceeded(model.id, per="Day", tier="free", value=0, delay=31)
        now = self._clock.wall()
        for per, most, seconds in (("Minute", key.per_minute, _MINUTE), ("Day", key.per_day, _DAY)):
            window = (key.key, model.id, per, int(now / seconds))
            if most and self._used[window] >= most:
                left = seconds - now % seconds if per == "Minute" else 37  # the delay of a day's quota misleads
                raise quota_exceeded(model.id, per=per, tier=key.tier, value=most, delay=left)
        for per, seconds in (("Minute", _MINUTE), ("Day", _DAY)):
            self._used[key.key, model.id, per, int(now / seconds)] += 1
