"""Errors of HTTP requests that are independent of the dialect."""

from protocol.model import BadRequest


class HttpError(BadRequest):
    """A bad request with an HTTP status of its own."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """Take the status, the public code and a message fit for the client."""
        super().__init__(message, code=code)
        self.status = status


class ClientGone(Exception):
    """The client disconnected before the response."""
