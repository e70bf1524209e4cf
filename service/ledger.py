"""The jobs of one machine, in the file of the licenses: what was asked, how far it is, and who is at work on it."""

import json
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import anyio.to_thread
import msgspec
import structlog

from protocol.model import Job, JobKind, JobPage, Saturated
from transports.clock import Clock

_BUSY_SECONDS = 5.0
_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS job (
        id TEXT PRIMARY KEY,
        license TEXT NOT NULL,
        kind TEXT NOT NULL,
        over INTEGER NOT NULL,
        created REAL NOT NULL,
        expires REAL NOT NULL,
        body BLOB NOT NULL,
        holder TEXT NOT NULL DEFAULT '',
        until REAL NOT NULL DEFAULT 0
    )
    """,
    "CREATE INDEX IF NOT EXISTS job_license ON job (license, kind, created, id)",
)

_ORDERS = {
    "asc": (
        " AND (created, id) > (SELECT created, id FROM job WHERE id = ? AND license = ?)",
        " ORDER BY created ASC, id ASC LIMIT ?",
    ),
    "desc": (
        " AND (created, id) < (SELECT created, id FROM job WHERE id = ? AND license = ?)",
        " ORDER BY created DESC, id DESC LIMIT ?",
    ),
}
"""What comes behind a job, and in which order, by the page's order."""

ResultT = TypeVar("ResultT")

_log = structlog.get_logger()

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Job).decode


class Hold(msgspec.Struct, frozen=True):
    """Who is at work on a job, and for how many seconds unless it is renewed."""

    holder: str
    seconds: float


class Ledger:
    """Jobs in SQLite; every call is one transaction, durable when it returns. Every method may raise Saturated."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Use the database at `path`, which exists.

        Raises:
            OSError: it cannot be used.

        """
        self._path, self._clock = path, clock
        try:
            with self._database() as database:
                for statement in _SCHEMA:
                    database.execute(statement)
        except sqlite3.Error as error:
            raise OSError(f"the store {path} is out of order: {error}") from error

    async def put(self, job: Job, expires: float, hold: Hold | None = None) -> None:
        """Keep a job, new or known, until `expires`; one that is held stays so unless `hold` says by whom."""

        def query(database: sqlite3.Connection) -> None:
            values = (job.id, job.request.caller.id, job.kind, job.over, job.created, expires, _pack(job))
            database.execute(
                "INSERT INTO job (id, license, kind, over, created, expires, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET over = excluded.over, expires = excluded.expires,"
                " body = excluded.body",
                values,
            )
            if hold is not None:
                until = self._clock.wall() + hold.seconds
                database.execute("UPDATE job SET holder = ?, until = ? WHERE id = ?", (hold.holder, until, job.id))

        await self._run(query)

    async def change(self, job: Job, expires: float, holder: str) -> bool:
        """Keep a known job as it is now; False: it is not held by `holder` any more, or is gone."""

        def query(database: sqlite3.Connection) -> bool:
            done = database.execute(
                "UPDATE job SET over = ?, expires = ?, body = ? WHERE id = ? AND holder = ?",
                (job.over, expires, _pack(job), job.id, holder),
            )
            return done.rowcount == 1

        return await self._run(query)

    async def find(self, license_id: str, kind: JobKind, job_id: str) -> Job | None:
        """Return a license's job."""

        def query(database: sqlite3.Connection) -> Job | None:
            found = database.execute(
                "SELECT id, body FROM job WHERE id = ? AND license = ? AND kind = ? AND expires > ?",
                (job_id, license_id, kind, self._clock.wall()),
            )
            row = found.fetchone()
            return _unpack(*row) if row else None

        return await self._run(query)

    async def page(self, license_id: str, kind: JobKind, page: JobPage) -> tuple[Sequence[Job], bool]:
        """Return some of a license's jobs, and whether there are more."""
        select = "SELECT id, body FROM job WHERE license = ? AND kind = ? AND expires > ?"
        behind, end = _ORDERS[page.order]

        def query(database: sqlite3.Connection) -> tuple[Sequence[Job], bool]:
            values: list[object] = [license_id, kind, self._clock.wall()]
            if page.after is not None:
                values += [page.after, license_id]
            text = select + (behind if page.after is not None else "") + end
            rows = database.execute(text, (*values, page.limit + 1)).fetchall()
            jobs = (_unpack(*row) for row in rows[: page.limit])
            return [job for job in jobs if job is not None], len(rows) > page.limit

        return await self._run(query)

    async def remove(self, license_id: str, kind: JobKind, job_id: str) -> bool:
        """Forget a license's job; say whether there was one."""

        def query(database: sqlite3.Connection) -> bool:
            values = (job_id, license_id, kind)
            return database.execute("DELETE FROM job WHERE id = ? AND license = ? AND kind = ?", values).rowcount == 1

        return await self._run(query)

    async def unfinished(self, license_id: str, kind: JobKind) -> int:
        """Count a license's jobs that have not come to their end."""

        def query(database: sqlite3.Connection) -> int:
            text = "SELECT COUNT(*) FROM job WHERE license = ? AND kind = ? AND NOT over AND expires > ?"
            return database.execute(text, (license_id, kind, self._clock.wall())).fetchone()[0]

        return await self._run(query)

    async def acquire(self, job_id: str, hold: Hold) -> Job | None:
        """Be the only one at work on a job; None: somebody else is, or there is none that can be read."""

        def query(database: sqlite3.Connection) -> Job | None:
            now = self._clock.wall()
            values = (hold.holder, now + hold.seconds, job_id, now, now + hold.seconds)
            done = database.execute(
                "UPDATE job SET holder = ?, until = ? WHERE id = ? AND (holder = '' OR until < ? OR until > ?)", values
            )
            if done.rowcount != 1:
                return None
            job = _unpack(*database.execute("SELECT id, body FROM job WHERE id = ?", (job_id,)).fetchone())
            if job is None:  # nobody can go on with it: it is not to be offered again
                database.execute("UPDATE job SET over = 1, holder = '', until = 0 WHERE id = ?", (job_id,))
            return job

        return await self._run(query)

    async def renew(self, holders: Sequence[str], seconds: float) -> set[str]:
        """Go on being at work on jobs; return the holders that still are."""

        def query(database: sqlite3.Connection) -> set[str]:
            until = self._clock.wall() + seconds
            text = "UPDATE job SET until = ? WHERE holder = ?"
            return {holder for holder in holders if database.execute(text, (until, holder)).rowcount}

        return await self._run(query)

    async def release(self, holder: str) -> None:
        """Stop being at work on a job."""

        def query(database: sqlite3.Connection) -> None:
            database.execute("UPDATE job SET holder = '', until = 0 WHERE holder = ?", (holder,))

        await self._run(query)

    async def idle(self, kind: JobKind) -> Sequence[str]:
        """Return the unfinished jobs that nobody is at work on, oldest first; forget those that have expired."""

        def query(database: sqlite3.Connection) -> Sequence[str]:
            now = self._clock.wall()
            database.execute("DELETE FROM job WHERE expires <= ?", (now,))
            text = "SELECT id FROM job WHERE kind = ? AND NOT over AND (holder = '' OR until < ?) ORDER BY created, id"
            return [row[0] for row in database.execute(text, (kind, now))]

        return await self._run(query)

    async def _run(self, query: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        def work() -> ResultT:
            with self._database() as database:
                return query(database)

        try:
            return await anyio.to_thread.run_sync(work)
        except sqlite3.Error:
            raise Saturated("The gateway's store is out of order.", code="state_unavailable") from None

    @contextmanager
    def _database(self) -> Generator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous=FULL")
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")


def _pack(job: Job) -> bytes:
    try:
        return _encode(job)
    except UnicodeEncodeError:  # a lone surrogate: only an escape can carry it
        return json.dumps(msgspec.to_builtins(job)).encode()


def _unpack(job_id: str, body: bytes) -> Job | None:
    """Return a job; None: it cannot be read, whatever wrote it."""
    try:
        try:
            return _decode(body)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:  # a lone surrogate: see `_pack`
            return msgspec.convert(json.loads(body), Job)
    except (msgspec.MsgspecError, ValueError) as error:
        _log.error("job_unreadable", job=job_id, error=type(error).__name__)
        return None
