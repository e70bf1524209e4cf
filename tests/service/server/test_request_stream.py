import anyio

from service.server.request_stream import MessageQueue


async def test_queued_messages_keep_their_order_and_apply_backpressure():
    messages, got = MessageQueue(2), []

    async def put():
        for number in range(6):
            await messages.put(number)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(put)
        await anyio.wait_all_tasks_blocked()
        assert messages._messages == [0, 1]
        for _ in range(6):
            got.append(await messages.get())
    assert got == list(range(6))


async def test_a_cancelled_get_takes_no_message():
    messages = MessageQueue(2)
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(messages.get)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert messages._waiting == []
    await messages.put("first")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(messages.get)
        await anyio.wait_all_tasks_blocked()
        assert messages._messages == []


async def test_a_closed_queue_drops_messages_and_reports_a_disconnect():
    messages = MessageQueue(1)
    await messages.put("first")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(messages.put, "second")
        await anyio.wait_all_tasks_blocked()
        messages.close()
    for _ in range(3):
        await messages.put("dropped")
    assert await messages.get() == {"type": "http.disconnect"}
