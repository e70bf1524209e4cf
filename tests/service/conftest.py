"""Every kind of store for the tests of what the gateway keeps."""

from tests.transports.store.conftest import open_store, servers

__all__ = ["open_store", "servers"]
