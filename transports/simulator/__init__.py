"""A simulated Gemini website: `TRANSPORT_TYPE` registers it as a transport, `create_site` returns the site alone.

The site is imported when it is created, because a gateway with other upstreams does not need it.
"""

from typing import Any

from transports.clock import Clock
from transports.simulator.api.api_keys import SimulatedKey, read_key
from transports.simulator.api.issued_tokens import SimulatedServiceAccount
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
from transports.simulator.service_account_file import write_service_account
from transports.simulator.transport import TRANSPORT_TYPE, export_of, with_accounts

__all__ = [
    "PAGE_TOKENS",
    "PLANS",
    "PROFILES",
    "TRANSPORT_TYPE",
    "Pace",
    "Plan",
    "SimulatedAccount",
    "SimulatedKey",
    "SimulatedServiceAccount",
    "SimulatorConfig",
    "create_site",
    "export_of",
    "read_account",
    "read_key",
    "with_accounts",
    "write_service_account",
]


def create_site(config: SimulatorConfig, clock: Clock) -> Any:
    """Return the site as an ASGI app."""
    from transports.simulator.site import create_site

    return create_site(config, clock)
