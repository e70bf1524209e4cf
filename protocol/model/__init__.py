"""The floor: what is asked, what is answered, what can go wrong; standard library and msgspec only."""

from protocol.model.caller import Caller
from protocol.model.errors import (
    BadRequest,
    Blocked,
    Certainty,
    DriftDetected,
    Forbidden,
    GatewayError,
    ModelUnknown,
    RateLimited,
    Refused,
    Saturated,
    SignedOut,
    Unauthorized,
    Unsupported,
    UpstreamFailed,
    UpstreamTimeout,
)
from protocol.model.event import Event, Finish, FinishReason, Text, Thought, Usage, Waiting
from protocol.model.names import (
    Capability,
    Catalogue,
    Family,
    Model,
    Selection,
)
from protocol.model.port import Engine, Exchange, Served
from protocol.model.reply import Reply, fold
from protocol.model.request import GenerationRequest, Role, TextPart, ToolCall, Turn
from protocol.model.usage import estimate_tokens

__all__ = [
    "BadRequest",
    "Blocked",
    "Caller",
    "Capability",
    "Catalogue",
    "Certainty",
    "DriftDetected",
    "Engine",
    "Event",
    "Exchange",
    "Family",
    "Finish",
    "FinishReason",
    "Forbidden",
    "GatewayError",
    "GenerationRequest",
    "Model",
    "ModelUnknown",
    "RateLimited",
    "Refused",
    "Reply",
    "Role",
    "Saturated",
    "Selection",
    "Served",
    "SignedOut",
    "Text",
    "TextPart",
    "Thought",
    "ToolCall",
    "Turn",
    "Unauthorized",
    "Unsupported",
    "UpstreamFailed",
    "UpstreamTimeout",
    "Usage",
    "Waiting",
    "estimate_tokens",
    "fold",
]
