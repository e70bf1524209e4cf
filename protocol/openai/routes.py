"""The routes of OpenAI's API, below `/v1`."""

from starlette.routing import Route

from protocol.http.endpoint import Endpoint
from protocol.model import Engine
from protocol.openai.chat.endpoint import Chat
from protocol.openai.chat.retrieve import Completions
from protocol.openai.errors import error_response
from protocol.openai.images.endpoint import Images
from protocol.openai.models import Models
from protocol.openai.videos.endpoint import Videos


def routes(engine: Engine) -> list[Route]:
    """Return the routes of this dialect for an engine."""
    chat, completions, images = Chat(engine), Completions(engine), Images(engine)
    models, videos = Models(engine), Videos(engine)
    return [
        Route("/v1/chat/completions", Endpoint(chat, error_response), methods=["POST"]),
        Route("/v1/chat/completions/{completion}", Endpoint(completions.retrieve, error_response), methods=["GET"]),
        Route("/v1/images/generations", Endpoint(images.generate, error_response), methods=["POST"]),
        Route("/v1/images/edits", Endpoint(images.edit, error_response), methods=["POST"]),
        Route("/v1/videos", Endpoint(videos.create, error_response), methods=["POST"]),
        Route("/v1/videos", Endpoint(videos.list, error_response), methods=["GET"]),
        Route("/v1/videos/{video}", Endpoint(videos.retrieve, error_response), methods=["GET"]),
        Route("/v1/videos/{video}", Endpoint(videos.delete, error_response), methods=["DELETE"]),
        Route("/v1/videos/{video}/content", Endpoint(videos.content, error_response), methods=["GET"]),
        Route("/v1/models", Endpoint(models.list, error_response), methods=["GET"]),
        Route("/v1/models/{model:path}", Endpoint(models.retrieve, error_response), methods=["GET"]),
    ]
