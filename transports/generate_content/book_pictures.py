"""Draws the pictures of a storybook with the image models of the account that writes it.

Source: "Images".
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack

import msgspec
import structlog

from protocol.model import (
    NO_OPTIONS,
    Capability,
    Finish,
    GatewayError,
    GenerationRequest,
    Media,
    NotIncluded,
    Role,
    TextPart,
    Turn,
    UpstreamModel,
)
from transports.generate_content.accounts import ModelAccount
from transports.generate_content.config import ModelsConfig
from transports.generate_content.errors import ModelMissing
from transports.generate_content.kept_media import KeptMedia
from transports.generate_content.model_call import CallDeps, ModelCall
from transports.generate_content.storybook import DrawnPage
from transports.store.blobs import Blobs

_log = structlog.get_logger()


class BookPictures:
    """Draws for one book."""

    def __init__(
        self, config: ModelsConfig, account: ModelAccount, request: GenerationRequest, deps: CallDeps, blobs: Blobs
    ) -> None:
        """Draw for the book of a request."""
        self._config, self._account, self._request = config, account, request
        self._deps, self._blobs = deps, blobs
        self.models: Sequence[UpstreamModel] = ()
        """The first of these models that the account has draws."""

    async def draw(self, description: str) -> DrawnPage:
        """Draw a picture; one that fails costs its book nothing else. See `transports.generate_content.storybook`."""
        turn = Turn(role=Role.USER, parts=(TextPart(description),))
        book = msgspec.structs.replace(self._request, turns=(turn,), options=NO_OPTIONS, streamed=False)
        drawing = msgspec.structs.replace(book.selection, capability=Capability.IMAGEN, extended=False)
        request = msgspec.structs.replace(book, selection=drawing)
        for model in self.models:
            try:
                return await self._drawn(model, book, request)
            except (NotIncluded, ModelMissing):
                continue
            except GatewayError as error:
                _log.warning("book_picture_failed", request=request.id, code=error.code)
                break
        return DrawnPage()

    async def _drawn(self, model: UpstreamModel, book: GenerationRequest, request: GenerationRequest) -> DrawnPage:
        transport, account = self._account.account.transport, self._account.account.id
        media = KeptMedia(self._blobs, transport, account, book)
        deps = msgspec.structs.replace(self._deps, media=media)
        found = DrawnPage()
        async with AsyncExitStack() as stack:
            exchange = await ModelCall(self._config, self._account, model, deps).open(stack, request, transport)
            async for event in exchange.events:
                if isinstance(event, Media) and found.media is None:
                    found = msgspec.structs.replace(found, media=event)
                elif isinstance(event, Finish):
                    found = msgspec.structs.replace(found, usage=event.usage)
        return found
