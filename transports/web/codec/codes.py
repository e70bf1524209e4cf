"""Map the error codes inside the site's answers to errors and to what the gateway does; no I/O.

A code after a complete candidate is ignored, because the client already has the answer. Source: "Codes".
"""

from collections.abc import Callable
from enum import Enum

import msgspec

from protocol.model import (
    BadRequest,
    Blocked,
    Certainty,
    GatewayError,
    RateLimited,
    Refused,
    Unsupported,
    UpstreamFailed,
)
from transports.web import wire
from transports.web.attention_reasons import AttentionReason
from transports.web.errors import ModelMismatch, Temporary, signed_out

_CODE_SHOWN = 10**6


class ImageRefused(Refused):
    """1003: the site refuses to generate an image for this prompt. Source: "Codes"."""


class AttachmentRefused(BadRequest):
    """1100: the site does not accept an attachment, because of its form or because a guest sent it. Source: "Codes"."""

    code = "attachment_not_accepted"


class TokenRefused(UpstreamFailed):
    """1096, 1157: the site does not accept the access token: drop it, and send the call once more with a new one."""

    code = "upstream_rejected"
    certainty = Certainty.REFUSED


class ContinuationRefused(UpstreamFailed):
    """1097: the account cannot continue conversations for now; fresh conversations work. Source: "Codes"."""

    code = "upstream_rejected"
    certainty = Certainty.REFUSED


class Action(Enum):
    """How the gateway reacts to a code, apart from counting and logging it."""

    RETURN_ERROR = "return the error to the caller"
    SAME_AGAIN = "send the same call to the same account once more, then try another account"
    NEW_TOKEN = "fetch a new token, send the same call once more, then try another account"  # noqa: S105 -- a description
    NEW_MODELS = "discover the account's models, send the call once more, then try another account"
    FRESH_CONVERSATION = "drop the conversation and send the whole history as a fresh one; there, try another account"
    ANOTHER_TRANSPORT = "try another transport; without one, return the error to the caller"
    COOL_DOWN = "cool the account down for this model family and try another account"
    COOL_DOWN_ADDRESS = "cool down all accounts behind this address and try another one"
    NEEDS_ATTENTION = "mark the account as needing attention and try another account"


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """One error code of the site."""

    number: int
    error: Callable[[], GatewayError]
    """Returns the error to raise for the code."""
    action: Action


def _rejected(kind: type[UpstreamFailed], message: str) -> Callable[[], GatewayError]:
    return lambda: kind(message, code="upstream_rejected", certainty=Certainty.REFUSED)


CODES: tuple[Code, ...] = (
    Code(
        number=wire.CODE_IMAGE_REFUSED,
        error=lambda: ImageRefused("The upstream refuses to generate an image for this prompt. Change the prompt."),
        action=Action.RETURN_ERROR,
    ),
    Code(
        number=wire.CODE_TEMPORARY,
        error=_rejected(Temporary, "The upstream failed temporarily. Try again."),
        action=Action.SAME_AGAIN,
    ),
    Code(
        number=wire.CODE_USAGE_LIMIT,
        error=lambda: RateLimited("The usage limit of the upstream's account for this model is reached."),
        action=Action.COOL_DOWN,
    ),
    Code(
        number=wire.CODE_MODEL_MISMATCH,
        error=_rejected(ModelMismatch, "The upstream does not accept this model in this conversation."),
        action=Action.NEW_MODELS,
    ),
    Code(
        number=wire.CODE_MODEL_HEADER,
        error=_rejected(ModelMismatch, "The upstream does not accept this model for this account."),
        action=Action.NEW_MODELS,
    ),
    Code(
        number=wire.CODE_TOOL_NOT_ALLOWED,
        error=lambda: Unsupported("The upstream's account does not have this capability.", param="model"),
        action=Action.ANOTHER_TRANSPORT,
    ),
    Code(
        number=wire.CODE_ADDRESS_BLOCKED,
        error=lambda: Blocked("The upstream has temporarily blocked this gateway's address."),
        action=Action.COOL_DOWN_ADDRESS,
    ),
    Code(
        number=wire.CODE_SIGN_IN,
        error=lambda: signed_out(AttentionReason.SIGNED_OUT),
        action=Action.NEEDS_ATTENTION,
    ),
    Code(
        number=wire.CODE_SESSION_NOT_ACCEPTED,
        error=_rejected(TokenRefused, "The upstream did not accept the session of its account."),
        action=Action.NEW_TOKEN,
    ),
    Code(
        number=wire.CODE_CONTINUATION_REFUSED,
        error=_rejected(ContinuationRefused, "The upstream's account cannot continue this conversation."),
        action=Action.FRESH_CONVERSATION,
    ),
    Code(
        number=wire.CODE_ATTACHMENT_NOT_ACCEPTED,
        error=lambda: AttachmentRefused("The upstream does not accept an attachment.", param="messages"),
        action=Action.RETURN_ERROR,
    ),
    Code(
        number=wire.CODE_BROKEN_OFF,
        error=_rejected(Temporary, "The upstream ended the answer before any content."),
        action=Action.SAME_AGAIN,
    ),
    Code(
        number=wire.CODE_TOKEN_STALE,
        error=_rejected(TokenRefused, "The upstream's access token is stale."),
        action=Action.NEW_TOKEN,
    ),
)
"""All codes of the protocol page. Source: "Codes"."""

_BY_NUMBER = {code.number: code for code in CODES}


def is_known(number: int) -> bool:
    """Return whether a code is in the table."""
    return number in _BY_NUMBER


def error_for_code(number: int) -> GatewayError:
    """Return the error for a code; for an unknown code, an error that allows failover to another account."""
    known = _BY_NUMBER.get(number)
    if known is not None:
        return known.error()
    shown = number if abs(number) < _CODE_SHOWN else "?"
    return UpstreamFailed(
        f"The upstream rejected the request (code {shown}).",
        code="upstream_rejected",
        certainty=Certainty.REFUSED,
    )
