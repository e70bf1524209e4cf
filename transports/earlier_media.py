"""Fetches media of earlier answers as files, so that any transport can send them, whichever one has made them."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from protocol.model import (
    BadRequest,
    FileKeeper,
    FilePart,
    GatewayError,
    MediaKind,
    MediaRef,
    MediaStream,
    MediaUnavailable,
    Saturated,
    TooLong,
)

OpenMedia = Callable[[MediaRef], AbstractAsyncContextManager[MediaStream]]
_LONGEST_MEDIA = 256 * 1024 * 1024


class EarlierMediaGone(BadRequest):
    """A file of an earlier answer cannot be sent again, now or later."""

    code = "media_gone"

    def __init__(self, message: str) -> None:
        """Blame the messages, which name the file."""
        super().__init__(message, param="messages")


class EarlierMedia:
    """Fetches media of earlier answers."""

    def __init__(self, open_media: OpenMedia, keeper: FileKeeper) -> None:
        """Open media by `open_media`, and collect them within the budgets of `keeper`."""
        self._open, self._keeper = open_media, keeper

    @asynccontextmanager
    async def fetched(self, ref: MediaRef, owner: str) -> AsyncGenerator[FilePart]:
        """Fetch a file for a license (`owner`); its memory is reserved until the context ends.

        Raises:
            EarlierMediaGone: it was deleted or has expired, or is too long.
            MediaUnavailable: it cannot be fetched now.
            Saturated: memory or disk space for files is used up.

        """
        async with AsyncExitStack() as stack:
            try:
                async with self._open(ref) as stream:
                    collecting = self._keeper.collected(stream, owner=owner, most=_LONGEST_MEDIA)
                    content = await stack.enter_async_context(collecting)
                    mime = stream.mime
            except Saturated:
                raise
            except TooLong:
                raise EarlierMediaGone(_message(ref, "is too long to be sent again")) from None
            except GatewayError as error:
                if error.code == "media_gone":
                    raise EarlierMediaGone(_message(ref, "is no longer available")) from None
                raise MediaUnavailable(_message(ref, "cannot be fetched now")) from None
            if isinstance(content, bytes):
                yield FilePart(data=content, mime=mime, name=str(ref.kind))
            else:
                yield FilePart(stored=content, mime=mime, name=str(ref.kind))


def _message(ref: MediaRef, problem: str) -> str:
    name = "picture" if ref.kind is MediaKind.IMAGE else str(ref.kind)
    return f"The {name} of an earlier turn {problem}. Send it as a file instead."
