"""The Gemini website: `KIND` registers it; the simulator uses the same transport against its own site."""

from transports.web.config import Hosts, Slots, Tools, WebAccount, WebConfig
from transports.web.connect import KIND, connect

__all__ = ["KIND", "Hosts", "Slots", "Tools", "WebAccount", "WebConfig", "connect"]
