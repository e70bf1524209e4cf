"""OpenAI's API: `routes(engine)` is the dialect, `error_response` its way to say no."""

from protocol.openai.errors import error_response
from protocol.openai.routes import routes

__all__ = ["error_response", "routes"]
