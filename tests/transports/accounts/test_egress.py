import pytest

from protocol.model import Disconnected, UpstreamFailed, UpstreamTimeout
from tests.pools import GatewayProcess
from transports.account import Account
from transports.accounts.egress import EgressProbes
from transports.accounts.records import CooldownReason

EGRESS = "http://proxy.example:3128"


class Harness:
    """Two accounts behind one proxy and one without; a probe ends with `error`."""

    def __init__(self):
        self.error, self.probed = None, []
        accounts = [
            Account(id=name, transport="t", egress=egress, reach=lambda name=name: self.reach(name))
            for name, egress in (("a", EGRESS), ("b", EGRESS), ("c", ""))
        ]
        self.process = GatewayProcess()
        self.accounts = self.process.pool(lambda: accounts).accounts
        self.probes = EgressProbes(self.accounts)
        self.accounts.block_egress(EGRESS, 30.0, CooldownReason.PROXY, "It is down.")

    async def reach(self, name):
        self.probed.append(name)
        if self.error is not None:
            raise self.error

    @property
    def blocked(self):
        return [state.account.id for state in self.accounts.states if state.blocked is not None]


async def test_a_proxy_that_connects_again_serves_at_once():
    harness = Harness()
    assert harness.blocked == ["a", "b"]
    await harness.probes.probe_all()
    assert harness.blocked == []
    assert len(harness.probed) == 1
    await harness.probes.probe_all()
    assert len(harness.probed) == 1


@pytest.mark.parametrize("error", [Disconnected("x", problem="It is still down."), UpstreamTimeout("x")])
async def test_each_probe_that_fails_begins_the_cooldown_again(error):
    harness = Harness()
    harness.error = error
    harness.process.clock.advance(20.0)
    await harness.probes.probe_all()
    assert {state.blocked.until for state in harness.accounts.states if state.blocked} == {
        harness.process.clock.monotonic() + 30.0
    }


async def test_an_answer_of_the_upstream_shows_that_the_proxy_connects():
    harness = Harness()
    harness.error = UpstreamFailed("The upstream failed (HTTP 503).")
    await harness.probes.probe_all()
    assert harness.blocked == []


async def test_a_blocked_address_is_not_probed():
    harness = Harness()
    harness.accounts.unblock_egress(EGRESS)
    harness.accounts.block_egress(EGRESS, 600.0)
    await harness.probes.probe_all()
    assert (harness.probed, harness.blocked) == ([], ["a", "b"])
