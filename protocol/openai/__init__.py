"""OpenAI's API."""

from protocol.http.dialect import Dialect, HeaderKey
from protocol.openai.errors import error_response
from protocol.openai.routes import routes

DIALECT = Dialect(
    name="openai",
    routes=routes,
    refuse=error_response,
    credentials=(HeaderKey("Authorization", scheme="Bearer"),),
)

__all__ = ["DIALECT"]
