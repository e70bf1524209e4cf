"""Contexts for tests of dialects: links that can be read, and URLs that serve the content a test gives."""

import msgspec
import pytest

from protocol.http.context import RequestContext, RequestLimits, RequestRecord
from protocol.model import BadRequest, Caller

BASE = "https://gateway.example/gemini_official/media/"


class PlainLinks:
    """Links whose token is the upstream's URL in hexadecimal; only links that were signed can be opened."""

    def __init__(self):
        self._signed = {}

    def sign(self, ref, caller, look=None):
        url = BASE + ref.url.encode("utf-8", "surrogatepass").hex()
        self._signed[url, caller.id] = ref
        return url

    def open(self, url, caller):
        return self._signed.get((url, caller.id))

    def ours(self, url):
        return url.startswith(BASE)


class Web:
    """Serves the content of URLs."""

    def __init__(self):
        self.pages, self.asked = {}, []

    async def __call__(self, url, collect, *, most, license_id):
        self.asked.append(url)
        if url not in self.pages:
            raise BadRequest("It cannot be fetched.", code="image_url_unreachable")
        return await collect(pieces_of(self.pages[url]))


class NoFiles:
    """A store in which no client has files."""

    async def find(self, owner, file_id):
        return None


async def pieces_of(data):
    """Yield data in two pieces."""
    yield data[: len(data) // 2]
    yield data[len(data) // 2 :]


def make_context(**given):
    needed = {field.name: None for field in msgspec.structs.fields(RequestContext) if field.required}
    filled = {
        "id": "req_1",
        "record": RequestRecord(),
        "limits": RequestLimits(),
        "links": PlainLinks(),
        "fetch": Web(),
        "files": NoFiles(),
    }
    return RequestContext(**{**needed, **filled, "caller": Caller(id="me"), **given})


@pytest.fixture
def context():
    return make_context()
