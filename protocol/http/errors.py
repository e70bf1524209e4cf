"""What is wrong with a request as HTTP, before any dialect has a say."""

from protocol.model import BadRequest


class HttpError(BadRequest):
    """A request that HTTP itself has a status for; `status` is that."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """Take the status, the public code and a message fit for the client."""
        super().__init__(message, code=code)
        self.status = status


class ClientGone(Exception):
    """The client left; there is nobody to answer."""
