"""Checks an account before it is stored.

The transport is opened on a store in memory that has only this account, and for an account that is replaced also its
stored session. So a failed check leaves nothing behind. The check may rotate the session: what the transport has kept
of it is returned, and must be stored with the account, because the cookies that were given do not work for long then.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing, suppress

import msgspec

from transports.account import Finding, Level
from transports.accounts.registry import AccountRecord, AccountRegistry
from transports.base import Transport
from transports.clock import Clock
from transports.store import MemoryStore, Records, Store
from transports.store.port import SESSIONS, Unreadable

OpenTrial = Callable[[str, str, Store], AbstractAsyncContextManager[Transport]]
"""Opens a transport, by name, for one account, by id, on a store of its own."""


class TrialFailed(Exception):
    """A step of the check failed."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """Checks an account before it is stored."""

    open: OpenTrial
    report: Callable[[Finding], None]
    """Is passed each finding."""

    async def run(self, record: AccountRecord, records: Records, clock: Clock) -> bytes | None:
        """Check an account, and return the session to store; None: there is none.

        Raises:
            TrialFailed: a step failed.

        """
        memory = MemoryStore(clock)
        with suppress(Unreadable):
            before = await records.get(SESSIONS, record.id)
            if before is not None:
                await memory.put(SESSIONS, record.id, before.value)
        await AccountRegistry(memory, clock).add(record)
        passed = True
        async with (
            self.open(record.transport, record.id, Store.of(memory)) as transport,
            aclosing(transport.examine(record.id)) as findings,
        ):
            async for finding in findings:
                self.report(finding)
                passed = passed and finding.level is not Level.FAILED
        if not passed:
            raise TrialFailed
        session = await memory.get(SESSIONS, record.id)
        return session.value if session is not None else None
