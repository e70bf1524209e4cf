"""One contract for licenses in every kind of store."""

import subprocess
import sys
from hashlib import sha256

import anyio
import msgspec
import pytest

from protocol.model import Feature
from service.licenses.auth import new_key
from service.licenses.store import License, LicenseError, LicenseStore
from tests.clock import ManualClock
from tests.conftest import ROOT
from transports.clock import SystemClock
from transports.store import MemoryStore, SqliteStore, StoreDown
from transports.store.port import LICENSES

DAY = 86400.0

ADDER = """
import sys, anyio
from pathlib import Path
from service.licenses.store import License, LicenseStore
from transports.clock import SystemClock
from transports.store import SqliteStore

async def main():
    license_store = LicenseStore(SqliteStore(Path(sys.argv[1]), SystemClock()), SystemClock())
    await (license_store.add(License(id="team"), sys.argv[2]) if sys.argv[2] else license_store.revoke("team", 2.0))

anyio.run(main)
"""


@pytest.fixture
async def license_stores(open_store):
    """The license stores of two processes."""
    return [LicenseStore(await open_store(), SystemClock()) for _ in range(2)]


@pytest.fixture
def license_store(license_stores):
    return license_stores[0]


async def find(license_store, key):
    return await license_store.find(sha256(key.encode()).digest())


async def test_only_a_digest_is_stored(license_store, open_store):
    key = new_key()
    await license_store.add(License(id="team"), key)
    (record,) = await (await open_store()).scan(LICENSES)
    assert record.key == "team"
    assert key.encode() not in record.value


@pytest.mark.parametrize(
    ("identity", "key"), [("", "long-enough"), ("a b", "long-enough"), ("a", "short"), ("a", "ключ-ключ-ключ")]
)
async def test_ids_and_keys_are_fit_for_logs_and_headers(identity, key):
    with pytest.raises(LicenseError):
        await LicenseStore(MemoryStore(ManualClock()), ManualClock()).add(License(id=identity), key)


async def test_ids_and_keys_are_unique_and_only_existing_licenses_are_revoked(license_stores):
    license_store, other = license_stores
    key = new_key()
    await license_store.add(License(id="team"), key)
    for again in (("team", new_key()), ("other", key), ("team", key)):
        with pytest.raises(LicenseError, match="exists already"):
            await other.add(License(id=again[0]), again[1])
    for unknown in ("nobody", "no body", ""):
        with pytest.raises(LicenseError, match="no license"):
            await license_store.revoke(unknown, 1.0)
    assert (await find(license_store, key)).id == "team"


async def test_concurrent_additions_of_one_id_succeed_once(open_store):
    keys, added = [new_key() for _ in range(5)], []

    async def add(key):
        try:
            await LicenseStore(await open_store(), ManualClock()).add(License(id="team"), key)
        except LicenseError:
            return
        added.append(key)

    async with anyio.create_task_group() as tasks:
        for key in keys:
            tasks.start_soon(add, key)
    assert len(added) == 1
    license_store = LicenseStore(await open_store(), ManualClock())
    assert [key for key in keys if await find(license_store, key)] == added


async def test_a_revoked_id_may_be_added_again_and_its_old_key_stays_invalid(license_stores):
    license_store, other = license_stores
    old, new = new_key(), new_key()
    await license_store.add(License(id="bob", created=1.0), old)
    first = await find(other, old)
    assert await other.current("bob", first.serial) == first
    await license_store.revoke("bob", 2.0)
    with pytest.raises(LicenseError, match="revoked already"):
        await license_store.revoke("bob", 2.5)
    assert await find(other, old) is None
    assert await other.current("bob", first.serial) is None
    again = License(id="bob", models=("gemini-3-*",), features=(Feature.CHAT,), created=3.0)
    await license_store.add(again, new)
    assert await find(other, old) is None
    second = await find(other, new)
    assert second == msgspec.structs.replace(again, serial=second.serial)
    assert second.serial != first.serial
    assert await other.current("bob", second.serial) == second
    assert await other.current("bob", first.serial) is None
    assert await other.all() == [second]
    with pytest.raises(LicenseError, match="exists already"):
        await license_store.add(License(id="bob"), new_key())


async def test_features_are_kept(license_store):
    key, every = new_key(), new_key()
    await license_store.add(License(id="team", features=(Feature.CHAT, Feature.IMAGES)), key)
    assert (await find(license_store, key)).features == (Feature.CHAT, Feature.IMAGES)
    await license_store.add(License(id="all"), every)
    assert (await find(license_store, every)).features == tuple(Feature)


async def test_an_unreadable_license_blocks_no_other(license_store, open_store):
    key = new_key()
    await license_store.add(License(id="team"), key)
    await (await open_store()).put(LICENSES, "odd", b"nonsense")
    assert (await find(license_store, key)).id == "team"
    assert [found.id for found in await license_store.all()] == ["team"]
    with pytest.raises(LicenseError):
        await license_store.revoke("odd", 1.0)
    with pytest.raises(LicenseError, match="exists already"):
        await license_store.add(License(id="odd"), new_key())


async def test_additions_and_revocations_of_another_process_apply_at_once(tmp_path):
    path, key = tmp_path / "gateway.sqlite3", new_key()
    store = SqliteStore(path, SystemClock())
    try:
        license_store = LicenseStore(store, SystemClock())
        assert await find(license_store, key) is None
        for argument, expected in ((key, "team"), ("", None)):
            await anyio.run_process(
                [sys.executable, "-c", ADDER, str(path), argument], cwd=ROOT, stderr=subprocess.PIPE
            )
            found = await find(license_store, key)
            assert (found.id if found else None) == expected
    finally:
        store.close()


class Far(MemoryStore):
    """A store that counts its reads, and that a test can change, slow down or take down."""

    def __init__(self, clock):
        super().__init__(clock)
        self.looks, self.down, self.gate = 0, False, None

    async def revisions(self):
        self.looks += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            raise StoreDown("out of order")
        return await super().revisions()


@pytest.fixture
def far(clock):
    return Far(clock)


@pytest.fixture
def distant(far, clock):
    """A license store that checks for changes once a second."""
    return LicenseStore(far, clock, fresh_seconds=1.0)


async def test_with_a_remote_store_a_new_key_is_valid_at_once_and_a_revoked_one_for_a_second(distant, far, clock):
    key, here = new_key(), LicenseStore(far, clock)
    assert await find(distant, key) is None
    await here.add(License(id="team"), key)
    assert (await find(distant, key)).id == "team"
    looks = far.looks
    await here.revoke("team", 1.0)
    assert (await find(distant, key)).id == "team"
    assert far.looks == looks
    clock.advance(1.0)
    assert await find(distant, key) is None


async def test_simultaneous_unknown_keys_cause_at_most_two_checks(distant, far):
    await find(distant, new_key())
    looks, far.gate, found = far.looks, anyio.Event(), []

    async def ask():
        found.append(await find(distant, new_key()))

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        far.gate.set()
    assert found == [None] * 50
    assert far.looks - looks <= 2


async def test_a_known_key_does_not_wait_for_a_check_in_progress(distant, far, clock):
    key = new_key()
    await distant.add(License(id="team"), key)
    await find(distant, key)
    clock.advance(5.0)
    far.gate = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(find, distant, new_key())
        await anyio.wait_all_tasks_blocked()
        assert (await find(distant, key)).id == "team"
        far.gate.set()


async def test_cached_licenses_stay_valid_for_a_day_without_the_store(distant, far, clock):
    key = new_key()
    await distant.add(License(id="team"), key)
    assert (await find(distant, key)).id == "team"
    far.down = True
    clock.advance(DAY - 1.0)
    assert (await find(distant, key)).id == "team"
    with pytest.raises(OSError, match="cannot be looked up"):
        await find(distant, new_key())
    clock.advance(2.0)
    with pytest.raises(OSError, match="cannot be looked up"):
        await find(distant, key)
    far.down = False
    assert (await find(distant, key)).id == "team"


async def test_licenses_that_were_never_read_are_unknown(distant, far):
    far.down = True
    for _ in range(2):
        with pytest.raises(OSError, match="cannot be looked up"):
            await find(distant, new_key())
