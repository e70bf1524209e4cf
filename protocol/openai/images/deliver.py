"""Delivers images of the upstream to the caller: as a signed link, or as bytes."""

from protocol.http.context import RequestContext
from protocol.http.stream import CountedStep
from protocol.model import Caller, Content, Engine, viewed
from protocol.openai.files import picture_size
from protocol.openai.images.draw import Drawn
from protocol.openai.images.read import Wanted

_MIMES = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}


class Delivered(CountedStep, frozen=True, kw_only=True):
    """An image that is ready for the response; unknown fields are None."""

    url: str | None = None
    content: Content | None = None
    """The image, if the response contains it."""
    size: tuple[int, int] | None
    format: str | None
    revised_prompt: str

    def __repr__(self) -> str:
        """Return a text without link and content."""
        return f"Delivered(size={self.size}, format={self.format})"


class Delivery:
    """Delivers the images of one request."""

    def __init__(self, engine: Engine, context: RequestContext, caller: Caller, wanted: Wanted) -> None:
        """Deliver images in the form that `wanted` describes."""
        self._engine, self._context, self._caller, self._wanted = engine, context, caller, wanted

    async def deliver(self, drawn: Drawn) -> Delivered:
        """Deliver one image.

        Raises:
            GatewayError: the image cannot be fetched, or is not an image.

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
