"""The transport for Gemini in Google Cloud, on Vertex AI (`TRANSPORT_TYPE`)."""

from transports.vertex.config import VertexAccount, VertexConfig
from transports.vertex.transport import TRANSPORT_TYPE, connect

__all__ = ["TRANSPORT_TYPE", "VertexAccount", "VertexConfig", "connect"]
