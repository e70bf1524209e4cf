"""An upstream of our own: `KIND` registers it as a transport, `create_site` is the site alone."""

from transports.simulator.config import (
    PAGE_TOKENS,
    PLANS,
    PROFILES,
    Pace,
    Plan,
    SimulatedAccount,
    SimulatorConfig,
    read_account,
)
from transports.simulator.site import create_site
from transports.simulator.transport import KIND, export_of, with_accounts

__all__ = [
    "KIND",
    "PAGE_TOKENS",
    "PLANS",
    "PROFILES",
    "Pace",
    "Plan",
    "SimulatedAccount",
    "SimulatorConfig",
    "create_site",
    "export_of",
    "read_account",
    "with_accounts",
]
