import pytest

from tests.clock import ManualClock
from transports.pool import MemoryStore
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
