"""Gateways of two sizes, asked in turn: the cost of a request must not depend on what else is stored."""

import asyncio
import sqlite3
from contextlib import ExitStack, closing

from tests.bench import answers, load
from tests.bench.samples import FEW, GATEWAY
from transports.accounts.conversations import Conversations, StoredConversation
from transports.clock import SystemClock
from transports.store.sqlite import SqliteStore

_CONNECTIONS = 16
_COPIES = """
WITH RECURSIVE copies(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM copies WHERE number < ?)
INSERT INTO record SELECT collection, printf('%064x', number), value, version, until FROM record, copies
"""


async def compared(bench):
    """Measure each pair."""
    plan = bench.plan
    few, many = await _kept(bench, 100), await _kept(bench, plan.kept)
    pairs = {
        "workers": ({}, {"workers": 2}),
        "accounts": ({"accounts": 3}, {"accounts": plan.accounts}),
        "licenses": ({}, {"licenses": plan.licenses}),
        "kept": ({"folder": few}, {"folder": many}),
    }
    for measure, setups in pairs.items():
        await _pair(bench, measure, setups)


async def _pair(bench, measure, setups):
    plan = bench.plan
    with ExitStack() as stack:
        everywhere = measure == "workers"
        subjects = [bench.start(stack, GATEWAY, everywhere=everywhere, **setup) for setup in setups]
        for subject, setup in zip(subjects, setups, strict=True):
            await bench.warm(subject)
            count = 2 * setup.get("accounts", 0)  # each learns its quotas when it is first used
            await load.one_by_one(subject.ask(answers.SHORT, stream=False), max(1, count))
        for _ in bench.rounds(plan.scale_rounds, f"{measure}, round"):
            for name, subject in zip((FEW, GATEWAY), subjects, strict=True):
                await asyncio.sleep(plan.settle_seconds)
                work = (subject, answers.SHORT, _CONNECTIONS, plan.least_answers)
                with bench.first(subject):
                    span = await bench.steadily(*work, stream=False)
                bench.samples.note(measure, name, span.processor / span.answers)


async def _kept(bench, count):
    """Return a gateway's folder whose store keeps `count` conversations."""
    folder = bench.folder / f"kept-{count}"
    folder.mkdir()
    path = folder / "gateway.sqlite3"
    store = SqliteStore(path, SystemClock())
    one = StoredConversation(account="bench-0", conversation=b'{"cid":"c_bench","rid":"r","rcid":"rc","context":"x"}')
    await Conversations(store, SystemClock()).keep(b"bench", one, seconds=1800.0)
    store.close()
    with closing(sqlite3.connect(path)) as database:
        database.execute(_COPIES, (count - 1,))
        database.commit()
    return folder
