"""Counts the accounts of one transport by their states, as a whole and for each model, for metrics.

An account with a cooldown of some models is still ready: others of its models can be asked. It is cooling down when
every model that the gateway offers with it for a capability is. The state for each model says which ones are left.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from protocol.model import Capability
from transports.accounts.availability import AccountState, Requirement, covers
from transports.accounts.records import AccountStatus, CooldownReason
from transports.observer import AccountStats

Requirements = Callable[[], Iterable[Requirement]]
"""Returns what requests can require of an account now: one requirement for each model and capability."""

NOT_INCLUDED = "not_included"
"""The account never has the model."""


class AccountCounter:
    """Counts accounts by their states."""

    def __init__(self, transport: str, requirements: Requirements) -> None:
        """Count the accounts of `transport`."""
        self._transport, self._requirements = transport, requirements

    def count(self, states: Sequence[AccountState], now: float) -> AccountStats:
        """Return the numbers of accounts by status, and by model and state."""
        offered: dict[Capability, dict[str, Requirement]] = {}
        for one in self._requirements():
            offered.setdefault(one.capability, {})[one.family] = one
        by_status: Counter[tuple[str, str, str]] = Counter()
        by_model: Counter[tuple[str, str, str, str, str]] = Counter()
        for state in states:
            account = state.account
            for capability in account.capabilities:
                requirements = offered.get(capability, {})
                found = {name: model_state(state, one, now) for name, one in requirements.items()}
                status = _status(state, capability, found.values(), now)
                if status is not None:
                    by_status[account.kind.value, capability.value, status.value] += 1
                for name, text in found.items():
                    by_model[account.kind.value, account.tier, capability.value, name, text] += 1
        return AccountStats(
            transport=self._transport,
            by_status=dict(by_status),
            by_model=dict(by_model),
            rotated=_rotated(states),
        )


def model_state(state: AccountState, requirement: Requirement, now: float) -> str:
    """Return an account's state for a model: an `AccountStatus`, the reason of a cooldown, or `not_included`."""
    if not state.supports(requirement):
        return NOT_INCLUDED
    whole = _whole_status(state)
    if whole is not None:
        return whole.value
    cooldown = state.active_cooldown(requirement, now) if state.limited else None
    return AccountStatus.READY.value if cooldown is None else cooldown.reason.value


def _whole_status(state: AccountState) -> AccountStatus | None:
    """Return the status that applies to all models; None: there is none."""
    if state.paused is not None:
        return AccountStatus.PAUSED
    return AccountStatus.NEEDS_ATTENTION if state.attention is not None else None


def _status(state: AccountState, capability: Capability, models: Collection[str], now: float) -> AccountStatus | None:
    """Return an account's status for a capability; None: it has no model for it."""
    included = [one for one in models if one != NOT_INCLUDED]
    if models and not included:
        return None
    whole = _whole_status(state)
    if whole is not None:
        return whole
    if included:
        return AccountStatus.READY if AccountStatus.READY.value in included else AccountStatus.COOLING_DOWN
    everything = [one for scope, one in state.cooldowns.items() if covers(scope, ("*", capability))]
    everything += [one for one in (state.blocked, state.pace.get(capability)) if one is not None]
    resting = any(one.until > now and one.reason is not CooldownReason.NEVER for one in everything)
    return AccountStatus.COOLING_DOWN if resting else AccountStatus.READY


def _rotated(states: Iterable[AccountState]) -> Mapping[str, float]:
    """Return the time of the last rotation of each account, without those that need attention."""
    times = ((state.account.id, state.account.facts().rotated_at) for state in states if state.attention is None)
    return {account: at for account, at in times if at is not None}
