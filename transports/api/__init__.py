"""The transport for the official Gemini API (`TRANSPORT_TYPE`)."""

from transports.api.config import ApiConfig, ApiKeyAccount
from transports.api.transport import TRANSPORT_TYPE, connect

__all__ = ["TRANSPORT_TYPE", "ApiConfig", "ApiKeyAccount", "connect"]
