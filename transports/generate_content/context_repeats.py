"""Finds out what the store knows of the beginnings of a request. Source: "Context caching"."""

from collections.abc import Callable, Sequence

import msgspec

from protocol.model import Capability, GenerationRequest, TextPart
from transports.generate_content import wire
from transports.generate_content.answer_options import effective_options, fixed_inserts
from transports.generate_content.config import ContextCaching
from transports.generate_content.context_cache import KnownPrefixes, known_prefixes
from transports.generate_content.context_prefix import prefixes_of
from transports.generate_content.models import traits_of
from transports.generate_content.request_body import generate_request
from transports.generate_content.request_contents import SYSTEM_ROLES
from transports.store.port import Records

_ANY_FILE = 10_000_000
_CAPABILITIES = frozenset({Capability.CHAT, Capability.CANVAS})


class Repeats:
    """Examines requests before they are sent."""

    def __init__(self, config: ContextCaching | None, records: Records, projects: Callable[[], Sequence[str]]) -> None:
        """Read from `records`; `projects` returns those that may have caches."""
        self._config, self._records, self._projects = config, records, projects

    async def known(self, request: GenerationRequest, model: str) -> KnownPrefixes | None:
        """Return what is known of a request to a model; None: it has no beginning that may be cached."""
        projects = self._projects()
        if self._config is None or not projects or request.selection.capability not in _CAPABILITIES:
            return None
        parts = (part for turn in request.turns for part in turn.parts)
        size = sum(len(part.text) * 4 if isinstance(part, TextPart) else _ANY_FILE for part in parts)
        if request.tools is None and size < self._config.min_tokens:  # it has no more tokens than bytes
            return None
        prefixes = prefixes_of(request, head_of(request, model), self._config.min_tokens)
        try:
            return await known_prefixes(self._records, prefixes, projects) if prefixes else None
        except OSError:
            return None


def head_of(request: GenerationRequest, model: str) -> bytes:
    """Return the model and what precedes the messages, encoded."""
    traits = traits_of(model)
    system = tuple(turn for turn in request.turns if turn.role in SYSTEM_ROLES)
    options, _ = effective_options(request, traits)
    bare = msgspec.structs.replace(request, turns=system)
    body = generate_request(bare, traits, wire.GenerationConfig(), fixed_inserts(request.selection.capability, options))
    return msgspec.json.encode((model, body.contents, body.system_instruction, body.tools, body.tool_config))
