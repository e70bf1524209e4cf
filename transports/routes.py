"""Routes: which transports are asked for a request, and in which order.

A route has conditions and a list of hops. The first route whose conditions hold gives the hops; its first hop is asked
first, and the next one if no account of it can serve. A hop is a transport, such as `web`, or its accounts of one tier,
such as `api:free`. Several hops in one place share the requests by their weights.

Without routes in the settings there is one for all requests: free keys, then the accounts of the website, then paid
keys.

Example: `to = [{"api:free" = 3, web = 1}, "api:paid"]` asks free keys first for three of four requests and the website
first for the fourth; each is followed by the other one, and paid keys come last.
"""

from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import accumulate
from typing import Annotated

import msgspec
from msgspec import Meta

from protocol.model import FilePart, GenerationRequest, MediaPart, Selection

Weight = Annotated[float, Meta(gt=0, le=1000)]
Rng = Callable[[], float]
FIRST_TIER, LAST_TIER = "free", "paid"
"""Tiers of accounts that cost nothing, and of those that cost money."""


class Hop(msgspec.Struct, frozen=True):
    """A transport, or its accounts of one tier."""

    transport: str
    tier: str = ""
    """Empty: all its accounts."""

    @classmethod
    def read(cls, text: str) -> "Hop":
        """Read a hop that is written `TRANSPORT` or `TRANSPORT:TIER`."""
        transport, _, tier = text.partition(":")
        return cls(transport, tier)

    def __str__(self) -> str:
        """Return the hop as it is written."""
        return f"{self.transport}:{self.tier}" if self.tier else self.transport


class RouteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A route: all its conditions must hold."""

    models: tuple[str, ...] = ("*",)
    """Names of models, or shell-style patterns; one must fit, such as `gemini-*-imagen`."""
    licenses: tuple[str, ...] = ("*",)
    """Ids of licenses, or patterns; one must fit."""
    tools: bool | None = None
    """Whether the request offers tools. None: either way."""
    json_schema: bool | None = None
    """Whether the answer must be JSON. None: either way."""
    images: bool | None = None
    """Whether the request has pictures. None: either way."""
    files: bool | None = None
    """Whether the request has other files. None: either way."""
    to: Annotated[tuple[str | dict[str, Weight], ...], Meta(min_length=1)]
    """The hops in their order; several with weights in one place share the requests."""

    def hops(self) -> Iterator[Hop]:
        """Yield all hops."""
        for place in self.to:
            for text in (place,) if isinstance(place, str) else place:
                yield Hop.read(text)


class RequestTraits(msgspec.Struct, frozen=True, kw_only=True):
    """What routes know of a request."""

    selection: Selection
    license: str = ""
    tools: bool = False
    json_schema: bool = False
    images: bool = False
    files: bool = False

    @classmethod
    def of(cls, request: GenerationRequest) -> "RequestTraits":
        """Return the traits of a request."""
        parts = [part for turn in request.turns for part in turn.parts]
        files = [part for part in parts if isinstance(part, FilePart)]
        pictures = [part for part in files if part.mime.startswith("image/")]
        return cls(
            selection=request.selection,
            license=request.caller.id,
            tools=request.tools is not None,
            json_schema=request.output is not None,
            images=bool(pictures) or any(isinstance(part, MediaPart) for part in parts),
            files=len(pictures) < len(files),
        )


class RouteTable:
    """All routes."""

    def __init__(self, routes: Sequence[RouteSettings], tiers: Mapping[str, frozenset[str]]) -> None:
        """Set the routes, and the tiers of each transport in the order of the settings; empty: it has no tiers.

        Raises:
            ValueError: a route names a transport or tier that does not exist.

        """
        self._routes = (*routes, _default(tiers))
        self.trivial = not routes and not any(tiers.values())
        """Whether every request takes all transports in the order of the settings."""
        for number, route in enumerate(routes):
            for hop in route.hops():
                if hop.transport not in tiers:
                    known = ", ".join(tiers) or "none"
                    raise ValueError(f"[{number}].to: {str(hop)!r} is not a transport of these settings: {known}")
                if hop.tier and hop.tier not in tiers[hop.transport]:
                    known = ", ".join(sorted(tiers[hop.transport])) or "none"
                    raise ValueError(f"[{number}].to: {hop.transport!r} has no tier {hop.tier!r}; it has: {known}")

    def find(self, traits: RequestTraits) -> tuple[int | None, RouteSettings]:
        """Return the number of the route for a request, None for the one by default, and the route."""
        for number, route in enumerate(self._routes):
            if _holds(route, traits):
                return (number if number < len(self._routes) - 1 else None), route
        raise AssertionError("the route by default has no conditions")

    def reachable(self, selection: Selection) -> Iterator[Hop]:
        """Yield each hop that some request for a selection may be sent to."""
        for route in self._routes:
            if _names(route, selection):
                yield from route.hops()
                if msgspec.structs.replace(route, models=_ANY.models, to=_ANY.to) == _ANY:
                    return

    def hops(self, traits: RequestTraits, rng: Rng) -> list[Hop]:
        """Return the hops for a request, each once, in the order in which they are asked."""
        _, route = self.find(traits)
        found: list[str] = []
        for place in route.to:
            found += [place] if isinstance(place, str) else _drawn(place, rng)
        return [Hop.read(text) for text in dict.fromkeys(found)]


_ANY = RouteSettings(to=())
"""A route without conditions."""


def _names(route: RouteSettings, selection: Selection) -> bool:
    return any(fnmatchcase(name, pattern) for name in (selection.id, selection.name) for pattern in route.models)


def _holds(route: RouteSettings, traits: RequestTraits) -> bool:
    """Return whether all conditions of a route hold."""
    return (
        _names(route, traits.selection)
        and any(fnmatchcase(traits.license, pattern) for pattern in route.licenses)
        and route.tools in {None, traits.tools}
        and route.json_schema in {None, traits.json_schema}
        and route.images in {None, traits.images}
        and route.files in {None, traits.files}
    )


def _drawn(weights: Mapping[str, float], rng: Rng) -> list[str]:
    """Return all hops in a random order: each place is drawn by weight from those that are left."""
    left, found = dict(weights), list[str]()
    while left:
        ends = list(accumulate(left.values()))
        hop = list(left)[min(bisect(ends, rng() * ends[-1]), len(ends) - 1)]
        found.append(hop)
        del left[hop]
    return found


def _default(tiers: Mapping[str, frozenset[str]]) -> RouteSettings:
    """Return the route for all requests that no other route takes."""
    free = (f"{name}:{FIRST_TIER}" for name, own in tiers.items() if FIRST_TIER in own)
    others = (name for name, own in tiers.items() if not own)
    paid = (f"{name}:{LAST_TIER}" for name, own in tiers.items() if LAST_TIER in own)
    return RouteSettings(to=(*free, *others, *paid))
