"""Probes the proxies that do not connect, so that requests do not have to.

A request that finds its account's proxy dead starts a cooldown of all accounts behind it and goes to another account.
Then `EgressProbes` connects through the proxy every few seconds: the cooldown lasts until that works.
"""

import anyio
import structlog

from protocol.model import Disconnected, GatewayError, UpstreamTimeout
from transports.accounts.availability import AccountState
from transports.accounts.records import CooldownReason
from transports.accounts.tracker import AccountTracker
from transports.proxy import NOT_ANSWERED
from transports.tasks import every

PROXY_SECONDS = 30.0
"""Length of the cooldown; every probe that fails begins it again."""
_PROBE_SECONDS = 5.0

_log = structlog.get_logger()


def problem_of_proxy(error: Disconnected | UpstreamTimeout) -> str:
    """Return what the operator reads about a proxy through which nothing was sent."""
    if isinstance(error, UpstreamTimeout):
        return NOT_ANSWERED
    return error.problem or "The connection through the proxy broke."


class EgressProbes:
    """Probes the proxies of one transport's accounts."""

    def __init__(self, accounts: AccountTracker) -> None:
        """Probe for `accounts`, while `run` runs."""
        self._accounts, self._clock = accounts, accounts.deps.clock

    async def run(self) -> None:
        """Probe every few seconds until cancelled."""
        await every(_PROBE_SECONDS, self.probe_all, self._clock)

    async def probe_all(self) -> None:
        """Probe each proxy that does not connect, all at once."""
        async with anyio.create_task_group() as tasks:
            for state in self._accounts.without_way_out():
                tasks.start_soon(self.probe, state)

    async def probe(self, state: AccountState) -> None:
        """Connect through the account's proxy; end its cooldown, or begin it again."""
        egress = state.account.egress
        try:
            await state.account.reach()
        except (Disconnected, UpstreamTimeout) as error:
            self._accounts.block_egress(egress, PROXY_SECONDS, CooldownReason.PROXY, problem_of_proxy(error))
            return
        except GatewayError:
            pass  # an answer of the upstream: the proxy connects
        self._accounts.unblock_egress(egress)
        _log.info("egress_recovered", egress=egress)
