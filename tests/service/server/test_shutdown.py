import anyio

from service.server.shutdown import Shutdown


async def test_an_idle_process_ends_at_once():
    drain = Shutdown()
    with anyio.fail_after(60):
        await drain.run(60)
    assert drain.draining
    assert not drain.closing.is_set()


async def test_the_last_request_ends_the_wait():
    drain = Shutdown()
    drain.count_in()
    drain.count_in()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drain.run, 60)
        await anyio.wait_all_tasks_blocked()
        drain.count_out()
        await anyio.wait_all_tasks_blocked()
        assert drain.in_flight == 1
        drain.count_out()
    assert not drain.closing.is_set()


async def test_requests_are_closed_after_the_grace_period():
    drain = Shutdown()
    drain.count_in()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drain.run, 0.01)
        await drain.closing.wait()
        drain.count_out()


async def test_close_now_ends_the_grace_period():
    drain = Shutdown()
    drain.count_in()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drain.run, 600)
        await anyio.wait_all_tasks_blocked()
        drain.close_now()
        drain.count_out()
    assert drain.closing.is_set()


async def test_shutdown_is_announced_before_requests_are_refused():
    drain = Shutdown()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drain.announce, 600)
        await anyio.wait_all_tasks_blocked()
        assert (drain.is_leaving(), drain.draining) == (True, False)
        drain.close_now()
    with anyio.fail_after(60):
        await drain.run(600)
    assert drain.draining
