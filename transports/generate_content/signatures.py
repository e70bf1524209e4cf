"""Keeps the thought signatures of calls, because clients of other dialects do not send them back.

A signature is found by the id of its call and the license that got it: first in the memory of this process, then in
the store, which other processes read. One that is lost does little harm: the call is sent with the literal that the API
does not check.

Source: "Thinking".
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from hashlib import blake2b

import structlog

from protocol.model import ToolCall
from transports.store import Change, Records
from transports.store.port import SIGNATURES

_KEPT_SECONDS = 2 * 86400.0
_MOST_KNOWN = 10_000

_log = structlog.get_logger()


class Signatures:
    """The signatures of all calls of the last days."""

    def __init__(self, records: Records) -> None:
        """Keep them in the records of the store, too."""
        self._records = records
        self._known: OrderedDict[str, str] = OrderedDict()

    async def keep(self, owner: str, signatures: Mapping[str, str]) -> None:
        """Keep the signatures of an answer's calls, by the ids of the calls; `owner` is the license's."""
        if not signatures:
            return
        found = {_key(owner, call): signature for call, signature in signatures.items()}
        self._remember(found)
        changes = [
            Change(collection=SIGNATURES, key=key, value=signature.encode(), seconds=_KEPT_SECONDS)
            for key, signature in found.items()
        ]
        try:
            await self._records.write(changes)
        except OSError:
            _log.warning("signatures_write_failed")

    async def of(self, owner: str, calls: Iterable[ToolCall]) -> dict[str, str]:
        """Return the known signatures by the ids of the calls."""
        found: dict[str, str] = {}
        for call in calls:
            signature = await self._find(_key(owner, call.id))
            if signature:
                found[call.id] = signature
        return found

    async def _find(self, key: str) -> str:
        """Return a signature; empty: not known. That a call has none is remembered as well."""
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        try:
            record = await self._records.get(SIGNATURES, key)
        except OSError:
            return ""
        signature = record.value.decode() if record is not None else ""
        self._remember({key: signature})
        return signature

    def _remember(self, found: Mapping[str, str]) -> None:
        self._known |= found
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)


def _key(owner: str, call: str) -> str:
    return blake2b(f"{owner}\n{call}".encode("utf-8", "surrogatepass"), digest_size=24).hexdigest()
