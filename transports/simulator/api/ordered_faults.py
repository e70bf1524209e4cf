"""Faults that a prompt orders, for all requests of the simulated API. Source: "Errors"."""

import msgspec

from transports.simulator.api.rpc_errors import ApiRefusal, overloaded, quota_exceeded
from transports.simulator.prompt_directives import PromptScript

_QUOTA, _DELAY = 10, 26
"""What the error says that `http="429"` orders."""

_FAULTS = ("http", "error", "late_error", "drop_after", "eof_after", "stall_after", "garbage_after")
_NO_FAULTS: dict[str, None] = dict.fromkeys(_FAULTS)


class OrderedFaults:
    """Remembers the names of faults that have happened."""

    def __init__(self) -> None:
        """Start without any."""
        self._once: set[str] = set()

    def once(self, script: PromptScript) -> PromptScript:
        """Return a script without its faults if those of this name have happened."""
        if not script.once or script.once not in self._once:
            self._once.add(script.once)
            return script
        return msgspec.structs.replace(script, **_NO_FAULTS)


def refuse_as_ordered(script: PromptScript, model: str, *, streams: bool) -> None:
    """Raise the error that a prompt orders for the begin of an answer."""
    match script.http:
        case None:
            if script.error is not None and not (streams and script.after):
                raise overloaded()
        case 503:
            raise overloaded()
        case 429:
            delay = float(script.retry_after if script.retry_after.isdecimal() else _DELAY)
            raise quota_exceeded(model, per="Minute", tier="paid", value=_QUOTA, delay=delay)
        case status:
            raise ApiRefusal(status, f"The prompt ordered the status {status}.")
