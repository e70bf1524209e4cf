"""Which account to ask; a pure function of what is known."""

from collections.abc import Iterable

from transports.pool.state import Rest, State, Want


def choose(
    states: Iterable[State],
    want: Want,
    now: float,
    tried: frozenset[str],
    home: str | None = None,
) -> State | None:
    """Return the account to ask now: the least loaded, then the one idle for longest; None where none is free.

    `home` is asked before any other. A guest is asked before a signed-in account where a guest will do: it costs
    nobody's allowance.
    """
    fit = [
        state
        for state in states
        if state.account.id not in tried and state.suits(want) and not state.busy and state.free_at(want, now) <= now
    ]
    return min(fit, key=lambda state: (state.account.id != home, *_preference(state)), default=None)


def _preference(state: State) -> tuple[bool, bool, float, float]:
    account = state.account
    return (state.parked is not None, not account.guest, state.in_flight / account.concurrency, state.used_at)


def next_free(states: Iterable[State], want: Want, now: float) -> Rest | None:
    """Return the rest that ends first of the accounts that suit; None where none suits, rests, or all are parked."""
    rests = [state.resting(want, now) for state in states if state.suits(want) and state.parked is None]
    return min((rest for rest in rests if rest is not None), key=lambda rest: rest.until, default=None)
