"""Selection of an account for a request: pure functions of the accounts' states.

The account is the less loaded of two that are picked at random. This "power of two choices" spreads the load nearly as
evenly as asking for the least loaded one, but does not send all processes to the same account at the same moment.

Example: of the accounts `a` (2 of 5 requests), `b` (0 of 5) and `c` (1 of 5), `a` and `c` are picked: `c` is chosen.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from transports.accounts.state import AccountState, Cooldown, Requirement

Rng = Callable[[], float]
"""Returns a number from 0 up to 1, like `random.random`."""

_CANDIDATES = 2


def choose(  # noqa: PLR0913 -- a pure function
    states: Sequence[AccountState],
    requirement: Requirement,
    now: float,
    *,
    guests: Sequence[AccountState] = (),
    tried: Collection[str] = frozenset(),
    home: AccountState | None = None,
    rng: Rng,
    include_ejected: bool = False,
) -> AccountState | None:
    """Return the account to ask now: of two picked at random, the less loaded one; None if none is free.

    `home` comes before all others. If a guest can serve the request, guests come before signed-in accounts, because
    they use no account's quota. An account that needs attention is asked only if no other is left.
    """

    def fit(state: AccountState) -> bool:
        return state.account.id not in tried and state.ready(requirement, now, include_ejected=include_ejected)

    if home is not None and fit(home) and (home.attention is None or home.renewed):
        return home
    if requirement.guest:
        guest = next((state for state in guests if state.attention is None and fit(state)), None)
        if guest is not None:
            return guest
    return _less_loaded_of_two(filter(fit, _shuffled(states, rng)), requirement)


def _less_loaded_of_two(fit: Iterable[AccountState], requirement: Requirement) -> AccountState | None:
    """Return the less loaded of the first two that need no attention, else one that does."""
    found: list[AccountState] = []
    attention: AccountState | None = None
    for state in fit:
        if state.attention is not None and not state.renewed:
            attention = attention or state
            continue
        found.append(state)
        if len(found) == _CANDIDATES:
            break
    return min(found, key=lambda state: (state.load(requirement), state.used_at), default=attention)


def _shuffled(states: Sequence[AccountState], rng: Rng) -> Iterator[AccountState]:
    left = list(states)
    while len(left) > 1:
        yield left.pop(int(rng() * len(left)))
    yield from left


def next_free(states: Iterable[AccountState], requirement: Requirement, now: float) -> Cooldown | None:
    """Return the cooldown that ends first among the usable accounts; None if no usable account is cooling down."""
    cooldowns = [state.active_cooldown(requirement, now) for state in states if usable(state, requirement)]
    return min(
        (cooldown for cooldown in cooldowns if cooldown is not None), key=lambda cooldown: cooldown.until, default=None
    )


def usable(state: AccountState, requirement: Requirement) -> bool:
    """Return whether an account can serve this, now or later, without an operator's help."""
    return state.supports(requirement) and state.paused is None and state.attention is None
