"""One whole trial: secrets change, gateways are restarted one by one, under load; then one is lost."""

import anyio
import msgspec

from tests.rollout.fleet import STEADY, Fleet
from tests.rollout.load import Load
from tests.rollout.rollout import change_secrets, lose, restart


class Seen(msgspec.Struct):
    """The results."""

    requests: int = 0
    failures: list = []
    restarts: list = []
    """Of each restart, what the balancer's check came to, and the exit status."""
    video: str = ""
    adopted_by: list = []


async def trial(folder, requests, tell=lambda _: None):
    """Run all steps under load until there are at least `requests` answers."""
    seen = Seen()
    async with Fleet(folder) as fleet:
        load = Load(fleet.balancer.url, STEADY)

        async def roll():
            await change_secrets(fleet)
            tell("secrets changed")
            while True:
                for gateway in fleet.gateways:
                    seen.restarts.append(await restart(fleet, gateway))
                    tell(f"{gateway.name} restarted; {load.answered} requests, {len(load.failures)} failed")
                if load.answered >= requests:
                    break
            load.stop()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(load.run)
            tasks.start_soon(roll)
        seen.requests, seen.failures = load.answered, load.failures
        seen.video, seen.adopted_by = await lose(fleet, fleet.gateways[1])
        tell(f"a gateway was lost; its video is {seen.video}")
    return seen
