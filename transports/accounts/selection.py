"""Which account to ask; a pure function of what is known."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from transports.accounts.state import AccountState, Cooldown, Requirement

Luck = Callable[[], float]
"""Returns anything from 0 up to 1, as `random.random` does."""

_CANDIDATES = 2


def choose(  # noqa: PLR0913 -- all that is known
    states: Sequence[AccountState],
    want: Requirement,
    now: float,
    *,
    guests: Sequence[AccountState] = (),
    tried: Collection[str] = frozenset(),
    home: AccountState | None = None,
    luck: Luck,
    desperate: bool = False,
) -> AccountState | None:
    """Return the account to ask now: of two that luck names, the one with less to carry; None where none is free.

    `home` is asked before any other. One of the `guests` among them is asked before a signed-in account where a guest
    will do: it costs nobody's allowance. One that waits for a person is asked only where no other is left.
    """

    def fit(state: AccountState) -> bool:
        return state.account.id not in tried and state.ready(want, now, desperate=desperate)

    if home is not None and fit(home) and (home.attention is None or home.renewed):
        return home
    if want.guest:
        guest = next((state for state in guests if state.attention is None and fit(state)), None)
        if guest is not None:
            return guest
    return _of_two(filter(fit, _in_lucky_order(states, luck)), want)


def _of_two(fit: Iterable[AccountState], want: Requirement) -> AccountState | None:
    """Return the better of the first two that need no person, else one that does."""
    found: list[AccountState] = []
    parked: AccountState | None = None
    for state in fit:
        if state.attention is not None and not state.renewed:
            parked = parked or state
            continue
        found.append(state)
        if len(found) == _CANDIDATES:
            break
    return min(found, key=lambda state: (state.load(want), state.used_at), default=parked)


def _in_lucky_order(states: Sequence[AccountState], luck: Luck) -> Iterator[AccountState]:
    left = list(states)
    while len(left) > 1:
        yield left.pop(int(luck() * len(left)))
    yield from left


def next_free(states: Iterable[AccountState], want: Requirement, now: float) -> Cooldown | None:
    """Return the rest that ends first of the accounts that suit; None where none suits, rests, or all are parked."""
    rests = [state.resting(want, now) for state in states if usable(state, want)]
    return min((rest for rest in rests if rest is not None), key=lambda rest: rest.until, default=None)


def usable(state: AccountState, want: Requirement) -> bool:
    """Say whether it will be asked for this sooner or later without a person's help."""
    return state.suits(want) and state.paused is None and state.attention is None
