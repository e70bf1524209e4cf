"""The bytes of a streamed answer, whose timeout only frames reset."""

import asyncio

import aiohttp
import anyio
import pytest
from aiohttp.base_protocol import BaseProtocol

from transports.timed_bytes import TimedBytes

pytestmark = pytest.mark.anyio

LONG, SHORT = 60.0, 0.05
MOST_READS = 1000


def bytes_of(first, between):
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(asyncio.Transport())
    content = aiohttp.StreamReader(protocol, 2**16, loop=loop)
    return content, TimedBytes(content, loop.time() + first, between)


def feed(content):
    """Feed bytes in each pass of the event loop, before all else that runs in it, until the end."""
    if not content.is_eof():
        content.feed_data(b": comment\n\n")
        asyncio.get_running_loop().call_soon(feed, content)


async def read(timed, frames=lambda number: 0):
    for number in range(MOST_READS):
        await timed.next()
        timed.note(frames(number))
    return MOST_READS


async def test_bytes_without_frames_do_not_hold_up_the_timeout():
    content, timed = bytes_of(SHORT, LONG)
    content.feed_data(b": comment\n\n")
    with pytest.raises(TimeoutError):
        await read(timed)
    timed.close()


async def test_each_frame_allows_more_time_until_one_is_late():
    content, timed = bytes_of(LONG, SHORT)
    content.feed_data(b"data: {}\n\n")
    with pytest.raises(TimeoutError):
        await read(timed, lambda number: number + 1)
    timed.close()


async def test_a_reader_that_has_its_bytes_is_not_timed_out():
    content, timed = bytes_of(LONG, SHORT)
    content.feed_data(b"data: {}\n\n")
    await timed.next()
    timed.note(1)
    await asyncio.sleep(3 * SHORT)  # what is done with the frame takes long
    content.feed_data(b"data: {}\n\n")
    assert await timed.next()
    timed.close()


@pytest.mark.parametrize("frames", [lambda number: 0, lambda number: number + 1])
async def test_a_stream_whose_bytes_are_always_there_can_be_cancelled(frames):
    content, timed = bytes_of(LONG, LONG)
    feed(content)
    done = 0
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_soon(scope.cancel)
        done = await read(timed, frames)
    content.feed_eof()
    timed.close()
    assert scope.cancelled_caught
    assert not done
