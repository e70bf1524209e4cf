"""Keeps the thought signatures of calls, because clients of other dialects do not send them back.

A signature is valid for the account that got it, so the account is kept, too, and is asked again. A signature is found
by the id of its call and the license that got it: first in the memory of this process, then in
the store, which other processes read. One that is lost does little harm: the call is sent with the literal that the API
does not check.

Source: "Thinking".
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
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
        """The account and the signature of a call, in two lines; empty: it has none."""

    async def keep(self, owner: str, account: str, signatures: Mapping[str, str]) -> None:
        """Keep the signatures that an account got for calls, by the ids of the calls; `owner` is the license's."""
        if not signatures:
            return
        found = {_key(owner, call): f"{account}\n{signature}" for call, signature in signatures.items()}
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
        found = await self._find(owner, calls)
        return {call: signature for call, (_, signature) in found.items() if signature}

    async def account_of(self, owner: str, calls: Iterable[ToolCall]) -> str:
        """Return the account that got the first known signature of the calls; empty: none is known."""
        return next((account for account, _ in (await self._find(owner, calls)).values() if account), "")

    def keep_text(self, owner: str, account: str, signature: str) -> None:
        """Remember who got the signature of a text, which clients carry themselves.

        It is kept in this process only: the API recommends these signatures and checks none.
        """
        self._remember({_key(owner, _text_id(signature)): account})

    def texts_of(self, owner: str, account: str, signatures: Iterable[str]) -> frozenset[str]:
        """Return the signatures of texts that an account is known to have got."""
        return frozenset(one for one in signatures if self._known.get(_key(owner, _text_id(one))) == account)

    async def _find(self, owner: str, calls: Iterable[ToolCall]) -> dict[str, tuple[str, str]]:
        """Return account and signature by the ids of the calls. That a call has none is remembered as well."""
        keys = {call.id: _key(owner, call.id) for call in calls}
        missing = [key for key in keys.values() if key not in self._known]
        if missing:
            with suppress(OSError):
                records = await self._records.get_many(SIGNATURES, missing)
                self._remember(dict.fromkeys(missing, "") | {record.key: record.value.decode() for record in records})
        found: dict[str, tuple[str, str]] = {}
        for call, key in keys.items():
            account, _, signature = self._known.get(key, "").partition("\n")
            found[call] = account, signature
            if key in self._known:
                self._known.move_to_end(key)
        return found

    def _remember(self, found: Mapping[str, str]) -> None:
        self._known |= found
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)


def _text_id(signature: str) -> str:
    return f"text {blake2b(signature.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


def _key(owner: str, call: str) -> str:
    return blake2b(f"{owner}\n{call}".encode("utf-8", "surrogatepass"), digest_size=24).hexdigest()
