import anyio
import anyio.lowlevel
import pytest

from protocol.model import SignedOut
from tests.clock import ManualClock
from tests.transports.conftest import ACCOUNT, deps_for, request_for
from transports import web
from transports.pool import MemoryStore
from transports.web.rotate import Rotation


def rotation_of(transport, store, clock):
    session = transport._sessions["one"]
    return Rotation(session, session.site.vault, store, clock)


async def ask(transport):
    async with transport.open(request_for("<echo>ok</echo>"), transport.accounts[0]) as answer:
        return [event async for event in answer]


async def test_a_rotated_value_is_saved_used_and_survives_a_restart(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    async with open_site(clock=clock, grace_seconds=60) as site:
        async with site.connect(deps=deps_for(clock, store)) as transport:
            await ask(transport)
            await rotation_of(transport, store, clock).once()
            assert transport._sessions["one"].site.vault.cookies["__Secure-1PSIDTS"] != ACCOUNT.psidts
            await ask(transport)
        clock.advance(3600)  # the first value has expired by now
        async with site.connect(deps=deps_for(clock, store)) as transport:
            await ask(transport)
        async with site.connect(deps=deps_for(clock, MemoryStore(clock))) as transport:
            with pytest.raises(SignedOut):
                await ask(transport)


async def test_it_is_due_every_so_often(open_site):
    clock = ManualClock()
    async with open_site(clock=clock) as site, site.connect(deps=deps_for(clock), rotate_seconds=540) as transport:
        await clock.until_asleep()
        assert await site.seen("rotate") == 0
        clock.advance(540 * 1.1)
        with anyio.fail_after(10):
            while await site.seen("rotate") == 0:
                await anyio.lowlevel.checkpoint()
        await ask(transport)


async def test_two_at_once_rotate_once(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    async with (
        open_site(clock=clock) as site,
        site.connect(deps=deps_for(clock, store)) as one,
        site.connect(deps=deps_for(clock, store)) as two,
    ):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(rotation_of(one, store, clock).once)
            tasks.start_soon(rotation_of(two, store, clock).once)
        await rotation_of(two, store, clock).once()
        assert await site.seen("rotate") == 1
        await ask(one)
        await ask(two)


async def test_a_dead_session_says_that_a_person_is_needed(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    dead = web.WebAccount(id="one", cookies="__Secure-1PSID=psid-1; __Secure-1PSIDTS=dead")
    async with open_site(clock=clock) as site, site.connect(dead, deps=deps_for(clock, store)) as transport:
        with pytest.raises(SignedOut):
            await rotation_of(transport, store, clock).once()


async def test_a_changed_export_wins_over_what_is_stored(open_site):
    clock = ManualClock()
    store = MemoryStore(clock)
    async with open_site(clock=clock) as site:
        async with site.connect(deps=deps_for(clock, store)) as transport:
            await rotation_of(transport, store, clock).once()
        fresh = web.WebAccount(id="one", cookies="__Secure-1PSID=psid-1; __Secure-1PSIDTS=newer; NID=1")
        async with site.connect(fresh, deps=deps_for(clock, store)) as transport:
            assert transport._sessions["one"].site.vault.cookies["__Secure-1PSIDTS"] == "newer"


class FailingStore(MemoryStore):
    """Fails to save, a few times; what it says failed was done all the same, the second time."""

    failures = 2

    async def save(self, account, value, *, expected):
        if self.failures == 2:
            self.failures -= 1
            raise OSError("out of order")
        saved = await super().save(account, value, expected=expected)
        if self.failures:
            self.failures -= 1
            raise OSError("the answer was lost")
        return saved


async def test_a_rotated_value_is_not_used_before_it_is_saved_and_saving_is_not_given_up(open_site):
    clock = ManualClock()
    store = FailingStore(clock)
    async with open_site(clock=clock) as site, site.connect(deps=deps_for(clock, store), rotate_seconds=0) as transport:
        vault = transport._sessions["one"].site.vault
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Rotation(transport._sessions["one"], vault, store, clock)._rotate)
            for _ in range(2):
                await clock.until_asleep()
                assert vault.cookies["__Secure-1PSIDTS"] == ACCOUNT.psidts
                clock.advance(1)
                await anyio.lowlevel.checkpoint()
        assert vault.cookies["__Secure-1PSIDTS"] != ACCOUNT.psidts
        assert await site.seen("rotate") == 1
