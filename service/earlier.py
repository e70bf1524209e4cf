"""What the version before this one kept in tables of its own, in the same file, is brought over to the store once."""

import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import anyio.to_thread
import msgspec
import structlog

from protocol.model import Job, Saturated
from service.jobs.store import JobStore
from transports.clock import Clock
from transports.store import Store, StoreDown
from transports.store.port import JOBS, KEYS, LICENSES, SESSIONS

_BUSY_SECONDS = 5.0

_log = structlog.get_logger()


async def bring_over(path: Path, store: Store, clock: Clock) -> None:
    """Bring over what the tables of the file at `path` hold; a record that is there already is newer.

    A table goes when all of it is in the store; what is stopped in between is done again at the next start.

    Raises:
        OSError: the file or the store is out of order.

    """
    for table, bring in _TABLES.items():
        rows = await anyio.to_thread.run_sync(_rows, path, table)
        if rows is None:
            continue
        for row in rows:
            await bring(row, store, clock)
        await anyio.to_thread.run_sync(_drop, path, table)
        _log.info("store_brought_over", table=table, records=len(rows))


async def _session(row: sqlite3.Row, store: Store, _: Clock) -> None:
    await store.put(SESSIONS, row["account"], row["value"], expected=0)


async def _secret(row: sqlite3.Row, store: Store, _: Clock) -> None:
    await store.put(KEYS, row["name"], row["value"], expected=0)


async def _license(row: sqlite3.Row, store: Store, _: Clock) -> None:
    features = row["features"] if "features" in row.keys() else "*"  # noqa: SIM118 -- a row holds values, not names
    value = {
        "digest": row["digest"],
        "models": row["models"].split(),
        "features": features.split(),
        "created": row["created"],
        "revoked": row["revoked"],
    }
    await store.put(LICENSES, row["id"], msgspec.json.encode(value), expected=0)


async def _job(row: sqlite3.Row, store: Store, clock: Clock) -> None:
    if row["expires"] <= clock.wall() or await store.get(JOBS, row["id"]) is not None:
        return
    try:
        job = msgspec.convert(json.loads(row["body"]), Job)
    except (msgspec.MsgspecError, ValueError) as error:
        _log.error("job_unreadable", job=row["id"], error=type(error).__name__)
        return
    try:
        await JobStore(store, clock).put(job, row["expires"])
    except Saturated as error:
        raise StoreDown(str(error)) from error


_TABLES: dict[str, Callable[[sqlite3.Row, Store, Clock], Awaitable[None]]] = {
    "session": _session,
    "secret": _secret,
    "license": _license,
    "job": _job,
}


def _rows(path: Path, table: str) -> list[sqlite3.Row] | None:
    """Return what a table holds, None where there is none."""
    there = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as database:
            database.row_factory = sqlite3.Row
            database.execute("BEGIN")  # between the look and the reading nobody drops it
            if database.execute(there, (table,)).fetchone() is None:
                return None
            return database.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 -- one of ours
    except sqlite3.Error as error:
        raise StoreDown(f"the store {path} is out of order: {error}") from error


def _drop(path: Path, table: str) -> None:
    """Forget a table, and leave none of its bytes in the file."""
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)) as database:
            for statement in ("PRAGMA secure_delete=ON", f"DROP TABLE IF EXISTS {table}"):
                database.execute(statement).fetchall()
    except sqlite3.Error as error:
        raise StoreDown(f"the store {path} is out of order: {error}") from error
