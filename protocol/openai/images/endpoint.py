"""The endpoints `POST /images/generations` and `POST /images/edits`."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from protocol.http.context import RequestContext, caller_of
from protocol.http.ignored import Notices
from protocol.http.operation import Answer, Operation
from protocol.http.parallel import gather
from protocol.model import Engine, GenerationRequest, Selection, Served
from protocol.openai.images import wire, write
from protocol.openai.images.draw import Drawing, Drawn, drawing
from protocol.openai.images.inputs import FormFiles, Inputs, read_edit, read_generation, take_inputs
from protocol.openai.images.read import ImageOptions, admit_pictures, read_options, select

_MIMES = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}


Edit = tuple[wire.Edit, FormFiles]
PicturesAnswer = Answer[write.Delivered, write.Pictures]


async def _generate(
    engine: Engine, body: wire.Generation, selection: Selection, context: RequestContext
) -> PicturesAnswer:
    options = read_options(body, selection, context.query, context.api.image_form)
    return _answer(engine, options, Inputs(pictures=()), context, "image_generation.completed")


async def _edit(engine: Engine, body: Edit, selection: Selection, context: RequestContext) -> PicturesAnswer:
    fields, files = body
    options = read_options(fields, selection, context.query, context.api.image_form)
    admit_pictures(selection, engine.catalogue)
    inputs = await take_inputs(fields, files, context)
    return _answer(engine, options, inputs, context, "image_edit.completed")


GENERATE = Operation(
    read=read_generation, select=lambda body, catalogue, caller: select(body.model, catalogue, caller), answer=_generate
)
EDIT = Operation(
    read=read_edit, select=lambda body, catalogue, caller: select(body[0].model, catalogue, caller), answer=_edit
)
VARY = Operation(read=lambda request: read_edit(request, wire.VARIATIONS), select=EDIT.select, answer=_edit)


def _answer(
    engine: Engine, options: ImageOptions, inputs: Inputs, context: RequestContext, kind: write.EventType
) -> PicturesAnswer:
    request = options.request(context, inputs)
    return Answer(
        request=request,
        exchange=_delivered(engine, request, options, context),
        writer=write.PictureWriter(kind, options, context.created),
        fold=write.collect_pictures,
        streamed=options.stream,
        notices=Notices(lambda _: options.ignored, context.api),
    )


@asynccontextmanager
async def _delivered(
    engine: Engine, request: GenerationRequest, options: ImageOptions, context: RequestContext
) -> AsyncGenerator["_DeliveredPictures"]:
    async with drawing(engine, request) as begun:
        yield _DeliveredPictures(begun, engine, context, options)


class _DeliveredPictures:
    """The images of a drawing as links or bytes; those of each turn are delivered when it ends."""

    def __init__(self, drawing: Drawing, engine: Engine, context: RequestContext, options: ImageOptions) -> None:
        self._drawing, self._engine, self._context, self._options = drawing, engine, context, options

    @property
    def served(self) -> Served:
        return self._drawing.served

    async def __aiter__(self) -> AsyncIterator[write.Delivered]:
        async for drawn in self._drawing.pictures(self._options.n):
            for one in await gather([partial(self._deliver, one) for one in drawn]):
                yield one

    async def _deliver(self, drawn: Drawn) -> write.Delivered:
        """Sign a link to an image, or fetch it.

        Raises:
            GatewayError: the image cannot be fetched, or is not an image.

        """
        media, image_format, context = drawn.media, self._options.image_format, self._context
        revised = media.revised_prompt
        url = context.links.sign(media.ref, caller_of(context), image_format) if self._options.linked else None
        if not self._options.inline:
            return write.Delivered(
                url=url,
                size=image_format.size,
                format=image_format.format,
                revised_prompt=revised,
                usage=drawn.usage,
                ref=media.ref,
            )
        from protocol.http.picture import fitted, seen_size, whole_picture

        async with self._engine.media(media.ref, image_format.rendition) as stream:
            data = await whole_picture(stream, context)
        data, mime = await fitted(data, image_format, context)
        size = await seen_size(data, context)
        return write.Delivered(
            url=url,
            content=data,
            size=size,
            format=_MIMES[mime],
            revised_prompt=revised,
            usage=drawn.usage,
            ref=media.ref,
        )
