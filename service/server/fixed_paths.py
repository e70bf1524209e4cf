"""Routes paths without parameters by one dictionary lookup; Starlette routes the others.

Starlette tries one route after another, and wraps an app's `send` twice, which costs each piece of a stream.
"""

from collections.abc import Sequence
from typing import Any

from starlette.routing import Route


class FixedPaths:
    """Answers at paths without parameters, and hands all else to `app`."""

    def __init__(self, app: Any, routes: Sequence[Route]) -> None:
        """Take the routes of `app`, in its order: the first that matches answers."""
        self._app = app
        self._routes: dict[tuple[str, str], Route] = {}
        patterns: list[Route] = []
        for route in routes:
            if route.param_convertors:
                patterns.append(route)
            elif not any(pattern.path_regex.match(route.path) for pattern in patterns):
                for method in route.methods or ():
                    self._routes.setdefault((method, route.path), route)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one connection's scope."""
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"], scope["path_params"] = route, {}
        await route.app(scope, receive, send)
