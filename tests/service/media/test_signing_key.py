import anyio
import pytest

from protocol.model import Caller, MediaKind, MediaRef
from service.config.schema import MediaSettings, Origin
from service.config.secrets import KEY_BYTES
from service.media.signed_urls import MediaUrls
from service.media.signing_key import media_key, open_url_signer, stored_key
from tests.clock import ManualClock
from transports.store import MemoryStore, StoreDown, Unreadable

ORIGIN = Origin(name="gateway.toml")


async def test_the_store_keeps_one_key_for_all_processes(open_store):
    one, other = await open_store(), await open_store()
    key = await media_key(MediaSettings(), ORIGIN, one)
    assert len(key) == KEY_BYTES
    assert await media_key(MediaSettings(), ORIGIN, other) == key
    assert await stored_key(one, "another") != key
    assert await media_key(MediaSettings(), ORIGIN, MemoryStore(ManualClock())) != key


async def test_processes_that_start_together_share_one_key(open_store):
    keys, stores = [], [await open_store() for _ in range(4)]

    async def start(store):
        keys.append(await stored_key(store, "media"))

    async with anyio.create_task_group() as tasks:
        for store in stores:
            tasks.start_soon(start, store)
    assert len(keys) == 4
    assert len(set(keys)) == 1


async def test_a_file_is_the_same_key_in_every_process(tmp_path):
    file = tmp_path / "key"
    file.write_bytes(b"x" * KEY_BYTES + b"\n")
    stores = [MemoryStore(ManualClock()) for _ in range(2)]
    keys = {await media_key(MediaSettings(key_file=file), ORIGIN, store) for store in stores}
    assert [len(key) for key in keys] == [KEY_BYTES]


async def test_no_key_is_created_while_the_store_is_down():
    class Down(MemoryStore):
        async def get(self, *arguments, **options):
            raise StoreDown("out of order")

    with pytest.raises(OSError, match="out of order"):
        await stored_key(Down(ManualClock()), "media")


class Away(MemoryStore):
    away = True

    async def get(self, *arguments, **options):
        if self.away:
            raise StoreDown("out of reach")
        return await super().get(*arguments, **options)


REF = MediaRef(transport="web", account="one", kind=MediaKind.IMAGE, url="https://lh3.googleusercontent.com/place")


async def test_the_key_is_read_when_the_store_is_back():
    clock, me = ManualClock(), Caller(id="me")
    store = Away(clock)
    async with open_url_signer(MediaSettings(), ORIGIN, store, clock, patient=True) as seal:
        links = MediaUrls(seal, lambda _: "https://gateway.example", None)
        early = links.sign(REF, me)
        for away in (True, False):
            await clock.until_asleep()
            store.away = away
            clock.advance(2.0)
            await anyio.wait_all_tasks_blocked()
        async with open_url_signer(MediaSettings(), ORIGIN, store, clock, patient=False) as theirs:
            assert MediaUrls(theirs, lambda _: "https://gateway.example", None).open(links.sign(REF, me), me) == REF
        assert links.open(early, me) == REF


async def test_a_failed_local_store_is_not_waited_for():
    clock = ManualClock()
    with pytest.raises(StoreDown):
        async with open_url_signer(MediaSettings(), ORIGIN, Away(clock), clock, patient=False):
            pass


async def test_an_unreadable_key_is_an_error_even_if_an_unavailable_store_is_waited_for():
    class Damaged(MemoryStore):
        async def get(self, *arguments, **options):
            raise Unreadable("damaged")

    clock = ManualClock()
    with pytest.raises(Unreadable):
        async with open_url_signer(MediaSettings(), ORIGIN, Damaged(clock), clock, patient=True):
            pass
