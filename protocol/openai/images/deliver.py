"""From a picture at the upstream to what the caller gets: a link, or the bytes."""

import msgspec

from protocol.http.context import RequestContext
from protocol.model import Caller, Content, Engine, Usage, viewed
from protocol.openai.files import picture_size
from protocol.openai.images.draw import Drawn
from protocol.openai.images.read import Wanted

_MIMES = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """A picture, ready for the answer; what is not known of it is None."""

    url: str | None = None
    content: Content | None = None
    """The picture, where the answer holds it."""
    size: tuple[int, int] | None
    format: str | None
    revised_prompt: str
    usage: Usage

    def __repr__(self) -> str:
        """Show neither link nor content."""
        return f"Delivered(size={self.size}, format={self.format})"


class Delivery:
    """Brings pictures to one caller."""

    def __init__(self, engine: Engine, context: RequestContext, caller: Caller, wanted: Wanted) -> None:
        """Bring them as `wanted` says."""
        self._engine, self._context, self._caller, self._wanted = engine, context, caller, wanted

    async def deliver(self, drawn: Drawn) -> Delivered:
        """Bring one.

        Raises:
            GatewayError: it cannot be had, or is no picture.

        """
        media, look = drawn.media, self._wanted.look
        revised = media.revised_prompt
        if not self._wanted.inline:
            url = self._context.links.sign(media.ref, self._caller, look)
            return Delivered(url=url, size=look.size, format=look.format, revised_prompt=revised, usage=drawn.usage)
        from protocol.http.picture import fitted, whole_picture

        async with self._engine.media(media.ref, look.rendition) as stream:
            data = await whole_picture(stream, self._context)
        data, mime = await fitted(data, look, self._context)
        with viewed(data) as view:
            size = picture_size(view)
        return Delivered(
            content=data,
            size=size,
            format=_MIMES[mime],
            revised_prompt=revised,
            usage=drawn.usage,
        )
