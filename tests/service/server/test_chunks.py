from types import SimpleNamespace

import pytest

from protocol.http.errors import HttpError
from service.server.chunks import ChunkLimits

MIB = 1024 * 1024
READER = SimpleNamespace(_bytes_in_chunk=0)


def status_of(payload, overhead, next_chunk=0):
    limits = ChunkLimits(30 * MIB, 0)
    limits.received, limits.payload = payload + overhead, payload
    try:
        limits.check(SimpleNamespace(_bytes_in_chunk=next_chunk))
    except HttpError as error:
        return error.status
    return 200


@pytest.mark.parametrize(
    ("payload", "overhead", "status"),
    [
        (1, 5, 200),
        (20_000, 5 * 20_000, 200),  # one-byte chunks of a short body
        (30_000, 5 * 30_000, 400),
        (20 * MIB, MIB, 200),
        (20 * MIB, 2 * MIB, 400),  # chunks of 60 bytes
        (0, 200_000, 400),  # an extension, or trailers
    ],
)
def test_the_overhead_is_limited_in_relation_to_the_payload(payload, overhead, status):
    assert status_of(payload, overhead) == status


def test_the_size_of_the_next_chunk_is_limited_before_it_arrives():
    assert status_of(MIB, 100, 29 * MIB) == 200
    assert status_of(MIB, 100, 29 * MIB + 1) == 413
