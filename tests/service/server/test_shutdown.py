import anyio

from service.server.shutdown import Shutdown


async def test_an_idle_process_ends_at_once():
    drain = Shutdown()
    with anyio.fail_after(5):
        await drain.run(60)
    assert drain.draining
    assert not drain.closing.is_set()


async def test_the_last_request_ends_the_wait():
    drain = Shutdown()
    drain.begin()
    drain.begin()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drain.run, 60)
        await anyio.wait_all_tasks_blocked()
        drain.end()
        await anyio.wait_all_tasks_blocked()
        assert drain.in_flight == 1
        drain.end()
    assert not drain.closing.is_set()


async def test_requests_beyond_the_grace_are_told():
    drain = Shutdown()
    drain.begin()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drain.run, 0.01)
        await drain.closing.wait()
        drain.end()


async def test_hurrying_tells_them_now():
    drain = Shutdown()
    drain.begin()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drain.run, 600)
        await anyio.wait_all_tasks_blocked()
        drain.hurry()
        drain.end()
    assert drain.closing.is_set()


async def test_others_are_asked_for_a_while_before_work_is_refused():
    drain = Shutdown()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drain.leave, 600)
        await anyio.wait_all_tasks_blocked()
        assert (drain.is_leaving(), drain.draining) == (True, False)
        drain.hurry()
    with anyio.fail_after(5):
        await drain.run(600)
    assert drain.draining
