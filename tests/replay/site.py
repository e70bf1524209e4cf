"""A replay of the site: it answers with recorded bytes under the site's own names, behind a proxy and TLS.

The gateway's account has the proxy, and `ca_file` the certificate: everything else is as with the real site, host names
and paths of the defaults among them. A `Scene` holds the answers, `Site.calls` the requests. No code of
the product is used: what its two sides agree upon proves nothing.
"""

import asyncio
import ipaddress
import json
import ssl
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.proxies import join
from tests.replay import frames

CAPTURES = Path(__file__).parent.parent / "captures"
HOSTS = (
    "gemini.google.com",
    "accounts.google.com",
    "content-push.googleapis.com",
    "push.clients6.google.com",
    "googleusercontent.com",
    "*.googleusercontent.com",
    "*.usercontent.google.com",
    "*.fife.usercontent.google.com",
    "*.gstatic.com",
)
GENERATE = "/_/BardChatUi/data/assistant.lamda.BardFrontendService/StreamGenerate"
BATCH = "/_/BardChatUi/data/batchexecute"
TOKEN = "AIQ-page-token:1789723276000"
BUILD = "boq_assistant-bard-web-server_20261125.04_p0"
PAGE = {"SNlM0e": TOKEN, "cfb2h": BUILD, "FdrFJe": "-4567890123", "TuX5cc": "en", "qKIAYe": "feeds/mcudyrk2a4khkz"}
_PROXIES_OPEN = 10
JSON_TYPE = "application/json; charset=utf-8"
PNG = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89"
    b"\0\0\0\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\0\x05\0\x01\xff\x89\x99=\x1d\0\0\0\0IEND\xaeB`\x82"
)
MP4 = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42" + b"\x00\x00\x00\x08free" + b"\x00\x00\x00\x08mdat"


def recorded(name):
    """Return the bytes of a capture."""
    return (CAPTURES / name).read_bytes()


@dataclass(frozen=True)
class Answer:
    """An HTTP answer of the site."""

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", JSON_TYPE),)
    cut: str = "whole"
    """How the body is cut into pieces, a name of `frames.CUTS`."""
    broken: bool = False
    """The connection breaks off behind the body."""


def capture(name, status=200):
    """Return the answer that a capture is."""
    return Answer(recorded(name), status)


def html(**values):
    """Return the page /app with these values."""
    return Answer(frames.page(**values), headers=(("Content-Type", "text/html; charset=utf-8"),))


def redirect(location):
    return Answer(status=302, headers=(("Location", location),))


def media(data, mime):
    return Answer(data, headers=(("Content-Type", mime),))


def uploaded(site):
    """Take a file in either form of upload."""
    call = site.asked("upload")[-1]
    if call.headers.get("x-goog-upload-command") != "start":
        return Answer(b"/contrib_service/ttl_1d/replayed")
    url = f"https://{call.host}/upload/?upload_id=replayed&upload_protocol=resumable"
    return Answer(headers=(("x-goog-upload-url", url), ("x-goog-upload-status", "active")))


@dataclass
class Scene:
    """The site's answers: each list is answered in its order, its last entry for all later calls. A function is called
    with the site and returns the answer."""

    generate: list[Answer] = field(default_factory=list)
    page: list[Answer] = field(default_factory=lambda: [html(**PAGE)])
    rotate: list[Answer] = field(default_factory=lambda: [capture("rotate-200-body.txt")])
    rpcs: dict[str, list] = field(default_factory=dict)
    """By RPC: whole answers, parts of an answer, or functions of the site. Other RPCs have a default."""
    batch: list[Answer] = field(default_factory=list)
    """Answers to the first batch calls, before those by RPC."""
    media: dict[str, list[Answer]] = field(default_factory=dict)
    """By the beginning of an address."""
    upload: list = field(default_factory=lambda: [uploaded])


RPCS = {
    "otAQ7b": [capture("batch-otAQ7b-2026-08-24.txt")],
    "ESY5D": [frames.rpc("ESY5D", [[None, None, None, None, True]])],
    "jSf9Qc": [capture("batch-jSf9Qc-paid.txt")],
    "qpEbW": [frames.denied("qpEbW", 3)],
    "MaZiqc": [frames.rpc("MaZiqc", [None, None, []])],
    "hNvQHb": [frames.rpc("hNvQHb", [[]])],
    "GzXR5e": [frames.rpc("GzXR5e", [])],
}


@dataclass(frozen=True)
class Call:
    """A request that the site got."""

    method: str
    host: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    cookies: dict[str, str]
    body: bytes

    @property
    def form(self):
        return {name: values[0] for name, values in parse_qs(self.body.decode(), keep_blank_values=True).items()}

    @property
    def account(self):
        return self.cookies.get("__Secure-1PSID", "")

    @property
    def rpcs(self):
        """The RPCs that a batch call makes, as name and payload."""
        return [(one[0], json.loads(one[1])) for one in json.loads(self.form["f.req"])[0]]

    @property
    def slots(self):
        """The slots of a StreamGenerate call."""
        return json.loads(json.loads(self.form["f.req"])[1])


class Site:
    """The replayed site; `play` sets the scene."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.scene = Scene()
        self.calls = []
        self._loop = self._port = None
        self._proxies = []
        self.ca_file = self.folder / "replay-ca.pem"

    def play(self, scene):
        """Answer with this scene from now on; return the address of a proxy that was not used before."""
        self.scene, self.calls = scene, []
        return asyncio.run_coroutine_threadsafe(self._new_proxy(), self._loop).result(60)

    @property
    def address(self):
        """The site without a proxy, for a gateway whose settings name it as a host."""
        return f"https://127.0.0.1:{self._port}"

    async def run(self, started, stop):
        """Serve until `stop` is set."""
        self._loop = asyncio.get_running_loop()
        public, private = write_certificate(self.folder)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(public, private)
        runner = web.ServerRunner(web.Server(self.handle), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        self._port = runner.addresses[0][1]
        started.set()
        await stop.wait()
        for proxy in self._proxies:
            proxy.close()
        await runner.cleanup()
        while connections := asyncio.all_tasks() - {asyncio.current_task()}:  # a cancelled one may start another
            for task in connections:
                task.cancel()
            await asyncio.wait(connections, timeout=1)

    def end(self, stop):
        self._loop.call_soon_threadsafe(stop.set)

    async def _new_proxy(self):
        """Return a new proxy for each test: the gateway remembers failures of a proxy.

        Earlier ones are closed a few tests later: asyncio loses a connection that comes while its server is closed.
        """
        self._proxies.append(await asyncio.start_server(lambda r, w: _connect(self._port, r, w), "127.0.0.1", 0))
        if len(self._proxies) > _PROXIES_OPEN:
            self._proxies.pop(0).close()
        return f"http://127.0.0.1:{self._proxies[-1].sockets[0].getsockname()[1]}"

    def asked(self, what):
        """Return the calls to one endpoint: `generate`, `page`, `rotate`, or the name of an RPC."""
        calls = list(self.calls)
        if what in ("generate", "page", "rotate", "upload", "media"):
            return [call for call in calls if self.kind(call) == what]
        return [call for call in calls if self.kind(call) == "batch" and what in dict(call.rpcs)]

    @staticmethod
    def kind(call):
        if call.host == "accounts.google.com":
            return "rotate" if call.path == "/RotateCookies" else "sign-in"
        if call.host == "gemini.google.com" or call.host.startswith("127.0.0.1"):
            path = call.path.split("/", 3)[-1] if call.path.startswith("/u/") else call.path[1:]
            return {"app": "page", GENERATE[1:]: "generate", BATCH[1:]: "batch"}.get(path, "unknown")
        return "upload" if call.host in ("content-push.googleapis.com", "push.clients6.google.com") else "media"

    async def handle(self, request):
        call = Call(
            request.method,
            request.host,
            request.path,
            dict(request.query),
            {name.lower(): value for name, value in request.headers.items()},
            {name: one.value for name, one in SimpleCookie(request.headers.get("Cookie", "")).items()},
            await request.read(),
        )
        self.calls.append(call)
        return await self._send(request, self._answer(call, str(request.url)))

    def _answer(self, call, url):
        match self.kind(call):
            case "batch":
                return self._batch(call)
            case "media":
                for begin, answers in self.scene.media.items():
                    if url.startswith(begin):
                        answer = take(answers)
                        return answer(self) if callable(answer) else answer
            case "page" | "generate" | "rotate" | "upload" as kind:
                if answers := getattr(self.scene, kind):
                    answer = take(answers)
                    return answer(self) if callable(answer) else answer
        return Answer(b"not in this scene", 404)

    def _batch(self, call):
        if self.scene.batch:
            return self.scene.batch.pop(0)
        found = [take(self.scene.rpcs.get(name) or RPCS.get(name) or [unknown(name)]) for name, _ in call.rpcs]
        found = [one(self) if callable(one) else one for one in found]
        if len(found) == 1 and isinstance(found[0], Answer):
            return found[0]
        parts = [part for one in found for part in (parts_of(one) if isinstance(one, Answer) else [one])]
        return Answer(frames.body(*([part] for part in parts), frames.END))

    async def _send(self, request, answer):
        response = web.StreamResponse(status=answer.status)
        for name, value in answer.headers:
            response.headers.add(name, value)
        await response.prepare(request)
        with suppress(ConnectionError):
            for piece in frames.CUTS[answer.cut](answer.body):
                await response.write(piece)
                await asyncio.sleep(0)
            if answer.broken:
                request.transport.abort()
            else:
                await response.write_eof()
        return response


def take(answers):
    return answers.pop(0) if len(answers) > 1 else answers[0]


def unknown(name):
    return frames.denied(name, 3)


def parts_of(answer):
    """Return what a batch answer's frames hold for its RPCs."""
    lines = answer.body.decode().split("\n")
    return [part for line in lines if line.startswith("[[") for part in json.loads(line) if part[0] == "wrb.fr"]


def write_certificate(folder):
    """Write a certificate for the site's names; return it and its key as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "replay")])
    now = datetime.now(UTC)
    names = [*map(x509.DNSName, HOSTS), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "replay-ca.pem", folder / "replay-key.pem"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.write_bytes(key.private_bytes(*form))
    return public, private


async def _connect(port, reader, writer):
    """Serve one CONNECT: every host name leads to the site."""
    try:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, _ = head.split(" ", 2)
            if method == "CONNECT" and target.endswith(":443"):
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                await join(reader, writer, "127.0.0.1", port)
            else:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    finally:
        writer.close()


@contextmanager
def replayed_site(folder):
    """Run the site in a thread."""
    site, started, stop = Site(folder), threading.Event(), asyncio.Event()

    thread = threading.Thread(target=lambda: asyncio.run(site.run(started, stop)), name="replayed site")
    thread.start()
    try:
        assert started.wait(60)
        yield site
    finally:
        site.end(stop)
        thread.join(60)
