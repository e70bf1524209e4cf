"""Remembers the beginnings of prompts, as the API does without being asked, and tells how much of one is known.

Source: "Context caching".
"""

from collections import OrderedDict
from collections.abc import Iterator
from hashlib import blake2b

import msgspec

from transports.clock import Clock
from transports.simulator.api import request_schema as schema
from transports.simulator.api.api_models import SimulatedModel
from transports.simulator.api.simulated_model import prompt_tokens

_PIECE = 2048
"""Characters of a text that are compared at once."""
_SECONDS = 300.0
_MOST_KNOWN = 50_000


class ImplicitCache:
    """The beginnings of prompts that were sent not long ago."""

    def __init__(self, clock: Clock) -> None:
        """Forget a beginning that is not sent again for some minutes."""
        self._clock = clock
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def known_tokens(self, sent: schema.Request, project: str, model: SimulatedModel) -> int:
        """Return how many tokens of a request were sent before, 0 if they are too few; remember the request."""
        if not model.caches:
            return 0
        found, now = 0, self._clock.monotonic()
        for digest, tokens in beginnings_of(sent, f"{project}\n{model.id}"):
            if self._until.get(digest, 0.0) > now:
                found = tokens
            self._until[digest] = now + _SECONDS
            self._until.move_to_end(digest)
        while len(self._until) > _MOST_KNOWN:
            self._until.popitem(last=False)
        return found if found >= model.least_cached else 0


def beginnings_of(sent: schema.Request, scope: str) -> Iterator[tuple[bytes, int]]:
    """Yield a digest of each beginning of a request that counts, and its tokens."""
    offered = msgspec.json.encode((sent.tools, sent.tool_config))
    seen, tokens = blake2b(scope.encode() + b"\n" + offered, digest_size=16), 0
    system = [sent.system_instruction] if sent.system_instruction is not None else []
    for message in (*system, *sent.contents):
        seen.update(b"\nmessage " + message.role.encode())
        for part in message.parts:
            text = part.text or ""
            pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
            for one in [schema.SentPart(text=piece) for piece in pieces] or [part]:
                seen.update(msgspec.json.encode(one))
                tokens += prompt_tokens([schema.SentMessage(parts=[one])])
                yield seen.digest(), tokens
