"""Bounds what a body in chunks may cost (RFC 9112 section 7.1: a recipient limits sizes, extensions and trailers)."""

from typing import Any

from protocol.http.errors import HttpError

_FREE_BYTES = 128 * 1024
_SHARE = 16


class ChunkLimits:
    """Counts the bytes of one body in chunks.

    Everything but the payload is overhead: sizes, extensions, line ends, trailers. It may take 128 KiB, and one byte
    for each 16 bytes of payload, so chunks have at least 80 bytes on average in a long body. Parsing a chunk takes
    as long as copying 30 KiB.
    """

    def __init__(self, most: int, received: int) -> None:
        """Allow a payload of up to `most` bytes; `received` bytes of the body came with the head."""
        self._most = most
        self.received = received
        """Bytes received behind the head."""
        self.payload = 0
        """Bytes of the payload among them."""

    def check(self, reader: Any) -> None:
        """Check the body when h11's `reader` has taken all that was received.

        h11 allows sizes up to 16**20 and waits for the payload; the size is only in this private attribute of its
        `ChunkedReader` (h11/_readers.py).

        Raises:
            HttpError: the next chunk is too long (413), or there is too much overhead (400).

        """
        if self.payload + getattr(reader, "_bytes_in_chunk", 0) > self._most:
            message = f"The request's body is longer than {self._most} bytes."
            raise HttpError(413, "request_too_large", message)
        if self.received - self.payload > _FREE_BYTES + self.payload // _SHARE:
            raise HttpError(400, "invalid_request", "The request's body has too many small chunks. Send longer ones.")
