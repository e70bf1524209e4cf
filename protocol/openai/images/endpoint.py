"""The endpoints `POST /images/generations` and `POST /images/edits`."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from protocol.http.concurrency import values
from protocol.http.context import RequestContext, caller_of
from protocol.http.operation import Answer, Operation
from protocol.model import Caller, Catalogue, Engine, GenerationRequest, Selection, Served
from protocol.openai.images import wire, write
from protocol.openai.images.body import FormFiles, read_edit, read_generation
from protocol.openai.images.deliver import Delivered, Delivery
from protocol.openai.images.draw import Drawing, drawing
from protocol.openai.images.inputs import Inputs, take_inputs
from protocol.openai.images.read import Wanted, admit_pictures, select, understand

Edit = tuple[wire.Edit, FormFiles]
PicturesAnswer = Answer[Delivered, write.Pictures]


def _select(body: wire.Ask, catalogue: Catalogue, caller: Caller) -> tuple[Selection, str]:
    selection = select(body.model, catalogue, caller)
    return selection, body.model or selection.id


async def _generate(
    engine: Engine, body: wire.Generation, selection: Selection, context: RequestContext
) -> PicturesAnswer:
    wanted = understand(body, selection)
    return _answer(engine, wanted, Inputs(pictures=()), context, "image_generation.completed")


async def _edit(engine: Engine, body: Edit, selection: Selection, context: RequestContext) -> PicturesAnswer:
    fields, files = body
    wanted = understand(fields, selection)
    admit_pictures(selection, engine.catalogue)
    inputs = await take_inputs(fields, files, context)
    return _answer(engine, wanted, inputs, context, "image_edit.completed")


GENERATE = Operation(read=read_generation, select=_select, answer=_generate)
EDIT = Operation(
    read=read_edit, select=lambda body, catalogue, caller: _select(body[0], catalogue, caller), answer=_edit
)


def _answer(
    engine: Engine, wanted: Wanted, inputs: Inputs, context: RequestContext, kind: write.Kind
) -> PicturesAnswer:
    request = wanted.request(context, inputs)
    return Answer(
        request=request,
        exchange=_delivered(engine, request, wanted, context),
        writer=write.PictureWriter(kind, wanted, context.created),
        fold=write.gather,
        streamed=wanted.stream,
    )


@asynccontextmanager
async def _delivered(
    engine: Engine, request: GenerationRequest, wanted: Wanted, context: RequestContext
) -> AsyncGenerator["_DeliveredPictures"]:
    async with drawing(engine, request) as begun:
        yield _DeliveredPictures(begun, Delivery(engine, context, caller_of(context), wanted), wanted.n)


class _DeliveredPictures:
    """The images of a drawing; those of each turn are delivered when it ends."""

    def __init__(self, drawing: Drawing, delivery: Delivery, n: int) -> None:
        self._drawing, self._delivery, self._n = drawing, delivery, n

    @property
    def served(self) -> Served:
        return self._drawing.served

    async def __aiter__(self) -> AsyncIterator[Delivered]:
        async for drawn in self._drawing.pictures(self._n):
            for one in await values([partial(self._delivery.deliver, one) for one in drawn]):
                yield one
