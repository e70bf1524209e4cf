"""A connection pool for one Redis or Valkey server, with a timeout for each call and a circuit breaker.

A connection is reused only after its whole answer was read. After a failed, late or cancelled call it is closed, so no
call can get the answer of another.
Source: reliability 2.3
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
from transports.store.redis_connection import RedisArgument, RedisConnection, TlsRedisConnection
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

    name: str
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
        credentials = {name: found.pop(name) for name in ("username", "password") if name in found}
        if not re.match(r"rediss?://", url) or not set(found) <= _OPTIONS:
            known = ", ".join(sorted(_OPTIONS))
            raise ValueError(
                f"is not of the form redis://user:password@host:6379/0 or rediss://… with options of: {known}",
            ) from None
        options = {**found, **credentials, "host": host, "port": port}
        return cls(f"{host}:{port}", url.startswith("rediss:"), options)

    def __repr__(self) -> str:
        """Leave out the password."""
        return f"RedisAddress({self.name!r})"


class ScriptCall(msgspec.Struct, frozen=True):
    """A call of a script with keys and arguments."""

    script: LuaScript
    keys: list[str]
    arguments: tuple[RedisArgument, ...]


class RedisPool:
    """Connections to one server; its calls raise RedisUnavailable within a short time."""

    def __init__(self, address: RedisAddress, clock: Clock, observer: StoreObserver, seconds: float) -> None:
        """Allow each call `seconds`."""
        self._address, self._clock, self._observer, self._seconds = address, clock, observer, seconds
        self.breaker = Breaker(clock, observer)
        self._capacity = anyio.Semaphore(_MOST_CONNECTIONS)
        self._idle: list[tuple[RedisConnection, float]] = []
        self._logged_at: dict[str, float] = {}
        """When each reason of a failure was logged last."""

    async def run(self, script: LuaScript, keys: list[str], *arguments: RedisArgument, length: int = 0) -> Any:
        """Run a script; `length`: bytes that are sent and returned, if there are many.

        Raises:
            RedisUnavailable: the server did not run it, or its answer did not arrive.

        """

        async def use(connection: RedisConnection) -> Any:
            return await evaluate(connection, script, keys, *arguments)

        return await self.call(use, length / _BYTES_PER_SECOND)

    async def run_all(self, calls: Sequence[ScriptCall], length: int) -> list[Any]:
        """Run scripts one after the other, in one round trip; `length`: bytes that are sent.

        Raises:
            RedisUnavailable: the server did not run one of them, or the answers did not arrive.

        """

        async def use(connection: RedisConnection) -> list[Any]:
            return await evaluate_all(connection, calls)

        return await self.call(use, length / _BYTES_PER_SECOND)

    async def call(self, use: Callable[[RedisConnection], Awaitable[ResultT]], more_seconds: float = 0.0) -> ResultT:
        """Use a connection from the pool, unless the breaker is open; raise as `run`."""
        if self.breaker.is_open:
            raise RedisUnavailable(self._address.name, OPEN)
        try:
            answer = await self._with_connection(use, self._seconds + more_seconds)
        except RedisUnavailable as error:
            self.breaker.fail(timed_out=error.reason == TIMEOUT)
            self._log_failure(error.reason)
            raise
        self.breaker.succeed()
        return answer

    async def probe(self) -> bool:
        """Ask the server for its state, even if the breaker is open; return whether it can be used."""

        async def use(connection: RedisConnection) -> bytes:
            return await connection.send("INFO")

        self._close_idle()
        try:
            info = await self._with_connection(use, self._seconds)
        except RedisUnavailable as error:
            self._log_failure(error.reason)
            return False
        lines = (line.partition(":") for line in info.decode("utf-8", "replace").splitlines())
        facts = {name: value for name, _, value in lines}
        if facts.get("loading", "0") != "0":
            self._log_failure("LOADING")
            return False
        if facts.get("role") == "slave":
            self._log_failure("READONLY")
            return False
        self._logged_at.clear()
        evicts = facts.get("maxmemory", "0") != "0" and facts.get("maxmemory_policy", "noeviction") != "noeviction"
        self._observer.store_evicts(evicts=evicts)
        version = facts.get("valkey_version") or facts.get("redis_version")
        _log.info("store_connected", address=self._address.name, version=version, role=facts.get("role"))
        if evicts:
            _log.error(
                "store_eviction_enabled",
                policy=facts["maxmemory_policy"],
                advice="sessions, locks and licenses may be lost: set maxmemory-policy to noeviction",
            )
        return True

    async def close(self) -> None:
        """Close all connections."""
        self._close_idle()
        await anyio.lowlevel.checkpoint()  # transports close in the loop's next iteration

    async def _with_connection(self, use: Callable[[RedisConnection], Awaitable[ResultT]], seconds: float) -> ResultT:
        """Use a connection from the pool, even if the breaker is open.

        Raises:
            RedisUnavailable: it failed.

        """
        try:
            try:
                self._capacity.acquire_nowait()
            except anyio.WouldBlock:
                with anyio.fail_after(seconds):
                    await self._capacity.acquire()
            try:
                return await self._call(await self._connection(seconds), use, seconds)
            finally:
                self._capacity.release()
        except (RedisError, OSError, EOFError, ValueError) as error:
            reason = reason_of(error)
        raise RedisUnavailable(self._address.name, reason) from None

    async def _connection(self, seconds: float) -> RedisConnection:
        """Return an open connection: an idle one, or a new one."""
        while self._idle:
            connection, since = self._idle.pop()
            if connection.is_open and self._clock.monotonic() - since < _IDLE_SECONDS:
                return connection
            connection.abort()
        kind = TlsRedisConnection if self._address.tls else RedisConnection
        connection = kind(**self._address.options, protocol=2, socket_timeout=None, socket_connect_timeout=None)
        try:
            with anyio.fail_after(seconds):
                await connection.open()
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _call(
        self, connection: RedisConnection, use: Callable[[RedisConnection], Awaitable[ResultT]], seconds: float
    ) -> ResultT:
        """Use a connection within `seconds`; keep it for the next call only if its answer was read completely."""
        complete = False
        timer = asyncio.get_running_loop().call_later(seconds, connection.abort, TimeoutError())
        try:
            answer = await use(connection)
            complete = True
        except ResponseError:
            complete = connection.is_open
            raise
        finally:
            timer.cancel()
            if complete and connection.is_open:
                self._idle.append((connection, self._clock.monotonic()))
            else:
                connection.abort()
        return answer

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop()[0].abort()

    def _log_failure(self, reason: str) -> None:
        now = self._clock.monotonic()
        if now - self._logged_at.get(reason, -_LOG_SECONDS) >= _LOG_SECONDS:
            self._logged_at[reason] = now
            _log.warning("store_failed", address=self._address.name, reason=reason)


async def evaluate(connection: RedisConnection, script: LuaScript, keys: list[str], *arguments: RedisArgument) -> Any:
    """Run a script by its digest; send its text if the server does not know it yet."""
    given = (len(keys), *keys, *arguments)
    try:
        return await connection.send("EVALSHA", script.digest, *given)
    except NoScriptError:
        return await connection.send("EVAL", script.text, *given)


async def evaluate_all(connection: RedisConnection, calls: Sequence[ScriptCall]) -> list[Any]:
    """Run scripts by their digests in one round trip; a second one sends the texts that the server does not know yet.

    Raises:
        ResponseError: the server refused one of them.

    """
    arguments = [(len(call.keys), *call.keys, *call.arguments) for call in calls]
    answers = await connection.send_all(
        [("EVALSHA", call.script.digest, *given) for call, given in zip(calls, arguments, strict=True)]
    )
    unknown = [number for number, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
    if unknown:
        texts = [("EVAL", calls[number].script.text, *arguments[number]) for number in unknown]
        for number, answer in zip(unknown, await connection.send_all(texts), strict=True):
            answers[number] = answer
    for answer in answers:
        if isinstance(answer, ResponseError):
            raise answer
    return answers
