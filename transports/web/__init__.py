"""The transport for the Gemini website; `KIND` registers it, and the simulator runs it against its own site."""

from transports.web.account_config import ACCOUNTS
from transports.web.config import Hosts, Slots, Tools, WebAccount, WebConfig
from transports.web.transport import KIND, connect

__all__ = ["ACCOUNTS", "KIND", "Hosts", "Slots", "Tools", "WebAccount", "WebConfig", "connect"]
