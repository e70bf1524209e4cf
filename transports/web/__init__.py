"""The transport for the Gemini website (`TRANSPORT_TYPE`); the simulator runs it against its own site."""

from transports.web.account_config import ACCOUNTS
from transports.web.config import Hosts, Slots, Tools, WebAccount, WebConfig
from transports.web.transport import TRANSPORT_TYPE, connect

__all__ = ["ACCOUNTS", "TRANSPORT_TYPE", "Hosts", "Slots", "Tools", "WebAccount", "WebConfig", "connect"]
