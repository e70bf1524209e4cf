import socket

import anyio
import anyio.lowlevel
import pytest

from service.server import half_closed
from service.server.half_closed import HalfClosedWatch

CONTINUE, COMMENT = b"HTTP/1.1 100 Continue\r\n\r\n", b":\n\n"


class Writer:
    """The server's side of a connection; a client that is gone answers bytes with a reset."""

    def __init__(self, *, client_reads):
        self.written, self._reads, self._error = [], client_reads, 0

    def get_extra_info(self, _name):
        return self

    def is_closing(self):
        return False

    def getsockopt(self, level, option):
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR)
        return self._error

    def write(self, data):
        self.written.append(data)
        if data and not self._reads:
            self._error = 104


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(half_closed, "_FIRST_SECONDS", 0.0)
    monkeypatch.setattr(half_closed, "_RESET_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(half_closed, "_NEXT_SECONDS", 0.0)


async def watched(writer, probes):
    """Watch a client; return whether it was found to be gone before all probes were used."""
    left, used, rest = anyio.Event(), anyio.Event(), list(probes)

    def probe():
        if len(rest) == 1:
            used.set()
            return rest[0]
        return rest.pop(0)

    watch = HalfClosedWatch(writer, probe, left.set)
    watch.begin()
    with anyio.fail_after(60):
        while not left.is_set() and not used.is_set():
            await anyio.lowlevel.checkpoint()
    watch.stop()
    return left.is_set()


@pytest.mark.parametrize("probe", [CONTINUE, COMMENT])
async def test_a_client_that_answers_a_probe_with_a_reset_is_gone(probe):
    writer = Writer(client_reads=False)
    assert await watched(writer, [probe] * 5)
    assert writer.written == [probe]


@pytest.mark.parametrize("probe", [CONTINUE, COMMENT])
async def test_a_client_that_still_reads_is_probed_again(probe):
    writer = Writer(client_reads=True)
    assert not await watched(writer, [probe] * 5)
    assert set(writer.written) == {probe}


async def test_a_client_is_gone_when_a_response_without_probes_is_silent():
    assert await watched(Writer(client_reads=True), [b"", b"", None, b""])


async def test_a_response_that_goes_on_is_its_own_probe():
    assert not await watched(Writer(client_reads=True), [b""] * 5)
