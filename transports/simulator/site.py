"""The simulated site: an ASGI app that answers as the wire protocol page says. The profile decides what it refuses.

All of the site's hosts live on one port, by path: the site's own (`/app`, `/_/BardChatUi/…`), the accounts'
(`/RotateCookies`), the upload host's (`/upload`, `/upload/`) and the media hosts' (`/gg/…`, `/download`).
`GET /simulator/state` shows what was seen; `POST /simulator/faults` orders faults that no prompt can cause.
"""

import json
import re
import secrets
from collections import Counter

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from transports.clock import Clock
from transports.simulator import batch, encode, request_checks, uploads
from transports.simulator.accounts import SimulatedAccounts, SimulatedSession
from transports.simulator.api.routes import SimulatedApi
from transports.simulator.api.vertex_routes import SimulatedVertex
from transports.simulator.breakable_stream import BreakableStream
from transports.simulator.config import PAGE_TOKENS, SimulatorConfig
from transports.simulator.faults import Faults
from transports.simulator.generation import TurnHandler
from transports.simulator.media import FOLDERS, SimulatedMedia, origin_of, picture_url
from transports.simulator.profiles import Rules, StrictRules, UploadStep
from transports.simulator.uploads import Resumable
from transports.web import wire

_BUILD = "boq_assistant-bard-web-server_20261101.04_p{}"
_SID = "-3141592653589793238"
_LANGUAGE = "en"
_PUSH_ID = "feeds/mcudyrk2a4khkz"
_HOST_ONLY = "COMPASS"
_ANY_SIGNED_OUT = "NID"
"""A cookie that guests get from the start page."""
_MOST_BODY = 4_000_000
_MOST_UPLOAD = 110_000_000
_REASONS_KEPT = 20
_ROTATION_OF_PAGES = re.compile(rb'\[658,"-?\d{1,30}"\]')
"""The body that a browser's page sends to renew the `SIDCC` family."""
_NEVER = 2147483647
"""Seconds until the next rotation of an account that is never rotated."""
_JSON = "application/json; charset=utf-8"
_REFUSALS = (request_checks.Departure, request_checks.AccessTokenMissing, request_checks.BuildOutdated)
_FLAGS = "Path=/; Secure; HttpOnly; Priority=HIGH"
_COOKIE_DOMAIN = "google.com"

_log = structlog.get_logger()


class _TooLongError(ValueError):
    """An uploaded file is too long."""


class Site:
    """State and pages of the site."""

    def __init__(self, config: SimulatorConfig, clock: Clock) -> None:
        """Create the site of these settings."""
        self._config, self._clock = config, clock
        self.accounts = SimulatedAccounts(config, clock)
        self.uploads = uploads.UploadHost(clock, seconds=config.upload_seconds, most_bytes=config.upload_bytes)
        self.resumable = Resumable()
        self.media = SimulatedMedia(clock, seconds=config.media_seconds, redirect=config.media_redirect)
        self.rules = StrictRules() if config.profile == "strict" else Rules()
        self.generation = TurnHandler(config, clock, self.rules, uploads=self.uploads, media=self.media)
        self.faults = Faults({"build": self._move_build, "token": self.accounts.end_tokens})
        self._build, self._built_at = 0, clock.monotonic()
        self._pages = 0
        self.seen: Counter[str] = Counter()
        self.departures: list[str] = []

    async def app_page(self, request: Request) -> Response:
        """Answer `GET /app`: the bootstrap page."""
        self.seen["bootstrap"] += 1
        fault = self.faults.take("app")
        if fault is not None:
            return fault
        session = self._session(request)
        keys = {
            wire.KEY_BUILD_LABEL: self._page(request).build,
            wire.KEY_SESSION_ID: _SID,
            wire.KEY_LANGUAGE: _LANGUAGE,
            wire.KEY_PUSH_ID: _PUSH_ID,
        }
        key = self._config.page_token
        if key == "cycle":
            key = PAGE_TOKENS[self._pages % PAGE_TOKENS.index("cycle")]
        self._pages += 1
        if session.access_token is not None and key != "absent":
            keys[key] = session.access_token
        data = ",".join(f'"{key}":"{value}"' for key, value in keys.items())
        page = f"<!doctype html><title>simulated</title><script>window.WIZ_global_data = {{{data}}};</script>"
        host = request.headers.get("host", "")
        headers = {"set-cookie": f"{_HOST_ONLY}=gemini-pd={host}; Path=/; Secure; HttpOnly"}
        return HTMLResponse(page, headers=headers if self._config.host_only_cookie else None)

    async def start_page(self, request: Request) -> Response:
        """Answer `GET /`, where guests get their first cookie."""
        cookie = f"{_ANY_SIGNED_OUT}=nid-{secrets.token_urlsafe(12)}; {self._flags(request)}"
        return HTMLResponse("<!doctype html><title>simulated</title>", headers={"set-cookie": cookie})

    async def rotate_page(self, request: Request) -> Response:
        """Answer `GET /RotateCookiesPage`, which a browser loads to renew the `SIDCC` family."""
        self.seen["rotate_page"] += 1
        _ = request
        return HTMLResponse("<!doctype html><script>init('-3141592653589793238',658)</script>")

    async def rotate(self, request: Request) -> Response:
        """Answer `POST /RotateCookies`."""
        self.seen["rotate"] += 1
        cookies = cookies_of(request)
        with self.accounts.named(cookies).record.rotating.hold():
            fault = self.faults.take("rotate")
            if fault is not None:
                return fault
            refused = self.rules.rotation(request.headers, cookies)
            if refused is not None:
                return self._departed(*refused)
            body = await request.body()
            if _ROTATION_OF_PAGES.fullmatch(body) and self.rules.exact:
                return PlainTextResponse(self._rotation_body(200), headers={"set-cookie": self._new_sidcc(request)})
            if body != wire.ROTATE_BODY:
                return self._departed("RotateCookies: body")
            await self._wait_half_rotation()
            status, value = self.accounts.rotate(cookies)
            await self._wait_half_rotation()
        response = PlainTextResponse(self._rotation_body(status), status)
        if value is not None:
            response.headers.append("set-cookie", f"{wire.PSIDTS}={value}; {self._flags(request)}")
            response.headers.append("set-cookie", self._new_sidcc(request))
        return response

    def _rotation_body(self, status: int) -> str:
        """Return the body of a rotation, which names the seconds until the next one. Source: "Session", step 2."""
        interval = {200: self._config.rotation_interval_seconds, 403: _NEVER}.get(status, 0)
        parts = [*([["identity.hfcr", interval]] if interval else []), ["di", 44]]
        return f"{wire.FRAMES_PREFIX}\n\n{json.dumps(parts, separators=(',', ':'))}" if status in {200, 403} else ""

    async def _wait_half_rotation(self) -> None:
        if self._config.rotation_seconds:
            await self._clock.sleep(self._config.rotation_seconds / 2)

    async def batch(self, request: Request) -> Response:
        """Answer `POST …/batchexecute`."""
        session = self._session(request)

        def find_original(token: str) -> str | None:
            picture = self.media.picture(token)
            if picture is None:
                return None
            return picture_url(origin_of(request), self.media.add(session, picture, "original"))

        try:
            calls = request_checks.batch(await self._checked(request, session, batch=True))
            self.rules.batch(calls, request.headers, request.query_params, self._page(request))
            self.seen.update(f"rpc_{call.rpc[:16]}" for call in calls)
            fault = self.faults.take("batch", *(call.rpc for call in calls))
            now, exact = self._clock.wall(), self.rules.exact
            context = batch.BatchContext(session=session, now=now, exact=exact, find_original=find_original)
            return fault or Response(
                batch.answer(calls, context),
                headers=self._cookie_headers(session, request),
                media_type=_JSON,
            )
        except _REFUSALS as refusal:
            return self._refused(session, refusal)

    async def generate(self, request: Request) -> Response | BreakableStream:
        """Answer `POST …/StreamGenerate`."""
        self.seen["generate"] += 1
        session = self._session(request)
        try:
            form = await self._checked(request, session, batch=False)
            sent = request_checks.slots_of(form)
            self.rules.generate(form, sent, request.headers, _LANGUAGE)
            ask = request_checks.read(sent, request.headers)
            fault = self.faults.take("generate")
            if fault is not None:
                return fault
            answer = self.generation.answer(session, ask, origin_of(request), self.seen)
        except _REFUSALS as refusal:
            return self._refused(session, refusal)
        if isinstance(answer, BreakableStream):
            answer.while_open = session.record.generating.hold()
            answer.headers |= self._cookie_headers(session, request)
        return answer

    async def upload(self, request: Request) -> Response:
        """Answer `POST /upload`: a file in one request, or the first of two. Source: "Files in"."""
        in_two = request.url.path.endswith("/") or "x-goog-upload-command" in request.headers
        self.seen.update(["upload", "resumable"] if in_two else ["upload"])
        fault = self.faults.take("resumable", "upload") if in_two else self.faults.take("upload")
        refused = fault or self._upload_refused(request, "start" if in_two else "whole")
        if refused is not None:
            return refused
        try:
            body = await _content_of(request)
            if not in_two:
                return PlainTextResponse(
                    self.uploads.keep(uploads.only_file(request.headers.get("content-type", ""), body))
                )
            token = self.resumable.start(request.headers)
        except ValueError as error:
            return self._upload_departed(error)
        origin = origin_of(request)
        url = f"{origin}/upload/{token}?upload_id={token}&upload_protocol=resumable"
        return PlainTextResponse("", headers={"x-goog-upload-url": url, "x-goog-upload-status": "active"})

    async def finish_upload(self, request: Request) -> Response:
        """Answer the second request of an upload: its bytes. Source: "Files in"."""
        refused = self._upload_refused(request, "finish")
        if refused is not None:
            return refused
        try:
            body = await _content_of(request)
            content = self.resumable.finish(request.path_params["token"], request.headers, body)
        except ValueError as error:
            return self._upload_departed(error)
        return PlainTextResponse(self.uploads.keep(content), headers={"x-goog-upload-status": "final"})

    def _upload_refused(self, request: Request, step: UploadStep) -> Response | None:
        reason = self.rules.upload(request, _PUSH_ID, step)
        return self._departed(reason) if reason else None

    def _upload_departed(self, error: ValueError) -> Response:
        return self._departed(f"upload: {error}", 413 if isinstance(error, _TooLongError) else 400)

    async def serve_picture(self, request: Request) -> Response | BreakableStream:
        """Answer `GET /gg/…` and the URLs that follow it."""
        refused = self._media_refused(request)
        return refused or await self.media.serve_picture(request, self._session(request), self._departed)

    async def serve_clip(self, request: Request) -> Response:
        """Answer `GET /download`."""
        refused = self._media_refused(request)
        return refused or self.media.serve_clip(request, self._session(request), self._departed)

    async def state(self, _: Request) -> Response:
        """Answer `GET /simulator/state`: counts of requests, and why requests were refused."""
        accounts = self.accounts.shown()
        return JSONResponse({"seen": dict(self.seen), "departures": self.departures, "accounts": accounts})

    def _cookie_headers(self, session: SimulatedSession, request: Request) -> dict[str, str]:
        """Return the header that sets a cookie, if it is due: never a guest's."""
        every = self.rules.cookie_every if self._config.cookie_every is None else self._config.cookie_every
        if session.account is None or not every or session.record.signed_in % every:
            return {}
        return {"set-cookie": self._new_sidcc(request)}

    def _new_sidcc(self, request: Request) -> str:
        """Return a header that sets the cookie that the site renews with any answer."""
        return f"__Secure-1PSIDCC=sidcc-{secrets.token_urlsafe(8)}; {self._flags(request)}"

    def _flags(self, request: Request) -> str:
        """Return the attributes of the site's cookies.

        A host that is not Google's cannot set them for Google's domain: a correct cookie jar would drop them.
        """
        host = request.headers.get("host", "").partition(":")[0]
        ours = host == _COOKIE_DOMAIN or host.endswith(f".{_COOKIE_DOMAIN}")
        return f"Domain=.{_COOKIE_DOMAIN}; {_FLAGS}" if ours or not self.rules.exact else _FLAGS

    def _media_refused(self, request: Request) -> Response | None:
        self.seen["media"] += 1
        host = cookies_of(request).get(_HOST_ONLY, "").removeprefix("gemini-pd=")
        own = self.rules.exact and host == request.headers.get("host", "")
        if self._config.host_only_cookie and host and not own:
            return self._departed("media: a cookie of the site's own host came along", status=403)
        return self.faults.take("media")

    def _session(self, request: Request) -> SimulatedSession:
        return self.accounts.find(cookies_of(request), int(request.path_params.get("user", 0)))

    async def _checked(self, request: Request, session: SimulatedSession, *, batch: bool) -> object:
        body = await request.body()
        request_checks.require(len(body) <= _MOST_BODY, "body too long")
        page, query = self._page(request), request.query_params
        if query.get(wire.QUERY_BUILD_LABEL) in page.outdated:
            raise request_checks.BuildOutdated
        self.rules.call(request.headers, query.multi_items(), page, batch=batch)
        pairs, form = request_checks.form(body, session.access_token)
        lost = session.account is None and wire.PSID in cookies_of(request)
        self.rules.form(pairs, guest=session.account is None, lost=lost)
        return form

    def _page(self, request: Request) -> request_checks.PageRequest:
        """Return what a page that is loaded now contains."""
        seconds, now = self._config.build_seconds, self._clock.monotonic()
        if seconds and now - self._built_at >= seconds:
            self._move_build()
        outdated = frozenset(_BUILD.format(number) for number in range(self._build))
        user = request.path_params.get("user")
        return request_checks.PageRequest(
            site=origin_of(request),
            prefix="" if user is None else f"/u/{user}",
            build=_BUILD.format(self._build),
            outdated=outdated,
            sid=_SID,
            language=_LANGUAGE,
        )

    def _move_build(self) -> None:
        """Start the site's next build."""
        self._build, self._built_at = self._build + 1, self._clock.monotonic()

    def _refused(self, session: SimulatedSession, refusal: Exception) -> Response:
        """Answer a call that the site refuses. Source: "Codes"."""
        match refusal:
            case request_checks.AccessTokenMissing():
                self.seen["token_refused"] += 1
                body = encode.refused(session.access_token or "", session.number)
                return Response(body, 400, media_type=_JSON)
            case request_checks.BuildOutdated():
                self.seen["build_refused"] += 1
                return PlainTextResponse("", 405)
            case _:
                self._departed(str(refusal))
                return Response(encode.refused(), 400, media_type=_JSON)

    def _departed(self, reason: str, status: int = 400) -> Response:
        self.seen["departures"] += 1
        self.departures = [*self.departures, reason][-_REASONS_KEPT:]
        return PlainTextResponse("", status)


async def _content_of(request: Request) -> bytes:
    """Return the body of an upload."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_UPLOAD:
            raise _TooLongError
    return bytes(body)


def cookies_of(request: Request) -> dict[str, str]:
    """Return a request's cookies without decoding their values."""
    pairs = (piece.strip().partition("=") for piece in request.headers.get("cookie", "").split(";"))
    return {name: value for name, equals, value in pairs if equals}


def create_site(config: SimulatorConfig, clock: Clock) -> Starlette:
    """Return the simulated site as an ASGI app."""
    site = Site(config, clock)
    api = SimulatedApi(config, clock, site.seen)
    vertex = SimulatedVertex(config, clock, site.seen, api)

    async def log_failure(request: Request, error: Exception) -> Response:
        """Log an unexpected error of the simulator."""
        _log.error("simulator_failed", path=request.url.path, exc_info=error)
        return PlainTextResponse("", 500)

    return Starlette(
        routes=[
            Route("/", site.start_page),
            Route(wire.ROTATE_PATH, site.rotate, methods=["POST"]),
            Route("/RotateCookiesPage", site.rotate_page),
            *(
                route
                for prefix in ("", "/u/{user:int}")
                for route in (
                    Route(prefix + wire.APP_PATH, site.app_page),
                    Route(f"{prefix}{wire.APP_PATH}/{{conversation}}", site.app_page),
                    Route(prefix + wire.BATCH_PATH, site.batch, methods=["POST"]),
                    Route(prefix + wire.GENERATE_PATH, site.generate, methods=["POST"]),
                )
            ),
            Route("/upload", site.upload, methods=["POST"]),
            Route("/upload/", site.upload, methods=["POST"]),
            Route("/upload/{token}", site.finish_upload, methods=["POST"]),
            *(Route(f"/{folder}/{{name}}", site.serve_picture) for folder in FOLDERS),
            Route("/download", site.serve_clip),
            *api.routes(),
            *vertex.routes(),
            *api.other_routes(),
            Route("/simulator/state", site.state),
            Route("/simulator/faults", site.faults.order, methods=["POST", "DELETE"]),
            Route("/simulator/keys", api.keys.problems.order, methods=["POST"]),
        ],
        exception_handlers={Exception: log_failure},
    )
