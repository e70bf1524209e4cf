import anyio
import pytest

from protocol.model import Saturated
from service.admin.feed import Feed
from transports.observer import AccountChange


def change(number):
    return AccountChange(at=float(number), account=f"a{number}", transport="t", event="needs_attention")


async def names(follower):
    entries = await follower.next(0.0)
    return None if entries is None else [one.change.account for one in entries]


async def test_a_follower_receives_new_events_and_resumes_where_it_was():
    feed = Feed()
    feed.publish(change(1))
    with feed.follow() as follower:
        first = follower.at
        assert await names(follower) == []
        feed.publish(change(2))
        feed.publish(change(3))
        assert await names(follower) == ["a2", "a3"]
        last = follower.at
    feed.publish(change(4))
    for where, expected in ((first, ["a2", "a3", "a4"]), (last, ["a4"])):
        with feed.follow(where) as follower:
            assert (follower.lost, await names(follower)) == (False, expected)


async def test_a_follower_of_dropped_or_unknown_events_starts_again():
    feed = Feed(kept=2)
    with feed.follow() as follower:
        old = follower.at
    for number in range(3):
        feed.publish(change(number))
    epoch = old.rpartition("-")[0]
    for last in (old, "other-1", f"{epoch}-99", f"{epoch}-x", f"{epoch}--1", "x", f"{epoch}-{'9' * 30}"):
        with feed.follow(last) as follower:
            assert (follower.lost, await names(follower)) == (True, [])


async def test_a_follower_that_reads_too_slowly_is_disconnected():
    feed = Feed(kept=2)
    with feed.follow() as follower:
        for number in range(3):
            feed.publish(change(number))
        assert await names(follower) is None


async def test_the_number_of_followers_is_limited():
    feed = Feed(followers=1)
    with feed.follow():
        with pytest.raises(Saturated):
            with feed.follow():
                pass
    with feed.follow():
        pass


async def test_a_waiting_follower_receives_an_event_at_once():
    feed = Feed()
    with feed.follow() as follower:
        async with anyio.create_task_group() as tasks:

            async def later():
                await anyio.wait_all_tasks_blocked()
                feed.publish(change(1))

            tasks.start_soon(later)
            assert [one.change.account for one in await follower.next(60.0)] == ["a1"]
