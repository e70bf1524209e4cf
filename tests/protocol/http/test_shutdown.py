import anyio

from protocol.http.shutdown import ShutdownEvent


async def test_callbacks_are_called_once_until_they_are_forgotten():
    closing, told = ShutdownEvent(), []

    def forgotten():
        told.append("forgotten")

    closing.add_callback(forgotten)
    closing.remove_callback(forgotten)
    closing.add_callback(lambda: told.append("open"))
    closing.set()
    assert closing.is_set()
    assert told == ["open"]


async def test_a_callback_that_comes_late_is_called_at_once():
    closing, told = ShutdownEvent(), []
    closing.set()
    closing.add_callback(lambda: told.append("late"))
    assert told == ["late"]
    with anyio.fail_after(60):
        await closing.wait()
