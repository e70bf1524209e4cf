"""Contexts for tests of what a dialect reads and writes: links that can be read, URLs that lead where the test says."""

import msgspec
import pytest

from protocol.http.context import RequestContext, RequestLimits, RequestRecord
from protocol.model import BadRequest, Caller

BASE = "https://gateway.example/gemini_official/media/"


class PlainLinks:
    """Links whose token is the upstream's URL in hexadecimal; only what was sealed opens."""

    def __init__(self):
        self._sealed = {}

    def sign(self, ref, caller, look=None):
        url = BASE + ref.url.encode("utf-8", "surrogatepass").hex()
        self._sealed[url, caller.id] = ref
        return url

    def open(self, url, caller):
        return self._sealed.get((url, caller.id))

    def ours(self, url):
        return url.startswith(BASE)


class Web:
    """What URLs lead to."""

    def __init__(self):
        self.pages, self.asked = {}, []

    async def __call__(self, url, collect, *, most):
        self.asked.append(url)
        if url not in self.pages:
            raise BadRequest("It cannot be fetched.", code="image_url_unreachable")
        return await collect(pieces_of(self.pages[url]))


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
    }
    return RequestContext(**{**needed, **filled, "caller": Caller(id="me"), **given})


@pytest.fixture
def context():
    return make_context()
