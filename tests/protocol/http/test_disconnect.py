import anyio

from protocol.http.disconnect import CallbackEvent, DisconnectWatcher, EndingWatcher


async def test_completed_work_is_not_reported_as_disconnected_or_closed(connect):
    connection = connect()
    done = False
    with DisconnectWatcher(connection.scope, connection.context.endings) as watcher:
        done = True
    assert done
    assert (watcher.gone, watcher.ended) == (False, None)


async def test_a_disconnect_cancels_the_work(connect):
    connection = connect()
    with DisconnectWatcher(connection.scope, connection.context.endings) as watcher:
        connection.leave()
        await anyio.sleep_forever()
    assert (watcher.gone, watcher.ended) == (True, None)


async def test_a_disconnect_before_the_work_cancels_it(connect):
    connection = connect()
    connection.leave()
    with DisconnectWatcher(connection.scope, connection.context.endings) as watcher:
        await anyio.sleep_forever()
    assert watcher.gone


async def test_shutdown_cancels_the_work(connect):
    connection = connect()
    with DisconnectWatcher(connection.scope, connection.context.endings) as watcher:
        connection.closing.set()
        await anyio.sleep_forever()
    assert not watcher.gone
    assert watcher.ended.code == "shutting_down"


async def test_the_end_of_its_license_cancels_the_work(connect):
    connection = connect()
    connection.context.license_end = ending = CallbackEvent()
    with DisconnectWatcher(connection.scope, connection.context.endings) as watcher:
        ending.set()
        await anyio.sleep_forever()
    assert watcher.ended.code == "license_revoked"
    with EndingWatcher(connection.context.endings) as watcher:
        await anyio.sleep_forever()
    assert watcher.ended.code == "license_revoked"


async def test_a_disconnect_after_the_end_is_ignored(connect):
    connection = connect()
    with DisconnectWatcher(connection.scope, connection.context.endings) as watcher:
        watcher.finished = True
        connection.leave()
        connection.closing.set()
        await anyio.wait_all_tasks_blocked()
    assert (watcher.gone, watcher.ended) == (False, None)


async def test_a_shutdown_event_calls_its_callbacks_until_they_are_removed():
    closing, called = CallbackEvent(), []

    def removed():
        called.append("removed")

    closing.add_callback(removed)
    closing.remove_callback(removed)
    closing.add_callback(lambda: called.append("kept"))
    closing.set()
    assert closing.is_set()
    assert called == ["kept"]


async def test_a_callback_that_is_added_after_shutdown_is_called_at_once():
    closing, called = CallbackEvent(), []
    closing.set()
    closing.add_callback(lambda: called.append("late"))
    assert called == ["late"]
    with anyio.fail_after(5):
        await closing.wait()
