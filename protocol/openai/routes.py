"""OpenAI's routes, below `/v1`."""

from starlette.routing import Route

from protocol.http.endpoint import Endpoint
from protocol.model import Engine
from protocol.openai.chat.endpoint import Chat
from protocol.openai.errors import error_response
from protocol.openai.images.endpoint import Images
from protocol.openai.listing import Models


def routes(engine: Engine) -> list[Route]:
    """Return the dialect's routes over an engine."""
    chat, images, models = Chat(engine), Images(engine), Models(engine)
    return [
        Route("/v1/chat/completions", Endpoint(chat, error_response), methods=["POST"]),
        Route("/v1/images/generations", Endpoint(images.generate, error_response), methods=["POST"]),
        Route("/v1/images/edits", Endpoint(images.edit, error_response), methods=["POST"]),
        Route("/v1/models", Endpoint(models.list, error_response), methods=["GET"]),
        Route("/v1/models/{model:path}", Endpoint(models.retrieve, error_response), methods=["GET"]),
    ]
