"""OpenAI's API, below `/v1`."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from protocol.http.errors import ASGIResponse
from protocol.http.operation import Dialect, Endpoint, HeaderKey, Operation
from protocol.model import Engine
from protocol.openai.audio import endpoint as audio
from protocol.openai.audio import speech
from protocol.openai.chat import endpoint as chat
from protocol.openai.completions import endpoint as completions
from protocol.openai.embeddings import endpoint as embeddings
from protocol.openai.errors import error_response
from protocol.openai.files import endpoint as files
from protocol.openai.images import endpoint as images
from protocol.openai.models import Models
from protocol.openai.not_offered import NOT_OFFERED
from protocol.openai.responses import endpoint as responses
from protocol.openai.videos import endpoint as videos


def routes(engine: Engine) -> list[Route]:
    """Return the routes of this dialect for an engine."""

    def route(method: str, path: str, work: Operation[Any] | Callable[[Request], Awaitable[ASGIResponse]]) -> Route:
        if isinstance(work, Operation):
            return Route(path, work.endpoint(engine, error_response), methods=[method])
        return Route(path, Endpoint(work, error_response), methods=[method])

    models, stored_videos = Models(engine), videos.StoredVideos(engine)
    stored_responses = responses.RetrievedResponses(engine)
    return [
        route("POST", "/v1/chat/completions", chat.CREATE),
        route("GET", "/v1/chat/completions/{completion}", chat.RETRIEVE),
        route("POST", "/v1/responses", responses.CREATE),
        route("GET", "/v1/responses/{response}", stored_responses.retrieve),
        route("DELETE", "/v1/responses/{response}", stored_responses.delete),
        route("GET", "/v1/responses/{response}/input_items", stored_responses.input_items),
        route("POST", "/v1/responses/{response}/cancel", stored_responses.cancel),
        route("POST", "/v1/completions", completions.CREATE),
        route("POST", "/v1/embeddings", embeddings.create(engine)),
        route("POST", "/v1/images/generations", images.GENERATE),
        route("POST", "/v1/images/edits", images.EDIT),
        route("POST", "/v1/images/variations", images.VARY),
        route("POST", "/v1/audio/speech", speech.speak(engine)),
        route("POST", "/v1/audio/transcriptions", audio.transcribe(engine)),
        route("POST", "/v1/audio/translations", audio.translate(engine)),
        route("POST", "/v1/files", files.upload),
        route("GET", "/v1/files", files.list_files),
        route("GET", "/v1/files/{file}", files.retrieve),
        route("DELETE", "/v1/files/{file}", files.delete),
        route("GET", "/v1/files/{file}/content", files.content),
        route("POST", "/v1/videos", videos.CREATE),
        route("GET", "/v1/videos", stored_videos.list),
        route("GET", "/v1/videos/{video}", stored_videos.retrieve),
        route("DELETE", "/v1/videos/{video}", stored_videos.delete),
        route("POST", "/v1/videos/{video}/remix", videos.REMIX),
        route("GET", "/v1/videos/{video}/content", stored_videos.content),
        route("GET", "/v1/models", models.list),
        route("GET", "/v1/models/{model:path}", models.retrieve),
    ]


DIALECT = Dialect(
    name="openai",
    routes=routes,
    refuse=error_response,
    not_offered=NOT_OFFERED,
    credentials=(HeaderKey("Authorization", scheme="Bearer"),),
)
