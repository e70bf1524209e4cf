"""Every kind of store, and dependencies of requests."""

from protocol.http.budget import ByteBudget
from protocol.http.context import RequestLimits
from protocol.http.pixels import PixelPool
from protocol.http.spool import Spool
from service.middleware.request_context import RequestDeps
from service.server.shutdown import Shutdown
from tests.clock import ManualClock
from tests.transports.store.conftest import open_store, servers

__all__ = ["open_store", "servers"]


def request_deps(**changes):
    """Return dependencies of requests, with these changes."""
    defaults = {
        "clock": ManualClock(),
        "shutdown": Shutdown(),
        "limits": RequestLimits(),
        "links": lambda _: None,
        "fetch": None,
        "jobs": None,
        "responses": None,
        "files": None,
        "memory": ByteBudget(),
        "spool": Spool(),
        "pixels": PixelPool(),
        "log_prompts": False,
    }
    return RequestDeps(**(defaults | changes))
