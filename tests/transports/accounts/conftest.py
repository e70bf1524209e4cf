"""Every kind of store for the pool's tests."""

from tests.transports.store.conftest import open_store, servers

__all__ = ["open_store", "servers"]
