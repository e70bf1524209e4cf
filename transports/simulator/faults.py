"""Faults of whole endpoints, which prompts cannot cause. They are ordered at `POST /simulator/faults`."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response

from transports.simulator.prompt_directives import Location, Retry

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_WAITING = 100

SIGN_IN = "https://accounts.google.com/ServiceLogin"


class SiteFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An answer that an endpoint gives in place of its own, `times` times."""

    where: Literal[
        "app", "rotate", "batch", "generate", "upload", "resumable", "media",
        "build", "token",
        "otAQ7b", "jSf9Qc", "ESY5D", "qpEbW", "MaZiqc", "hNvQHb", "GzXR5e", "CNgdBe", "c8o8Fe",
    ]  # fmt: skip
    """A batch call can be named as such. `build` moves the site to its next build, `token` ends all access tokens."""
    status: Annotated[int, msgspec.Meta(ge=300, le=599)] | None = None
    location: Location = SIGN_IN
    """Where a redirect leads."""
    retry_after: Retry = ""
    html: bool = False
    """Whether to answer a page without a session, with status 200."""
    times: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1


_decode: Callable[[bytes], list[SiteFault] | SiteFault] = msgspec.json.Decoder(list[SiteFault] | SiteFault).decode


class Faults:
    """The faults that have been ordered and not yet used."""

    def __init__(self, changes: Mapping[str, Callable[[], None]]) -> None:
        """Start with none; `changes` maps the faults that take effect at once to what they do."""
        self._waiting: deque[SiteFault] = deque()
        self._changes = changes

    def take(self, *places: str) -> Response | None:
        """Return the ordered answer of one of these endpoints, if there is one, and use it up."""
        for number, fault in enumerate(self._waiting):
            if fault.where in places:
                if fault.times > 1:
                    self._waiting[number] = msgspec.structs.replace(fault, times=fault.times - 1)
                else:
                    del self._waiting[number]
                return answer_of(fault)
        return None

    async def order(self, request: Request) -> Response:
        """Answer `POST /simulator/faults` (one fault as JSON, or a list) and `DELETE`, which removes all."""
        if request.method == "DELETE":
            self._waiting.clear()
            return JSONResponse({"waiting": 0})
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return PlainTextResponse("Content-Type: application/json is wanted\n", 415)
        try:
            ordered = _decode(await request.body())
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return PlainTextResponse(f"{error}\n", 400)
        faults = [ordered] if isinstance(ordered, SiteFault) else ordered
        if len(self._waiting) + len(faults) > _MOST_WAITING:
            return PlainTextResponse(f"more than {_MOST_WAITING} faults\n", 400)
        if any(fault.status is None and not fault.html and fault.where not in self._changes for fault in faults):
            return PlainTextResponse("a fault has a status, or html\n", 400)
        for fault in faults:
            self._changes.get(fault.where, lambda: None)()
        self._waiting.extend(fault for fault in faults if fault.where not in self._changes)
        return JSONResponse({"waiting": len(self._waiting)})


def answer_of(fault: SiteFault) -> Response:
    """Return a fault as an HTTP answer."""
    if fault.html or fault.status is None:
        return HTMLResponse("<!doctype html><title>Before you continue - simulated</title><form></form>")
    if fault.status in _REDIRECTS:
        return RedirectResponse(fault.location, fault.status)
    headers = {"retry-after": fault.retry_after} if fault.retry_after else {}
    return PlainTextResponse("", fault.status, headers)
