import anyio

from protocol.http.closing import Closing


async def test_who_is_open_is_told_once_and_who_has_ended_is_not():
    closing, told = Closing(), []
    with closing.telling(lambda: told.append("ended")):
        pass
    with closing.telling(lambda: told.append("open")):
        closing.set()
        assert closing.is_set()
    assert told == ["open"]


async def test_who_begins_after_it_is_told_at_once():
    closing, told = Closing(), []
    closing.set()
    with closing.telling(lambda: told.append("late")):
        assert told == ["late"]
    with anyio.fail_after(5):
        await closing.wait()
