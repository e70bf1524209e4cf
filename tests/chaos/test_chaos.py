"""Three gateways and one store: no account is lost if processes are killed or stopped around a rotation.

`CHAOS_TRIALS` says how many trials there are: 100, and 1,000 with `make test-chaos`.
"""

import os

import anyio
import pytest

from tests.chaos.load import Load
from tests.chaos.processes import CONCURRENCY, Cluster
from tests.chaos.trials import Trials
from tests.nth import secrets_in

TRIALS = int(os.environ.get("CHAOS_TRIALS", "100"))
ROUND = 50
ROUNDS = [ROUND] * (TRIALS // ROUND) + ([TRIALS % ROUND] if TRIALS % ROUND else [])
DIVISOR = 10
GRACE_SECONDS = 300 / DIVISOR
SITE = {
    "rotation_seconds": 0.1,
    "min_rotation_interval_seconds": 60 / DIVISOR,
    "session_seconds": 1500 / DIVISOR,
    "cookie_every": 7,
}


@pytest.mark.parametrize(("number", "trials"), list(enumerate(ROUNDS)))
async def test_no_account_is_lost_if_processes_are_killed_or_stopped_around_a_rotation(tmp_path, number, trials):
    site = {**SITE, "grace_seconds": GRACE_SECONDS}
    cluster = Cluster(tmp_path, accounts=40, divisor=DIVISOR, site=site, rotate_seconds=6.5)
    async with cluster, anyio.create_task_group() as tasks:
        load = Load(cluster)
        tasks.start_soon(load.run)
        verdict = await Trials(cluster, barrier_seconds=50 / DIVISOR, seed=number).run(trials)
        tasks.cancel_scope.cancel()
    print(verdict.summary(), dict(load.outcomes))
    assert sum(verdict.trials.values()) == trials
    assert verdict.lost() == []
    assert max(account["most_rotating"] for account in verdict.accounts) == 1
    assert max(account["most_generating"] for account in verdict.accounts) <= CONCURRENCY
    assert load.wrong == []
    assert load.outcomes["answered"] > trials
    assert not secrets_in(cluster.logs(), cluster.secrets)


async def test_gateways_that_share_an_account_without_a_store_are_detected(tmp_path):
    site = {**SITE, "grace_seconds": 0, "rotation_seconds": 1.0, "min_rotation_interval_seconds": 0}
    cluster = Cluster(tmp_path, accounts=6, divisor=DIVISOR, site=site, rotate_seconds=2.0, gateways=2, apart=True)
    async with cluster:
        with anyio.fail_after(90):
            while not (found := await violations(cluster)):
                await anyio.sleep(0.2)
    assert found & {"two rotations at once", "an account lost"}


async def violations(cluster):
    import aiohttp

    async with aiohttp.ClientSession() as http, http.get(f"{cluster.site.origin}/simulator/state") as response:
        accounts = (await response.json())["accounts"]
    found = {"two rotations at once"} if any(account["most_rotating"] > 1 for account in accounts) else set()
    return found | ({"an account lost"} if any(account["refused"] for account in accounts) else set())
