import anyio

from protocol.http.disconnect import DisconnectWatcher


async def test_work_that_ends_is_neither_left_nor_closed(connect):
    connection = connect()
    attended = DisconnectWatcher(connection.scope)
    done = []

    async def work():
        done.append(True)

    await attended.run(work)
    assert done
    assert (attended.gone, attended.closed) == (False, False)


async def test_a_client_that_leaves_cancels_the_work(connect):
    connection = connect()
    attended = DisconnectWatcher(connection.scope)

    async def work():
        connection.leave()
        await anyio.sleep_forever()

    await attended.run(work)
    assert (attended.gone, attended.closed) == (True, False)


async def test_the_processs_end_cancels_the_work(connect):
    connection = connect()
    attended = DisconnectWatcher(connection.scope)

    async def work():
        connection.closing.set()
        await anyio.sleep_forever()

    await attended.run(work)
    assert (attended.gone, attended.closed) == (False, True)


async def test_a_disconnect_after_the_end_is_no_leaving(connect):
    connection = connect()
    attended = DisconnectWatcher(connection.scope)

    async def work():
        attended.finished = True
        connection.leave()
        connection.closing.set()
        await anyio.wait_all_tasks_blocked()

    await attended.run(work)
    assert (attended.gone, attended.closed) == (False, False)
