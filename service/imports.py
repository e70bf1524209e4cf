"""Spares a process modules that libraries import at their own start and the gateway does not use.

Each costs memory for as long as the process lives. Without these functions everything works too, with more memory.
"""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, cast


@contextmanager
def hidden(*names: str) -> Generator[None]:
    """Have imports of these modules fail with ImportError, as if they were not installed, unless already loaded."""
    names = tuple(name for name in names if name not in sys.modules)
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    modules.update(dict.fromkeys(names))  # importlib takes None for "not found"
    try:
        yield
    finally:
        for name in names:
            del modules[name]


def defer(module: str, name: str, *empty: str) -> None:
    """Import `module` when its class `name` is first called; until then a module with a stand-in class is there.

    Call it before anything imports `module`: what else the module has cannot be imported from it until then.
    `empty` are modules of which importers need nothing but that they are there: they are loaded with `module`.
    """
    if module in sys.modules:
        return
    there = {name: ModuleType(name) for name in (module, *empty) if name not in sys.modules}

    def load(_: type, *arguments: Any, **named: Any) -> Any:
        for loaded, stand_in in there.items():
            if sys.modules.get(loaded) is stand_in:
                del sys.modules[loaded]
        return getattr(import_module(module), name)(*arguments, **named)

    setattr(there[module], name, type(name, (), {"__new__": load}))
    sys.modules.update(there)


def spare() -> None:
    """Spare HTTP/2 and WebSockets, which hypercorn loads at once, and optional parts of other libraries.

    structlog shows tracebacks by rich where it can, Starlette reads forms by python_multipart, and frozenlist, which
    only the tracing of aiohttp's client needs, has a version in C that takes a megabyte.
    """
    defer("hypercorn.protocol.h2", "H2Protocol", "h2.events")
    defer("hypercorn.protocol.ws_stream", "WSStream")
    with hidden("rich", "python_multipart", "multipart", "frozenlist._frozenlist"):
        for name in ("structlog", "starlette.requests", "frozenlist"):
            import_module(name)
