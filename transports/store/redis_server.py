"""A connection pool for one Redis or Valkey server, with a timeout for each call and a circuit breaker.

A connection is reused only after its whole answer was read. After a failed, late or cancelled call it is closed, so no
call can get the answer of another.
Source: reliability 6.3
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import anyio
import msgspec
import structlog
from redis.asyncio.connection import parse_url
from redis.exceptions import NoScriptError, RedisError, ResponseError

from transports.clock import Clock
from transports.store.breaker import Breaker
from transports.store.instrumented import StoreObserver
from transports.store.lua import LuaScript
from transports.store.redis_connection import Line, TlsLine, Word
from transports.store.redis_errors import OPEN, TIMEOUT, RedisUnavailable, reason_of

_MOST_CONNECTIONS = 64
_IDLE_SECONDS = 60.0
"""Connections idle for longer are not reused: a firewall may have dropped them."""
_BYTES_PER_SECOND = 16 * 1024 * 1024
"""Long requests and answers get more time, at this rate."""
_LOG_SECONDS = 60.0
"""The same failure is logged at most this often."""
_OPTIONS = frozenset({"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"})

ResultT = TypeVar("ResultT")

_log = structlog.get_logger()


class RedisAddress(msgspec.Struct, frozen=True):
    """Address and credentials of a server."""

    where: str
    """Host and port, for logs and messages."""
    tls: bool
    options: dict[str, Any]
    """Arguments of redis-py's connection."""

    @classmethod
    def of(cls, url: str) -> "RedisAddress":
        """Read a URL, as `rediss://user:password@host:6379/0?ssl_ca_certs=ca.pem`.

        Raises:
            ValueError: it is invalid; the message shows no part of it.

        """
        try:
            found: dict[str, Any] = {**parse_url(url)}
        except ValueError:
            found = {"scheme": None}
        found.pop("connection_class", None)
        host, port = found.pop("host", "localhost"), found.pop("port", 6379)
        signing = {name: found.pop(name) for name in ("username", "password") if name in found}
        if not re.match(r"rediss?://", url) or not set(found) <= _OPTIONS:
            known = ", ".join(sorted(_OPTIONS))
            raise ValueError(
                f"is not of the form redis://user:password@host:6379/0 or rediss://… with options of: {known}",
            ) from None
        options = {**found, **signing, "host": host, "port": port}
        return cls(f"{host}:{port}", url.startswith("rediss:"), options)

    def __repr__(self) -> str:
        """Leave out the password."""
        return f"Address({self.where!r})"


class Call(msgspec.Struct, frozen=True):
    """A call of a script with keys and arguments."""

    script: LuaScript
    keys: list[str]
    arguments: tuple[Word, ...]


class RedisConnections:
    """A server; its calls raise RedisUnavailable within a short time."""

    def __init__(self, address: RedisAddress, clock: Clock, observer: StoreObserver, seconds: float) -> None:
        """Allow each call `seconds`."""
        self._address, self._clock, self._observer, self._seconds = address, clock, observer, seconds
        self.breaker = Breaker(clock, observer)
        self._room = anyio.Semaphore(_MOST_CONNECTIONS)
        self._idle: list[tuple[Line, float]] = []
        self._told: dict[str, float] = {}

    async def run(self, script: LuaScript, keys: list[str], *arguments: Word, length: int = 0) -> Any:
        """Run a script; `length`: of what is sent and returned, where it is long.

        Raises:
            RedisUnavailable: the server did not do it, or did not say so.

        """

        async def ask(line: Line) -> Any:
            return await evaluate(line, script, keys, *arguments)

        return await self.ask(ask, length / _BYTES_PER_SECOND)

    async def run_all(self, calls: Sequence[Call], length: int) -> list[Any]:
        """Run scripts one after the other, in one round trip; `length`: of all that is sent.

        Raises:
            RedisUnavailable: the server did not do one of them, or did not say so.

        """

        async def ask(line: Line) -> list[Any]:
            return await evaluate_all(line, calls)

        return await self.ask(ask, length / _BYTES_PER_SECOND)

    async def ask(self, talk: Callable[[Line], Awaitable[ResultT]], more_seconds: float = 0.0) -> ResultT:
        """Use a connection from the pool, unless the breaker is open; raise as `run`."""
        if self.breaker.is_open:
            raise RedisUnavailable(self._address.where, OPEN)
        try:
            answer = await self._talk(talk, self._seconds + more_seconds)
        except RedisUnavailable as error:
            self.breaker.fail(waited=error.reason == TIMEOUT)
            self._tell(error.reason)
            raise
        self.breaker.succeed()
        return answer

    async def greet(self) -> bool:
        """Ask the server for its state, even if the breaker is open; return whether it can be used."""

        async def ask(line: Line) -> dict[str, str]:
            return _facts(await line.ask(("INFO",)))

        self._forget()
        try:
            facts = await self._talk(ask, self._seconds)
        except RedisUnavailable as error:
            self._tell(error.reason)
            return False
        trouble = _trouble(facts)
        if trouble:
            self._tell(trouble)
            return False
        self._told.clear()
        self._observer.store_evicts(evicts=_evicts(facts))
        version = facts.get("valkey_version") or facts.get("redis_version")
        _log.info("store_connected", address=self._address.where, version=version, role=facts.get("role"))
        if _evicts(facts):
            _log.error(
                "store_eviction_enabled",
                policy=facts["maxmemory_policy"],
                advice="sessions, locks and licenses may be lost: set maxmemory-policy to noeviction",
            )
        return True

    async def close(self) -> None:
        """Close all connections."""
        self._forget()
        await anyio.lowlevel.checkpoint()  # transports close in the loop's next iteration

    async def _talk(self, talk: Callable[[Line], Awaitable[ResultT]], seconds: float) -> ResultT:
        """Use a connection from the pool, even if the breaker is open.

        Raises:
            RedisUnavailable: it failed.

        """
        try:
            await self._enter(seconds)
            try:
                return await self._over(await self._take(seconds), talk, seconds)
            finally:
                self._room.release()
        except (RedisError, OSError, EOFError, ValueError) as error:
            reason = reason_of(error)
        raise RedisUnavailable(self._address.where, reason) from None

    async def _enter(self, seconds: float) -> None:
        """Wait until another connection may be opened."""
        try:
            self._room.acquire_nowait()
        except anyio.WouldBlock:
            with anyio.fail_after(seconds):
                await self._room.acquire()

    async def _over(self, line: Line, talk: Callable[[Line], Awaitable[ResultT]], seconds: float) -> ResultT:
        whole = False
        timer = asyncio.get_running_loop().call_later(seconds, line.cut, TimeoutError())
        try:
            answer = await talk(line)
            whole = True
        except ResponseError:
            whole = line.is_open
            raise
        finally:
            timer.cancel()
            if whole and line.is_open:
                self._idle.append((line, self._clock.monotonic()))
            else:
                line.cut()
        return answer

    async def _take(self, seconds: float) -> Line:
        """Return an open connection."""
        while self._idle:
            line, since = self._idle.pop()
            if line.is_open and self._clock.monotonic() - since < _IDLE_SECONDS:
                return line
            line.cut()
        kind = TlsLine if self._address.tls else Line
        line = kind(**self._address.options, protocol=2, socket_timeout=None, socket_connect_timeout=None)
        try:
            with anyio.fail_after(seconds):
                await line.open()
        except BaseException:
            line.cut()
            raise
        return line

    def _forget(self) -> None:
        while self._idle:
            self._idle.pop()[0].cut()

    def _tell(self, reason: str) -> None:
        now = self._clock.monotonic()
        if now - self._told.get(reason, -_LOG_SECONDS) >= _LOG_SECONDS:
            self._told[reason] = now
            _log.warning("store_failed", address=self._address.where, reason=reason)


async def evaluate(line: Line, script: LuaScript, keys: list[str], *arguments: Word) -> Any:
    """Run a script by its digest; send its text if the server does not know it yet."""
    given = (len(keys), *keys, *arguments)
    try:
        return await line.ask(("EVALSHA", script.digest, *given))
    except NoScriptError:
        return await line.ask(("EVAL", script.text, *given))


async def evaluate_all(line: Line, calls: Sequence[Call]) -> list[Any]:
    """Run scripts by their digests in one round trip; a second one sends the texts that the server does not know yet.

    Raises:
        ResponseError: the server refused one of them.

    """
    given = [(len(call.keys), *call.keys, *call.arguments) for call in calls]
    pairs = list(zip(calls, given, strict=True))
    answers = await line.ask_all([("EVALSHA", call.script.digest, *words) for call, words in pairs])
    unknown = [number for number, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
    if unknown:
        texts = [("EVAL", pairs[number][0].script.text, *pairs[number][1]) for number in unknown]
        for number, answer in zip(unknown, await line.ask_all(texts), strict=True):
            answers[number] = answer
    for answer in answers:
        if isinstance(answer, ResponseError):
            raise answer
    return answers


def _facts(info: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in info.decode("utf-8", "replace").splitlines())
    return {name: value for name, _, value in pairs}


def _trouble(facts: dict[str, str]) -> str:
    """Return why a server that answers cannot be used, or an empty string."""
    if facts.get("loading", "0") != "0":
        return "LOADING"
    return "READONLY" if facts.get("role") == "slave" else ""


def _evicts(facts: dict[str, str]) -> bool:
    return facts.get("maxmemory", "0") != "0" and facts.get("maxmemory_policy", "noeviction") != "noeviction"
