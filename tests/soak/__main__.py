"""`python -m tests.soak MINUTES`: mixed load on three gateways, a fault every ten seconds, and a report."""

import math
import sys
import tempfile
from collections import defaultdict
from time import monotonic
from typing import NamedTuple

import aiohttp
import anyio
from rich.console import Console
from rich.table import Table

from tests.chaos.processes import CONCURRENCY, Cluster
from tests.nth import secrets_in
from tests.soak.faults import Faults
from tests.soak.mixture import Mixture
from tests.soak.wire import Wire

DIVISOR = 10
SAMPLE_SECONDS = 2.0
WARM_UP, JUDGED_SECONDS = 0.3, 540.0
"""The part of a run that does not count, and how long a process must have lived for its slopes to be judged: memory
grows in its first minutes, while all kinds of requests come for the first time."""
SPANS, T_95 = 12, 2.23
"""Spans of time whose means make a slope, and Student's factor for as many."""
LIMITS = {"memory MB": 20.0, "descriptors": 20.0, "threads": 4.0, "sockets": 20.0, "tasks": 20.0, "slots": 2.0}
"""More than this in an hour is a leak, if the slope is sure."""
SITE = {
    "rotation_seconds": 0.1,
    "min_rotation_interval_seconds": 6.0,
    "grace_seconds": 30.0,
    "session_seconds": 150.0,
    "cookie_every": 7,
    "video_seconds": 1.0,
    "quota_seconds": 3600.0,
}
FEATURELESS = ("left", "invalid_api_key", "cut, gateway killed")
"""Outcomes that say nothing of whether the gateways were available."""


async def sample(cluster, samples):
    """Keep what each process uses; one that was killed begins again with nothing."""
    while True:
        for process in (*cluster.gateways, cluster.site):
            usage = process.usage() or {}
            if usage and process in cluster.gateways:
                usage |= tasks_of(process) | await slots_of(process)
            for what, value in usage.items():
                samples[process.name, process.pid, what].append((monotonic(), value))
        await anyio.sleep(SAMPLE_SECONDS)


def tasks_of(gateway):
    """Return the number of tasks that a gateway last reported."""
    said = [line for line in list(gateway.last) if line.startswith(b"tasks: ")]
    return {"tasks": int(said[-1].removeprefix(b"tasks: "))} if said else {}


async def slots_of(gateway):
    """Return how many slots of accounts a gateway's requests hold; nothing while it does not answer."""
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as http:
            async with http.get(f"{gateway.origin}/metrics") as response:
                lines = (await response.text()).splitlines()
    except (aiohttp.ClientError, OSError, TimeoutError):
        return {}
    held = [float(line.rpartition(" ")[2]) for line in lines if line.startswith("gateway_upstream_requests_in_flight{")]
    return {"slots": sum(held)}


class Slope(NamedTuple):
    """By how much something grows in an hour, by least squares, and how far that may be wrong (95 %)."""

    an_hour: float
    error: float

    def leaks(self, limit):
        """Return whether it grows for certain, and by more than a limit an hour."""
        return self.an_hour - self.error > limit


def slope(points):
    """Return the slope of what was measured after the warm-up.

    Values of neighbouring moments are alike, so the means of a dozen spans count, and not each value.
    """
    points = points[int(len(points) * WARM_UP) :]
    size = max(1, len(points) // SPANS)
    spans = [points[at : at + size] for at in range(0, len(points) - size + 1, size)]
    means = [[sum(column) / len(span) for column in zip(*span, strict=True)] for span in spans]
    if len(means) < 3:
        return Slope(0.0, math.inf)
    times, values = ([mean[axis] for mean in means] for axis in (0, 1))
    middle, level = sum(times) / len(times), sum(values) / len(values)
    spread = sum((time - middle) ** 2 for time in times)
    each = sum((time - middle) * (value - level) for time, value in zip(times, values, strict=True)) / spread
    left = sum((value - level - each * (time - middle)) ** 2 for time, value in zip(times, values, strict=True))
    return Slope(3600 * each, 3600 * T_95 * math.sqrt(left / (len(means) - 2) / spread))


def growth(samples):
    """Return a table of what each process uses, and what of the gateways leaks: the simulated site keeps all turns."""
    table = Table("process", "what", "at first", "at last", "most", "slope an hour", "limit", "seconds")
    leaking = []
    for (name, _, what), points in samples.items():
        if len(points) >= 20:
            grown, limit = slope(points), LIMITS[what]
            first, last, most = points[0][1], points[-1][1], max(value for _, value in points)
            shown = f"{grown.an_hour:+.1f} ± {grown.error:.1f}"
            seconds = points[-1][0] - points[0][0]
            row = (f"{first:.1f}", f"{last:.1f}", f"{most:.1f}", shown, f"{limit:g}", f"{seconds:.0f}")
            table.add_row(name, what, *row)
            if name != "site" and seconds >= JUDGED_SECONDS and grown.leaks(limit):
                leaking.append(f"{what} of {name}: {shown}")
    return table, leaking


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
    """Print the report; return whether all is well."""
    (mixture, faults, samples), (count, accounts) = run, verdict
    table, leaking = growth(samples)
    console.print(table, outcomes(mixture))
    rotating, generating = (max(account[what] for account in accounts) for what in ("most_rotating", "most_generating"))
    leaks = len(secrets_in(cluster.logs(), cluster.secrets))
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
        f"what grows, of processes that lived for {JUDGED_SECONDS:.0f} seconds": "; ".join(leaking) or "nothing",
    }.items():
        facts.add_row(fact, str(value))
    console.print(facts)
    for one in mixture.malformed[:20]:
        console.print(one, markup=False)
    return not (count or mixture.malformed or leaks or leaking or rotating > 1)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        sys.exit(0 if anyio.run(soak, float(sys.argv[1]), place) else 1)
