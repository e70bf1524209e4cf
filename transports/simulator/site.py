"""The simulated site: an ASGI app that answers as the wire protocol page says, and only requests that keep to it.

All of the site's hosts live on one port, by path: the site's own (`/app`, `/_/BardChatUi/…`), the accounts'
(`/RotateCookies`) and the upload host's (`/upload`). `GET /simulator/state` tells what was seen.
"""

import secrets
from collections import Counter
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from transports.clock import Clock
from transports.simulator import batch, check
from transports.simulator.accounts import Accounts, Session, Turn
from transports.simulator.config import SimulatorConfig
from transports.simulator.course import Course, Ids
from transports.simulator.script import Script, parse
from transports.simulator.stream import Stream
from transports.web import wire

_BUILD = "boq_assistant-bard-web-server_20261101.04_p0"
_SID = "-3141592653589793238"
_LANGUAGE = "en"
_PUSH_ID = "feeds/mcudyrk2a4khkz"
_MOST_PROMPT_BYTES = 130_000
_MOST_BODY = 4_000_000
_REASONS_KEPT = 20


class Site:
    """The site's state and pages."""

    def __init__(self, config: SimulatorConfig, clock: Clock) -> None:
        """Know the settings' accounts and nobody else."""
        self._config, self._clock = config, clock
        self.accounts = Accounts(config.accounts, clock, grace=config.grace_seconds, gap=config.rotation_gap_seconds)
        self.seen: Counter[str] = Counter()
        self.departures: list[str] = []
        self._once: set[str] = set()

    async def app_page(self, request: Request) -> Response:
        """Answer `GET /app`: the bootstrap page."""
        self.seen["bootstrap"] += 1
        session = self._session(request)
        keys = {
            wire.KEY_BUILD_LABEL: _BUILD,
            wire.KEY_SESSION_ID: _SID,
            wire.KEY_LANGUAGE: _LANGUAGE,
            wire.KEY_PUSH_ID: _PUSH_ID,
        }
        if session.access_token is not None:
            keys[wire.KEY_ACCESS_TOKEN] = session.access_token
        data = ",".join(f'"{key}":"{value}"' for key, value in keys.items())
        page = f"<!doctype html><title>simulated</title><script>window.WIZ_global_data = {{{data}}};</script>"
        return HTMLResponse(page)

    async def rotate(self, request: Request) -> Response:
        """Answer `POST /RotateCookies`."""
        self.seen["rotate"] += 1
        body = await request.body()
        cookies = _cookies(request)
        if body != wire.ROTATE_BODY or request.headers.get("content-type") != wire.ROTATE_CONTENT_TYPE:
            return self._departed("RotateCookies: body or Content-Type")
        if set(cookies) - {wire.PSID, wire.PSIDTS}:
            return self._departed("RotateCookies: other cookies along", status=401)
        status, value = self.accounts.rotate(cookies)
        response = PlainTextResponse("" if status != 200 else ')]}\'\n\n[["identity.hfcr",600]]', status)
        if value is not None:
            flags = "Domain=.google.com; Path=/; Secure; HttpOnly; Priority=HIGH"
            response.headers.append("set-cookie", f"{wire.PSIDTS}={value}; {flags}")
            response.headers.append("set-cookie", f"__Secure-1PSIDCC=sidcc-{secrets.token_urlsafe(8)}; {flags}")
        return response

    async def batch(self, request: Request) -> Response:
        """Answer `POST …/batchexecute`."""
        session = self._session(request)
        try:
            calls = check.batch(await self._checked(request, session), request.headers, request.query_params)
            self.seen.update(f"rpc_{rpc}" for rpc, _ in calls)
            body = batch.answer(session, calls, self._clock.wall())
        except check.Departure as departure:
            return self._departed(str(departure))
        return Response(body, media_type="application/json; charset=utf-8")

    async def generate(self, request: Request) -> Response | Stream:
        """Answer `POST …/StreamGenerate`."""
        self.seen["generate"] += 1
        session = self._session(request)
        try:
            ask = check.generate(await self._checked(request, session), request.headers, _LANGUAGE)
        except check.Departure as departure:
            return self._departed(str(departure))
        prompt = ask.prompt.encode("utf-8", "surrogatepass")[:_MOST_PROMPT_BYTES].decode("utf-8", "ignore")
        script = self._script(prompt)
        refusal = _refusal(script)
        if refusal is not None:
            return refusal
        code = self._code(session, ask)
        if code is not None and script.error is None:
            script = Script(text="", error=code, delay=0.0)
        return self._stream(session, ask, prompt, script)

    async def upload(self, request: Request) -> Response:
        """Answer `POST /upload`. Source: "Files in"."""
        self.seen["upload"] += 1
        headers = request.headers
        if headers.get("push-id") != _PUSH_ID or headers.get("x-tenant-id") != "bard-storage":
            return self._departed("upload: Push-ID or X-Tenant-Id")
        if not headers.get("content-type", "").startswith("multipart/form-data;"):
            return self._departed("upload: not multipart")
        await request.body()
        return PlainTextResponse(f"/contrib_service/ttl_1d/{secrets.token_hex(16)}")

    async def state(self, _: Request) -> Response:
        """Answer `GET /simulator/state`: what was seen, and why requests were refused."""
        return JSONResponse({"seen": dict(self.seen), "departures": self.departures})

    def _session(self, request: Request) -> Session:
        return self.accounts.find(_cookies(request))

    async def _checked(self, request: Request, session: Session) -> object:
        body = await request.body()
        check.require(len(body) <= _MOST_BODY, "body too long")
        site = f"{request.scope['scheme']}://{request.headers.get('host', '')}"
        check.common(request.headers, request.query_params, site=site, build=_BUILD, sid=_SID)
        pairs = parse_qsl(body.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=10)
        check.require(len(dict(pairs)) == len(pairs), "form: a field twice")
        return check.form(dict(pairs), session.access_token)

    def _script(self, prompt: str) -> Script:
        try:
            script = parse(prompt)
        except ValueError as error:
            return Script(text=f"The simulator does not understand: {error}.")
        if script.once:
            if script.once in self._once:
                return Script(text=script.text, thoughts=script.thoughts)
            self._once.add(script.once)
        return script

    def _code(self, session: Session, ask: check.Ask) -> int | None:
        """Return the code that the site answers this account's request with, if any."""
        known = batch.models(session.plan)
        family = known.get(ask.model_id or "", "flash")
        if session.account is None:
            return None  # a guest asking for more silently gets the smaller model
        if ask.model_id is not None:
            fits = ask.model_id in known and ask.capacity == wire.CAPACITIES[session.plan]
            if not fits or ask.number != wire.MODEL_NUMBERS[family]:
                return wire.CODE_MODEL_HEADER
        if session.account.quota and session.used[family] >= session.account.quota:
            return wire.CODE_USAGE_LIMIT
        session.used[family] += 1
        return None

    def _stream(self, session: Session, ask: check.Ask, prompt: str, script: Script) -> Stream:
        token = secrets.token_hex(8)
        ids = Ids(cid=ask.cid or f"c_{token}", rid=f"r_{token}", rcid=f"rc_{token}")
        keep = session.account is not None and not ask.temporary
        course = Course(script, self._config.pace, self._clock, ids, secrets.token_hex(12) if keep else "")

        def done() -> None:
            if keep and script.error is None:
                turn = Turn(
                    rid=ids.rid,
                    rcid=ids.rcid,
                    prompt=prompt,
                    text=script.text,
                    thoughts=script.thoughts,
                    seconds=self._clock.wall(),
                )
                session.keep(ids.cid, turn)

        return Stream(course.chunks(), self.seen, done)

    def _departed(self, reason: str, status: int = 400) -> Response:
        self.seen["departures"] += 1
        self.departures = [*self.departures, reason][-_REASONS_KEPT:]
        return PlainTextResponse("", status)


def _cookies(request: Request) -> dict[str, str]:
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(request.headers.get("cookie", ""))
    except CookieError:
        return {}
    return {name: morsel.value for name, morsel in jar.items()}


def _refusal(script: Script) -> Response | None:
    """Return the page or status that comes instead of an answer, if the prompt asks for one."""
    if script.html:
        return HTMLResponse("<!doctype html><title>Sign in - simulated</title><form></form>")
    if script.http is None:
        return None
    if script.http in {301, 302, 303, 307, 308}:
        return RedirectResponse(script.location or "https://accounts.google.com/ServiceLogin", script.http)
    headers = {"retry-after": script.retry_after} if script.retry_after else {}
    return PlainTextResponse("", script.http, headers)


def create_site(config: SimulatorConfig, clock: Clock) -> Starlette:
    """Return the simulated site as an ASGI app."""
    site = Site(config, clock)
    return Starlette(
        routes=[
            Route("/app", site.app_page),
            Route(wire.ROTATE_PATH, site.rotate, methods=["POST"]),
            Route(wire.BATCH_PATH, site.batch, methods=["POST"]),
            Route(wire.GENERATE_PATH, site.generate, methods=["POST"]),
            Route("/upload", site.upload, methods=["POST"]),
            Route("/simulator/state", site.state),
        ],
    )
