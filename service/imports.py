"""Keeps unused modules, which libraries import eagerly, out of memory.

This only saves memory: everything works without it.
"""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, cast


@contextmanager
def hidden(*names: str) -> Generator[None]:
    """Make imports of these modules fail with ImportError, as if they were not installed, unless already loaded."""
    names = tuple(name for name in names if name not in sys.modules)
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    modules.update(dict.fromkeys(names))  # importlib takes None for "not found"
    try:
        yield
    finally:
        for name in names:
            del modules[name]


def defer(module: str, name: str, *empty: str) -> None:
    """Import `module` when its class `name` is first instantiated; a stand-in module serves until then.

    Call this before anything imports `module`: until the import, the stand-in has no other name. `empty` lists
    modules that importers only need to exist; they are loaded together with `module`.
    """
    if module in sys.modules:
        return
    stand_ins = {name: ModuleType(name) for name in (module, *empty) if name not in sys.modules}

    def load(_: type, *arguments: Any, **named: Any) -> Any:
        for loaded, stand_in in stand_ins.items():
            if sys.modules.get(loaded) is stand_in:
                del sys.modules[loaded]
        return getattr(import_module(module), name)(*arguments, **named)

    setattr(stand_ins[module], name, type(name, (), {"__new__": load}))
    sys.modules.update(stand_ins)


def spare() -> None:
    """Defer hypercorn's HTTP/2 and WebSocket modules and hide optional parts of other libraries.

    structlog would use rich for tracebacks, Starlette python_multipart for forms, and frozenlist (needed only for
    tracing aiohttp's client) a C extension that takes a megabyte.
    """
    defer("hypercorn.protocol.h2", "H2Protocol", "h2.events")
    defer("hypercorn.protocol.ws_stream", "WSStream")
    with hidden("rich", "python_multipart", "multipart", "frozenlist._frozenlist"):
        for name in ("structlog", "starlette.requests", "frozenlist"):
            import_module(name)
