"""A connection between two processes that a test can cut."""

import anyio

from tests.servers import free_port

_BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError)


class Wire:
    """Carries connections from its port to another one."""

    def __init__(self, name):
        self.name, self.port, self.target = name, free_port(), 0
        self._is_cut, self._open = False, set()

    async def run(self):
        async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=self.port) as listener:
            await listener.serve(self._carry)

    def cut(self):
        """Break all connections, and every new one."""
        self._is_cut = True
        for scope in list(self._open):
            scope.cancel()

    def mend(self):
        self._is_cut = False

    async def _carry(self, near):
        async with near:
            if self._is_cut:
                return
            try:
                far = await anyio.connect_tcp("127.0.0.1", self.target)
            except OSError:
                return
            async with far, anyio.create_task_group() as tasks:
                self._open.add(tasks.cancel_scope)
                try:
                    tasks.start_soon(_pour, far, near, tasks.cancel_scope)
                    await _pour(near, far, tasks.cancel_scope)
                finally:
                    self._open.discard(tasks.cancel_scope)


async def _pour(source, sink, scope):
    try:
        while True:
            await sink.send(await source.receive())
    except _BROKEN:
        scope.cancel()
