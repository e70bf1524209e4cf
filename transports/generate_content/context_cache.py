"""Caches the beginnings of requests that come again and again, in the projects that answer them.

Theory of operation. The store counts how often the paid accounts of all processes were sent a beginning
(`context_prefix`). When one comes often enough, the account that has just been sent it caches it in the background: one
process claims it first, by a record that holds no name yet. Following requests with the same beginning name the cache
and send the rest only. Each use of a cache that has lived for half its time extends it; one that is not used
expires, at the API and, a little earlier, in the store. A refused cache counts as one that must not be made again for
a while.

The store has digests and names only.

Source: "Context caching".
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from hashlib import blake2b

import anyio
import anyio.abc
import anyio.to_thread
import msgspec
import structlog

from protocol.model import FileKeeper, GatewayError, UpstreamFailed
from transports.generate_content import wire
from transports.generate_content.api_client import ApiClient
from transports.generate_content.config import ContextCaching
from transports.generate_content.context_prefix import Prefix
from transports.store.port import CONTEXT_CACHES, Change, Records

_NAME = re.compile(r"(projects/[a-z0-9.:-]+/locations/[a-z0-9-]+/)?cachedContents/[A-Za-z0-9_-]{1,128}")
_JSON = {"Content-Type": "application/json"}
_CREATE_SECONDS = 120.0
_MARGIN_SECONDS = 15.0
"""How much earlier a cache expires in the store, so that it is not used while it ends."""
_LONGER = 2
"""A cache is replaced by one of at least this many times its tokens."""
_COPIES, _TOKEN_BYTES = 3, 4
"""The peak memory of contents, in multiples of their size; the bytes of a token."""
_log = structlog.get_logger()


class CachePlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where a project has its caches."""

    base: str
    """The address that names are added to."""
    models: str
    """What the names of its models begin with."""
    parent: str = ""
    """What the names of its caches begin with."""
    project: str
    """Names the project in the store; not secret, and printable."""


class CacheDeps(msgspec.Struct, frozen=True, kw_only=True):
    """What caches are made with."""

    records: Records
    keeper: FileKeeper
    """Reserves the memory of contents that are sent."""
    count: Callable[[str], None]
    """Counts an event of a cache: created, extended, used, refused or lost."""


class KnownPrefixes(msgspec.Struct, frozen=True):
    """The beginnings of a request, and what the store knows of each."""

    prefixes: tuple[Prefix, ...]
    """The shortest first."""
    times: Mapping[str, int]
    """How often each was sent lately, by its digest."""
    names: Mapping[str, tuple[str, float]]
    """Name and seconds left of caches, by `key_of`; an empty name: it is being made, or must not be."""

    def cached(self, project: str) -> Prefix | None:
        """Return the longest beginning that a project has cached."""
        found = (prefix for prefix in reversed(self.prefixes) if self.names.get(key_of(prefix, project), ("", 0.0))[0])
        return next(found, None)


def digest_of(project: str) -> str:
    """Return a digest that names a project in the store."""
    return blake2b(project.encode(), digest_size=12).hexdigest()


def key_of(prefix: Prefix, project: str) -> str:
    """Return the key of the record of a cache."""
    return f"{prefix.digest}/{project}"


async def known_prefixes(records: Records, prefixes: tuple[Prefix, ...], projects: Sequence[str]) -> KnownPrefixes:
    """Read what the store knows of beginnings, and of their caches in projects.

    Raises:
        OSError: the store failed.

    """
    keys = [*(prefix.digest for prefix in prefixes), *(key_of(one, name) for one in prefixes for name in projects)]
    times: dict[str, int] = {}
    names: dict[str, tuple[str, float]] = {}
    for record in await records.get_many(CONTEXT_CACHES, keys):
        text = record.value.decode()
        if "/" in record.key:
            names[record.key] = text, record.seconds or 0.0
        elif text.isdecimal():
            times[record.key] = int(text)
    return KnownPrefixes(prefixes, times, names)


class ContextCaches:
    """The caches of one account's project."""

    def __init__(
        self,
        config: ContextCaching,
        api: ApiClient,
        place: CachePlace,
        deps: CacheDeps,
    ) -> None:
        """Make caches by `api`."""
        self._config, self._api, self._place = config, api, place
        self._records, self._keeper, self._count = deps.records, deps.keeper, deps.count
        self.project = place.project
        self._tasks: anyio.abc.TaskGroup | None = None
        self._busy: set[str] = set()
        """The keys of caches that this process is making or extending."""

    async def run(self) -> None:
        """Do background work until cancelled."""
        try:
            async with anyio.create_task_group() as self._tasks:
                await anyio.sleep_forever()
        finally:
            self._tasks = None  # requests of a removed account may go on

    def used(self, known: KnownPrefixes, prefix: Prefix) -> str:
        """Return the name of a cache that is about to be used; extend it if it has lived for half its time."""
        name, left = known.names[key_of(prefix, self.project)]
        self._count("used")
        if left < self._config.ttl_seconds / 2:
            self._start(key_of(prefix, self.project), partial(self._extend, key_of(prefix, self.project), name))
        return name

    async def lost(self, prefix: Prefix) -> None:
        """Note that the API refused a cache: no process uses it, and none makes it again for a while."""
        self._count("lost")
        await self._forbid(key_of(prefix, self.project))

    def sent(self, known: KnownPrefixes) -> Prefix | None:
        """Count the beginnings of a request that was sent; return the one to cache now."""
        times = {prefix.digest: known.times.get(prefix.digest, 0) + 1 for prefix in known.prefixes}
        self._start("", partial(self._note, times))
        cached = known.cached(self.project)
        least = _LONGER * cached.tokens if cached is not None else 0
        for prefix in reversed(known.prefixes):
            if prefix.tokens < least:
                return None
            if times[prefix.digest] >= self._config.after and key_of(prefix, self.project) not in known.names:
                return prefix
        return None

    def create(self, prefix: Prefix, model: str, message: wire.GenerateContentRequest, owner: str) -> None:
        """Cache the beginning of a request of a license, given as a request of its own, in the background."""
        contents = wire.CachedContent(
            model=f"{self._place.models}{model}",
            contents=message.contents,
            system_instruction=message.system_instruction,
            tools=message.tools,
            tool_config=message.tool_config,
            ttl=_ttl(self._config.ttl_seconds),
        )
        key = key_of(prefix, self.project)
        blobs = (part.inline_data for content in message.contents for part in content.parts)
        size = _TOKEN_BYTES * prefix.tokens + sum(len(blob.data) for blob in blobs if blob is not None)

        async def create() -> None:
            async with self._keeper.reserved(_COPIES * size, owner=owner):
                await self._create(key, contents)

        self._start(key, create)

    def _start(self, key: str, work: Callable[[], Awaitable[None]]) -> None:
        if self._tasks is None or key in self._busy:
            return

        async def run() -> None:
            try:
                await work()
            except (OSError, GatewayError, msgspec.MsgspecError) as error:
                _log.warning("context_cache_failed", project=self.project, error=type(error).__name__)
            finally:
                self._busy.discard(key)

        self._busy |= {key} - {""}
        self._tasks.start_soon(run)

    async def _note(self, times: Mapping[str, int]) -> None:
        seconds = self._config.within_seconds
        await self._records.write(
            [
                Change(collection=CONTEXT_CACHES, key=digest, value=str(count).encode(), seconds=seconds)
                for digest, count in times.items()
            ]
        )

    async def _create(self, key: str, contents: wire.CachedContent) -> None:
        claimed = await self._records.put(CONTEXT_CACHES, key, b"", expected=0, seconds=_CREATE_SECONDS)
        if claimed is None:
            return
        try:
            body = await anyio.to_thread.run_sync(msgspec.json.encode, contents)
            name = await self._sent("POST", f"{self._place.base}{self._place.parent}cachedContents", body)
        except (GatewayError, msgspec.MsgspecError):
            self._count("refused")
            await self._forbid(key)
            raise
        await self._keep(key, name)
        self._count("created")

    async def _extend(self, key: str, name: str) -> None:
        body = msgspec.json.encode({"ttl": _ttl(self._config.ttl_seconds)})
        await self._sent("PATCH", f"{self._place.base}{name}", body)
        await self._keep(key, name)
        self._count("extended")

    async def _sent(self, method: str, url: str, body: bytes) -> str:
        _, answer = await self._api.send(method, url, headers=_JSON, data=body, seconds=_CREATE_SECONDS)
        name = msgspec.json.decode(answer, type=wire.CachedContent).name
        if not _NAME.fullmatch(name):
            raise UpstreamFailed("The upstream's answer names no cached contents.")
        return name

    async def _keep(self, key: str, name: str) -> None:
        seconds = self._config.ttl_seconds - _MARGIN_SECONDS
        await self._records.put(CONTEXT_CACHES, key, name.encode(), seconds=seconds)

    async def _forbid(self, key: str) -> None:
        with suppress(OSError):
            await self._records.put(CONTEXT_CACHES, key, b"", seconds=self._config.within_seconds)


def _ttl(seconds: float) -> str:
    return f"{seconds:.0f}s"
