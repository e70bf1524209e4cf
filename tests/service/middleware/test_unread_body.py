import anyio
import anyio.lowlevel
import pytest

from protocol.http.body import discard_body
from service.middleware.unread_body import Incoming

LENGTH = [(b"content-length", b"10")]
LAST = {"type": "http.response.body", "body": b"", "more_body": False}


class Queue:
    """A server's queue of a few messages: putting waits for room."""

    def __init__(self):
        self.put, self.get = anyio.create_memory_object_stream(2)

    async def receive(self):
        return await self.get.receive()

    async def body(self, *pieces, more=True):
        for piece in pieces:
            await self.put.send({"type": "http.request", "body": piece, "more_body": more})


@pytest.fixture
def queue():
    made = Queue()
    yield made
    made.put.close()
    made.get.close()


@pytest.mark.parametrize(
    ("headers", "ended"),
    [([], True), ([(b"content-length", b"0")], True), (LENGTH, False), ([(b"transfer-encoding", b"chunked")], False)],
)
def test_a_request_without_a_body_has_ended(headers, ended):
    assert Incoming({"headers": headers}, None).ended is ended


async def test_a_body_has_ended_with_its_last_piece_or_the_connection(queue):
    incoming = Incoming({"headers": LENGTH}, queue.receive)
    await queue.body(b"a")
    assert (await incoming.receive())["body"] == b"a"
    assert not incoming.ended
    await queue.body(b"b", more=False)
    await incoming.receive()
    assert incoming.ended
    incoming = Incoming({"headers": LENGTH}, queue.receive)
    await queue.put.send({"type": "http.disconnect"})
    await incoming.receive()
    assert incoming.ended


async def test_a_connection_whose_queue_is_full_can_be_closed(queue):
    incoming = Incoming({"headers": LENGTH}, queue.receive)
    sent = []

    async def send(message):
        await queue.put.send({"type": "http.disconnect"})
        sent.append(message)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.body, *[b"x"] * 20)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        with anyio.fail_after(60):
            await incoming.end(send, LAST)
        tasks.cancel_scope.cancel()  # the server reads no more of a connection that it has closed
    assert sent == [LAST]


async def test_a_connection_that_is_gone_is_told_as_such(queue):
    async def send(_):
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await Incoming({"headers": LENGTH}, queue.receive).end(send, LAST)


async def test_a_body_that_has_ended_is_not_waited_for_to_discard_it(queue):
    scope = {"headers": LENGTH}
    incoming = Incoming(scope, queue.receive)
    await queue.body(b"all", more=False)
    await incoming.receive()
    await discard_body(scope, None)  # nothing is received
