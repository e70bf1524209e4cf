import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from tests.clock import ManualClock
from transports.store import MemoryStore
from transports.web.vault import Vault

SEED = {"__Secure-1PSID": "psid", "__Secure-1PSIDTS": "ts-1"}


def vaults(number=2, store=None):
    clock = ManualClock()
    store = store or MemoryStore(clock)
    return [Vault("one", SEED, store, clock) for _ in range(number)]


async def test_what_an_answer_sets_is_kept_and_is_no_new_session():
    (vault,) = vaults(1)
    await vault.take(["SIDCC=a; Domain=.google.com"], since=vault.version)
    assert vault.cookies == {**SEED, "SIDCC": "a"}
    assert (vault.version, vault.renewals) == (1, 0)


async def test_what_an_answer_sets_is_dropped_when_the_session_has_been_renewed_since():
    (vault,) = vaults(1)
    sent = vault.version
    await vault.replace({**SEED, "__Secure-1PSIDTS": "ts-2"}, rotated=True)
    await vault.take(["__Secure-1PSIDTS=ts-1b; Domain=.google.com", "SIDCC=a; Domain=.google.com"], since=sent)
    assert vault.cookies == {**SEED, "__Secure-1PSIDTS": "ts-2"}


async def test_what_an_answer_sets_is_dropped_when_another_process_has_renewed_the_session():
    ours, theirs = vaults()
    await theirs.replace({**SEED, "__Secure-1PSIDTS": "ts-2"}, rotated=True)
    await ours.take(["__Secure-1PSIDTS=ts-1b; Domain=.google.com"], since=ours.version)
    assert ours.cookies == theirs.cookies == {**SEED, "__Secure-1PSIDTS": "ts-2"}


async def test_a_renewal_is_counted_by_who_did_it_and_by_who_hears_of_it():
    ours, theirs = vaults()
    await ours.replace({**SEED, "__Secure-1PSIDTS": "ts-2"}, rotated=True)
    assert (ours.renewals, theirs.renewals) == (1, 0)
    assert await theirs.load()
    assert not await theirs.load()
    assert (ours.renewals, theirs.renewals) == (1, 1)


async def test_when_it_was_rotated_is_known_to_all_even_if_no_new_value_came():
    ours, theirs = vaults()
    await ours.replace(SEED, rotated=True)
    assert not await theirs.load()
    assert theirs.saved.rotated_at == ours.saved.rotated_at > 0


async def test_what_is_unreadable_is_left_alone():
    clock = ManualClock()
    store = MemoryStore(clock)
    await store.save("one", b"nonsense", expected=0)
    (vault,) = vaults(1, store)
    assert not await vault.load()
    assert vault.cookies == SEED


@pytest.mark.parametrize("seed", [{"__Secure-1PSID": "other"}, {**SEED, "NID": "1"}])
async def test_another_export_does_not_take_over_what_is_stored(seed):
    clock = ManualClock()
    store = MemoryStore(clock)
    await Vault("one", SEED, store, clock).replace({**SEED, "__Secure-1PSIDTS": "ts-2"}, rotated=True)
    vault = Vault("one", seed, store, clock)
    assert not await vault.load()
    assert vault.cookies == seed


class Full(MemoryStore):
    """Has no room."""

    full = True

    async def save(self, account, value, *, expected):
        if self.full:
            raise OSError("full")
        return await super().save(account, value, expected=expected)


async def replace_in_vain(vault, clock, cookies):
    """Replace cookies while the store has no room; pass the time."""
    async with anyio.create_task_group() as tasks:

        async def replace():
            await vault.replace(cookies, rotated=True)
            tasks.cancel_scope.cancel()

        tasks.start_soon(replace)
        for _ in range(60):
            await clock.until_asleep()
            clock.advance(1)
            await anyio.lowlevel.checkpoint()
        raise AssertionError("never given up")


async def test_a_rotated_value_that_cannot_be_saved_is_used_and_saved_once_the_store_works():
    clock = ManualClock()
    store = Full(clock)
    (vault,) = vaults(1, store)
    vault._clock = clock
    fresh = {**SEED, "__Secure-1PSIDTS": "ts-2"}
    with capture_logs() as logs:
        await replace_in_vain(vault, clock, fresh)
    assert [entry for entry in logs if entry["log_level"] == "error"] == [
        {"event": "rotated_session_not_saved", "log_level": "error", "account": "one"}
    ]
    assert vault.cookies == fresh
    with pytest.raises(OSError, match="full"):
        await vault.load()
    assert vault.cookies == fresh
    store.full = False
    assert not await vault.load()
    other = Vault("one", SEED, store, clock)
    assert await other.load()
    assert other.cookies == vault.cookies == fresh


async def test_what_another_process_has_rotated_since_is_not_overwritten():
    clock = ManualClock()
    store = Full(clock)
    ours, theirs = (Vault("one", SEED, store, clock) for _ in range(2))
    await replace_in_vain(ours, clock, {**SEED, "__Secure-1PSIDTS": "ts-2"})
    store.full = False
    await theirs.replace({**SEED, "__Secure-1PSIDTS": "ts-3"}, rotated=True)
    assert await ours.load()
    assert ours.cookies == theirs.cookies == {**SEED, "__Secure-1PSIDTS": "ts-3"}


async def test_what_another_process_only_added_to_does_not_stop_a_rotated_value():
    ours, theirs = vaults()
    await theirs.take(["SIDCC=a; Domain=.google.com"], since=0)
    ours._clock.now += 1
    saving = {**SEED, "__Secure-1PSIDTS": "ts-2"}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: ours.replace(saving, rotated=True))
        await ours._clock.until_asleep()
        ours._clock.advance(1)
    assert ours.cookies == saving
    assert await theirs.load()
    assert theirs.cookies == saving
