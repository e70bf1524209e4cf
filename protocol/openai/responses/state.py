"""Stored responses, and the conversations that they make: each is stored with its own input and its predecessor's id.

A request that names a previous response gets the whole conversation: the input and output of every response of the
chain, and then its own input. The id of an item contains the id of its response, so that a reference to an item finds
it without an index.
"""

import binascii
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

import anyio.to_thread
import msgspec

from protocol.http.body import encode_json
from protocol.http.context import ImageFormat, RequestContext, caller_of
from protocol.http.errors import HttpError
from protocol.http.long_strings import LongString
from protocol.model import BadRequest, MediaRef
from protocol.openai.responses import wire
from protocol.openai.responses.output_wire import ModelResponse, OutputPicture
from protocol.openai.responses.read import PlacedItem
from protocol.openai.responses.write import item_id

_OWNER = re.compile(r"[a-z]+_([0-9a-f]{48})i?[0-9a-f]+\Z")
"""The id of an item, with the part that identifies its response."""
_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "image_generation_call": "ig",
}
_COPIES = 4
"""The peak memory for storing a response, in multiples of the size of the long files of its input."""
_READ_COPIES = 2
"""The peak memory for reading a response, in multiples of its size."""
_SMALL_BYTES = 64 * 1024
"""Up to this size a response is read without reserving memory, like a body."""
_UNFINISHED = frozenset({"queued", "in_progress"})


class StoredResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A response as it is stored."""

    response: ModelResponse
    """Without the content of its pictures, which stay upstream."""
    input: list[wire.InputItem]
    """The input of its request, without that of earlier responses; every item has an id."""
    media: dict[str, MediaRef] = {}
    """The pictures of the output, by the ids of their items."""
    pictures: ImageFormat | None = None
    """The format of pictures that are items; None: pictures are links in the text."""

    @property
    def finished(self) -> bool:
        """Whether the response has ended."""
        return self.response.status not in _UNFINISHED


Settle = Callable[[StoredResponse], Awaitable[StoredResponse]]
"""Returns a response in the background in its current state."""

_decode = msgspec.json.Decoder(StoredResponse).decode


class ConversationState:
    """The stored responses of the license of one request."""

    def __init__(self, context: RequestContext, settle: Settle) -> None:
        """Read and write in the store of `context`; `settle` brings responses in the background up to date."""
        self._context, self._owner, self._settle = context, caller_of(context).owner, settle
        self._found: dict[str, StoredResponse | None] = {}
        self._reserved = 0
        """The bytes reserved for texts; as many are reserved for the files that are decoded from them."""

    async def find(self, response_id: str) -> StoredResponse | None:
        """Return a response, or None; each is read once.

        Raises:
            HttpError: the responses that this request reads are too large together (413).
            Saturated: the store failed, or the memory budget is full.

        """
        if response_id not in self._found:
            body = await self._context.responses.get(self._owner, response_id)
            if body is not None and len(body) > _SMALL_BYTES:
                await self._context.reserved().add(_READ_COPIES * len(body))
                self._reserved += len(body)
            try:
                stored = _decode(body) if body is not None else None
            except msgspec.ValidationError:
                raise
            except msgspec.DecodeError:  # a lone surrogate, which only an escape can carry
                stored = msgspec.convert(json.loads(body or b""), StoredResponse)
            self._found[response_id] = await self._settle(stored) if stored and not stored.finished else stored
        return self._found[response_id]

    def drop(self) -> None:
        """Forget the responses that were read, and give back the memory of their texts."""
        self._found.clear()
        self._context.reserved().lower_by(self._reserved)
        self._reserved = 0

    async def history(self, response_id: str | None) -> list[PlacedItem]:
        """Return the conversation that ends with a response; None or an empty id: an empty one.

        Raises:
            HttpError: a response of the chain is not stored (404), or has not ended (400).

        """
        chain: list[StoredResponse] = []
        while response_id:
            stored = await self.find(response_id)
            if stored is None:
                raise _previous(404, f"The previous response '{response_id}' is not stored: send the conversation.")
            if not stored.finished:
                raise _previous(
                    400, f"The previous response '{response_id}' has not ended: wait for its end.", "not_finished"
                )
            chain.append(stored)
            response_id = stored.response.previous_response_id
        items = [item for stored in reversed(chain) for item in (*stored.input, *self._output(stored))]
        if len(items) > wire.MOST_ITEMS:
            raise _previous(
                400, f"The conversation has more than {wire.MOST_ITEMS} items: begin a new one.", "too_long"
            )
        return [PlacedItem(item, f"previous_response_id[{index}]") for index, item in enumerate(items)]

    def _output(self, stored: StoredResponse) -> list[wire.InputItem]:
        """Return the output of a response as input, with fresh links to its pictures."""
        items = msgspec.convert(msgspec.to_builtins(stored.response.output), list[wire.InputItem])
        links, caller = self._context.links, caller_of(self._context)
        return [
            msgspec.structs.replace(item, url=links.sign(ref, caller))
            if item.id is not None and (ref := stored.media.get(item.id)) is not None
            else item
            for item in items
        ]

    async def resolved(self, items: Sequence[wire.InputItem]) -> list[wire.InputItem]:
        """Return items with those that are references replaced by what they refer to.

        Raises:
            HttpError: a referenced item is not stored (404).

        """
        found: list[wire.InputItem] = []
        for index, item in enumerate(items):
            identity = item.id or ""
            if not item.is_reference:
                found.append(item)
            elif identity.startswith("rs_"):
                found.append(wire.InputItem(type="reasoning", id=identity))
            else:
                owner = _OWNER.match(identity)
                stored = await self.find(f"resp_{owner[1]}") if owner is not None else None
                known = (*stored.input, *self._output(stored)) if stored is not None else ()
                named = next((one for one in known if one.id == identity), None)
                if named is None:
                    error = HttpError(404, "item_not_found", f"The item '{identity}' is not stored: send the item.")
                    error.param = f"input[{index}]"
                    raise error
                found.append(named)
        return found


async def save(context: RequestContext, stored: StoredResponse) -> None:
    """Store a response with the files of its input, but without the content of its pictures.

    Raises:
        Saturated: the store failed.

    """
    output = [
        msgspec.structs.replace(item, result=None) if isinstance(item, OutputPicture) else item
        for item in stored.response.output
    ]
    items, long_strings = stored.input, context.long_strings
    if long_strings:
        size = sum(string.file.size for string in long_strings.values() if string.file is not None)
        await context.reserved().raise_to(min(_COPIES * size, context.memory.total))
        items = await anyio.to_thread.run_sync(with_files, items, long_strings)
    response = msgspec.structs.replace(stored.response, output=output)
    slim = msgspec.structs.replace(stored, response=response, input=items)
    await context.responses.put(caller_of(context).owner, stored.response.id, encode_json(slim))


def _previous(status: int, message: str, problem: str = "not_found") -> BadRequest:
    error = HttpError(status, f"previous_response_{problem}", message)
    error.param = "previous_response_id"
    return error


def named_input(response_id: str, items: Sequence[wire.InputItem]) -> list[wire.InputItem]:
    """Return the input of a response with an id for every item."""
    places = [item_id(_PREFIXES.get(item.type, "item"), response_id, f"i{n:x}") for n, item in enumerate(items)]
    return [
        item if item.id else msgspec.structs.replace(item, id=place) for item, place in zip(items, places, strict=True)
    ]


def with_files(items: Sequence[wire.InputItem], long_strings: Mapping[str, LongString]) -> list[wire.InputItem]:
    """Put the long strings, which were decoded into files while the body arrived, back into items."""

    def whole(text: str | None) -> str | None:
        long = long_strings.get(text) if text is not None else None
        if long is None or long.file is None:
            return text
        return long.head + binascii.b2a_base64(long.file.whole(), newline=False).decode()

    def filled(content: wire.InputContent | None) -> wire.InputContent | None:
        if not isinstance(content, list):
            return content
        images = [p.image_url if isinstance(p.image_url, str | None) else p.image_url.url for p in content]
        return [
            msgspec.structs.replace(part, image_url=whole(image), file_data=whole(part.file_data))
            for part, image in zip(content, images, strict=True)
        ]

    return [msgspec.structs.replace(item, content=filled(item.content), output=filled(item.output)) for item in items]
