"""Commands and answers of the Redis protocol, which may arrive in parts."""

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute
from redis.exceptions import InvalidResponse, NoScriptError, ResponseError

from transports.store import redis_connection as module
from transports.store.redis_connection import RedisConnection

ANSWERS = [
    (b"+OK\r\n", b"OK"),
    (b":-7\r\n", -7),
    (b"$-1\r\n", None),
    (b"$0\r\n\r\n", b""),
    (b"$4\r\n\r\n$1\r\n", b"\r\n$1"),
    (b"*0\r\n", []),
    (b"*-1\r\n", None),
    (b"*3\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n+b\r\n", [b"a", [1, None], b"b"]),
    (b"$200000\r\n" + b"x" * 200000 + b"\r\n", b"x" * 200000),
]


class Peer:
    """A server that says what a test wants."""

    def __init__(self, line, stream):
        self.line, self._stream = line, stream

    async def ask(self, *parts):
        """Return the answer to a command that comes in these parts."""
        answer = self.line.send("PING")
        assert await self._stream.receive() == b"*1\r\n$4\r\nPING\r\n"
        await self.say(*parts)
        return await answer

    async def hear(self):
        return await self._stream.receive()

    async def say(self, *parts):
        for part in parts:
            await self._stream.send(part)
            await anyio.wait_all_tasks_blocked()

    async def close(self):
        await self._stream.aclose()


@pytest.fixture
async def peer():
    send, receive = anyio.create_memory_object_stream(1)

    async def greet(stream):
        async with stream:
            await stream.receive()
            await stream.send(b"+OK\r\n+OK\r\n")  # redis-py tells its name and its version
            await send.send(stream)
            await ended.wait()

    ended = anyio.Event()
    async with send, receive, await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, greet)
            port = listener.extra(SocketAttribute.local_port)
            line = RedisConnection(host="127.0.0.1", port=port, protocol=2, socket_timeout=None)
            await line.open()
            yield Peer(line, await receive.receive())
            line.abort()
            ended.set()
            group.cancel_scope.cancel()


async def test_a_command_is_sent_as_an_array_of_its_arguments(peer):
    peer.line.send("SET", b"\0\xff", 12, 0.5, "ü").cancel()
    assert await peer.hear() == b"*5\r\n$3\r\nSET\r\n$2\r\n\0\xff\r\n$2\r\n12\r\n$3\r\n0.5\r\n$2\r\n\xc3\xbc\r\n"


async def test_a_command_that_cannot_be_encoded_leaves_no_pending_call(peer):
    with pytest.raises(UnicodeEncodeError):
        peer.line.send("SET", "\ud800")
    assert await peer.ask(b":1\r\n") == 1


@pytest.mark.parametrize(("said", "meant"), ANSWERS)
async def test_an_answer_may_arrive_in_parts(peer, said, meant):
    assert await peer.ask(said) == meant
    middle = len(said) // 2
    assert await peer.ask(said[:1], said[1:middle], said[middle:-1], said[-1:]) == meant
    assert peer.line.is_open


@pytest.mark.parametrize(("said", "kind"), [(b"-NOSCRIPT none\r\n", NoScriptError), (b"-OOM full\r\n", ResponseError)])
async def test_an_error_answer_leaves_the_connection_open(peer, said, kind):
    with pytest.raises(kind):
        await peer.ask(said)
    assert await peer.ask(b":1\r\n") == 1


@pytest.mark.parametrize("said", [b"HTTP/1.1 400\r\n", b"$x\r\n", b":\r\n", b"$-2\r\n", b"*99999999999\r\n"])
async def test_invalid_data_closes_the_connection(peer, said):
    with pytest.raises(InvalidResponse):
        await peer.ask(said)
    assert not peer.line.is_open


@pytest.mark.parametrize("said", [b"+", b"$99999999999\r\n", b"*1\r\n$200000\r\n"])
async def test_a_too_long_answer_closes_the_connection(peer, monkeypatch, said):
    monkeypatch.setattr(module, "_LONGEST_ANSWER", 100_000)
    assert await peer.ask(b"$99000\r\n" + b"x" * 99_000 + b"\r\n") == b"x" * 99_000
    with pytest.raises(InvalidResponse):
        await peer.ask(said, b"x" * 60_000, b"x" * 60_000)
    assert not peer.line.is_open


async def test_a_long_list_may_arrive_in_parts(peer):
    record = b"$100\r\n" + b"x" * 100 + b"\r\n"
    said = b"*2000\r\n" + record * 2000
    parts = [said[begin : begin + 4096] for begin in range(0, len(said), 4096)]
    assert await peer.ask(*parts) == [b"x" * 100] * 2000


async def test_a_second_answer_closes_the_connection(peer):
    assert await peer.ask(b":1\r\n:2\r\n") == 1
    assert not peer.line.is_open


async def test_unsolicited_data_closes_the_connection(peer):
    assert await peer.ask(b":1\r\n") == 1
    await peer.say(b":2\r\n")
    while peer.line.is_open:
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_several_commands_get_their_answers_in_order(peer, size):
    answers = peer.line.send_all([("GET", "a"), ("GET", "b"), ("GET", "c")])
    command = b"*2\r\n$3\r\nGET\r\n$1\r\n%b\r\n"
    assert await peer.hear() == command % b"a" + command % b"b" + command % b"c"
    said = b"*2\r\n:1\r\n$1\r\nx\r\n-OOM full\r\n$-1\r\n"
    await peer.say(*(said[begin : begin + size] for begin in range(0, len(said), size)))
    first, error, last = await answers
    assert (first, str(error), last) == ([1, b"x"], "OOM full", None)
    assert await peer.ask(b":1\r\n") == 1


async def test_one_answer_too_many_closes_the_connection(peer):
    answers = peer.line.send_all([("GET", "a"), ("GET", "b")])
    await peer.say(b":1\r\n:2\r\n:3\r\n")
    assert await answers == [1, 2]
    assert not peer.line.is_open


async def test_several_commands_fail_with_their_connection(peer):
    answers = peer.line.send_all([("GET", "a"), ("GET", "b")])
    await peer.say(b":1\r\n")
    await peer.close()
    with pytest.raises((EOFError, ConnectionResetError)):
        await answers


async def test_a_pending_call_fails_with_its_connection(peer):
    answer = peer.line.send("PING")
    await peer.close()
    with pytest.raises((EOFError, ConnectionResetError)):
        await answer
    with pytest.raises(ConnectionResetError):
        await peer.line.send("PING")


async def test_a_call_after_an_abort_fails_with_its_error(peer):
    peer.line.abort(TimeoutError())
    with pytest.raises(TimeoutError):
        await peer.line.send("PING")
    with pytest.raises(TimeoutError):
        await peer.line.send_all([("PING",)])


async def test_a_pending_call_fails_with_the_error_of_the_abort(peer):
    answer = peer.line.send("PING")
    peer.line.abort(TimeoutError())
    with pytest.raises(TimeoutError):
        await answer
