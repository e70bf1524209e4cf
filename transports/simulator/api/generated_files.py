"""Files that the simulated API has made: a client fetches them with the key in the header.

Source: "Files, caching, embeddings, speech", "Video".
"""

import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator

import msgspec
from starlette.responses import Response, StreamingResponse

from transports.simulator.api.rpc_errors import ApiRefusal

_MOST_FILES = 1000
_PIECE_BYTES = 256 * 1024


class GeneratedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of one key's project; zeros follow the content up to its size."""

    key: str
    mime: str
    content: bytes
    size: int


class GeneratedFiles:
    """The files."""

    def __init__(self) -> None:
        """Start empty."""
        self._files: OrderedDict[str, GeneratedFile] = OrderedDict()

    def add(self, file: GeneratedFile) -> str:
        """Keep a file and return its name."""
        name = secrets.token_hex(6)
        self._files[name] = file
        while len(self._files) > _MOST_FILES:
            self._files.popitem(last=False)
        return name

    def has(self, name: str, key: str) -> bool:
        """Return whether a key's project has a file."""
        file = self._files.get(name)
        return file is not None and file.key == key

    def download(self, name: str, key: str) -> Response:
        """Answer the request for a file's content.

        Raises:
            ApiRefusal: the key's project has no such file.

        """
        if not self.has(name, key):
            message = f"You do not have permission to access the File {name} or it may not exist."
            raise ApiRefusal(403, message)
        file = self._files[name]
        return StreamingResponse(_pieces(file), headers={"content-length": str(file.size)}, media_type=file.mime)


async def _pieces(file: GeneratedFile) -> AsyncIterator[bytes]:
    yield file.content
    left = file.size - len(file.content)
    while left > 0:
        yield bytes(min(left, _PIECE_BYTES))
        left -= _PIECE_BYTES
