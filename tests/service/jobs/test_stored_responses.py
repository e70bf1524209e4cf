"""One contract for responses in every kind of store."""

import pytest

from protocol.model import Saturated
from service.config.schema import ResponseSettings
from service.jobs.stored_responses import StoredResponses
from transports.store import MemoryStore, StoreDown
from transports.store.port import RESPONSE_INDEX, RESPONSES


async def test_a_response_belongs_to_its_license_and_expires(open_store):
    responses = StoredResponses(await open_store(), ResponseSettings(retention_seconds=open_store.short))
    await responses.put("me", "resp_1", b"first")
    await responses.put("me", "resp_1", b"second")
    await responses.put("me", "resp_2", b"other")
    assert await responses.get("me", "resp_1") == b"second"
    assert await responses.get("you", "resp_1") is None
    assert not await responses.remove("you", "resp_1")
    assert await responses.remove("me", "resp_1")
    assert await responses.get("me", "resp_1") is None
    await open_store.elapse(2 * open_store.short)
    assert await responses.get("me", "resp_2") is None


async def test_the_oldest_responses_of_a_license_make_room(open_store):
    store = await open_store()
    responses = StoredResponses(store, ResponseSettings(bytes_per_license=100))
    await responses.put("you", "resp_00", b"x" * 90)
    for number in range(10):
        await responses.put("me", f"resp_{number:02}", b"x" * 30)
    found = [await responses.get("me", f"resp_{number:02}") for number in range(10)]
    assert [value is not None for value in found] == [False] * 7 + [True] * 3
    assert await responses.get("you", "resp_00") is not None
    await responses.remove("me", "resp_09")
    assert await store.keys(RESPONSE_INDEX) == ["me/resp_07/30", "me/resp_08/30", "you/resp_00/90"]


@pytest.mark.parametrize("identity", ["", "é", "a/b", "../resp_1", "x" * 129])
async def test_an_id_of_another_form_is_unknown(clock, identity):
    responses = StoredResponses(MemoryStore(clock), ResponseSettings())
    assert await responses.get("me", identity) is None
    assert not await responses.remove("me", identity)


async def test_a_store_that_fails_is_an_error_for_the_client(clock):
    class Down(MemoryStore):
        async def _get(self, collection, key):
            raise StoreDown

    with pytest.raises(Saturated):
        await StoredResponses(Down(clock), ResponseSettings()).get("me", "resp_1")


def test_responses_are_encrypted():
    assert RESPONSES.encrypted
