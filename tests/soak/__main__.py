"""`python -m tests.soak MINUTES`: mixed load on three gateways, a fault every ten seconds, and what came of it."""

import sys
import tempfile
from collections import defaultdict
from time import monotonic

import aiohttp
import anyio
from rich.console import Console
from rich.table import Table

from tests.chaos.processes import CONCURRENCY, Cluster
from tests.nth import told
from tests.soak.faults import Faults
from tests.soak.mixture import Mixture
from tests.soak.wire import Wire

DIVISOR = 10
SAMPLE_SECONDS = 2.0
WARM_UP = 0.2
SITE = {
    "rotation_seconds": 0.1,
    "rotation_gap_seconds": 6.0,
    "grace_seconds": 30.0,
    "session_seconds": 150.0,
    "cookie_every": 7,
    "video_seconds": 1.0,
    "quota_seconds": 3600.0,
}
FEATURELESS = ("left", "invalid_api_key", "cut, gateway killed")
"""Outcomes that say nothing of whether the gateways were available."""


async def sample(cluster, samples):
    """Keep what each process uses; one that was killed begins anew."""
    while True:
        for process in (*cluster.gateways, cluster.site):
            usage = process.usage()
            for what, value in (usage or {}).items():
                samples[process.name, process.pid, what].append((monotonic(), value))
        await anyio.sleep(SAMPLE_SECONDS)


def slope(points):
    """Return by how much something grows in an hour, by least squares, after the warm-up."""
    points = points[int(len(points) * WARM_UP) :]
    mean_x, mean_y = (sum(column) / len(points) for column in zip(*points, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return 3600 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def growth(samples):
    table = Table("process", "what", "at first", "at last", "most", "slope an hour", "seconds")
    for (name, _, what), points in samples.items():
        if len(points) >= 20:
            first, last, most = points[0][1], points[-1][1], max(value for _, value in points)
            row = (first, last, most, slope(points), points[-1][0] - points[0][0])
            table.add_row(name, what, *(f"{number:.1f}" for number in row))
    return table


def outcomes(mixture):
    table = Table("asked", "outcome", "times")
    for (asked, outcome), times in sorted(mixture.outcomes.items()):
        table.add_row(asked, outcome, str(times))
    return table


def availability(mixture):
    counted = {key: times for key, times in mixture.outcomes.items() if key[1] not in FEATURELESS}
    answered = sum(times for (_, outcome), times in counted.items() if outcome == "answered")
    return answered / max(1, sum(counted.values()))


async def judged(cluster):
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{cluster.site.origin}/simulator/state") as response:
            return (await response.json())["accounts"]


async def lost(cluster):
    """Return how many accounts are lost: once all is mended, each is rotated again, and its newest value used."""
    before = [account["rotations"] for account in await judged(cluster)]
    missing = set(range(len(before)))
    with anyio.move_on_after(60):
        while missing:
            await anyio.sleep(0.2)
            for number, account in enumerate(await judged(cluster)):
                if account["rotations"] > before[number] and not account["unseen"] and not account["dead"]:
                    missing.discard(number)
    return len(missing)


async def soak(minutes, folder):
    wires = [Wire("site"), Wire("store")]
    cluster = Cluster(folder, accounts=12, divisor=DIVISOR, site=SITE, rotate_seconds=6.5, wires=wires)
    mixture, faults, samples = Mixture(cluster), Faults(cluster, wires), defaultdict(list)
    async with anyio.create_task_group() as outer:
        for wire in wires:
            outer.start_soon(wire.run)
        async with cluster:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(mixture.run)
                tasks.start_soon(sample, cluster, samples)
                await faults.run(minutes * 60)
                count = await lost(cluster)
                accounts = await judged(cluster)
                tasks.cancel_scope.cancel()
        outer.cancel_scope.cancel()
    return report(Console(width=120), cluster, (mixture, faults, samples), (count, accounts))


def report(console, cluster, run, verdict):
    """Print what came of it; return whether it is well."""
    (mixture, faults, samples), (count, accounts) = run, verdict
    console.print(growth(samples), outcomes(mixture))
    rotating, generating = (max(account[what] for account in accounts) for what in ("most_rotating", "most_generating"))
    leaks = len(told(cluster.logs(), cluster.secrets))
    facts = Table("fact", "value")
    for fact, value in {
        "faults made": ", ".join(f"{times} x {kind}" for kind, times in sorted(faults.made.items())),
        "availability, but for clients that left or whose gateway was killed": f"{availability(mixture):.4f}",
        "answers that are not well-formed": len(mixture.malformed),
        "rotations": sum(account["rotations"] for account in accounts),
        "sessions lost": count,
        "most rotations of an account in flight": rotating,
        f"most turns of an account in flight, of {CONCURRENCY}": generating,
        "answers that the site gave as to a guest": sum(account["as_guest"] for account in accounts),
        "rotations refused": sum(account["refused"] for account in accounts),
        "secrets in logs": leaks,
    }.items():
        facts.add_row(fact, str(value))
    console.print(facts)
    for one in mixture.malformed[:20]:
        console.print(one, markup=False)
    return not (count or mixture.malformed or leaks or rotating > 1)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        sys.exit(0 if anyio.run(soak, float(sys.argv[1]), place) else 1)
