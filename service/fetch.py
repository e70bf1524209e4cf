"""Fetches what a caller's URL names, if the operator allows it."""

from protocol.model import BadRequest


async def refuse_to_fetch(url: str, *, most: int) -> bytes:  # noqa: ARG001 -- the interface's
    """Refuse, since the settings do not allow it.

    Raises:
        BadRequest: always.

    """
    message = "This gateway does not fetch URLs; send the content itself, as a data URL."
    raise BadRequest(message, code="image_url_not_allowed")
