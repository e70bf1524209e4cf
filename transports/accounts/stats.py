"""Statistics of account states."""

from collections import Counter
from collections.abc import Iterable

from protocol.model import Capability
from transports.accounts.state import AccountState
from transports.observer import AccountStats


def account_stats(transport: str, states: Iterable[AccountState], now: float) -> AccountStats:
    """Count accounts by kind, capability and state; an account with any cooldown counts as cooling down."""
    standing: Counter[tuple[str, str, str]] = Counter()
    ready: Counter[tuple[str, frozenset[Capability]]] = Counter()
    rotated: dict[str, float] = {}
    for state in states:
        account = state.account
        if state.paused is None and state.attention is None and not state.limited:
            ready[account.kind.value, account.capabilities] += 1
        else:
            for capability in account.capabilities:
                standing[account.kind.value, capability.value, status_of(state, capability, now)] += 1
        at = account.facts().rotated_at
        if at is not None and state.attention is None:
            rotated[account.id] = at
    for (kind, capabilities), count in ready.items():
        for capability in capabilities:
            standing[kind, capability.value, "ready"] += count
    return AccountStats(transport=transport, by_status=dict(standing), rotated=rotated)


def status_of(state: AccountState, capability: Capability, now: float) -> str:
    """Return the state of an account for a capability."""
    if state.paused is not None:
        return "paused"
    if state.attention is not None:
        return "needs_attention"
    cooldowns = [cooldown for scope, cooldown in state.cooldowns.items() if scope[1] in {None, capability}]
    cooldowns += [cooldown for cooldown in (state.blocked, state.pace.get(capability)) if cooldown is not None]
    return "cooling_down" if any(cooldown.until > now for cooldown in cooldowns) else "ready"
