"""What OpenAI's SDKs tell of themselves, and what they are told beside an answer."""

import structlog
from starlette.requests import Request

from protocol.model import Selection

_log = structlog.get_logger()


def attempts_before(request: Request) -> int:
    """Return how often the client's SDK says that it tried already."""
    said = [value for name, value in request.scope["headers"] if name == b"x-stainless-retry-count"]
    return int(said[0]) if said and said[0].isdigit() and len(said[0]) < 4 else 0


class Deprecations:
    """Tells of models that another answers for: each client in headers, the log once."""

    def __init__(self) -> None:
        """Nothing has been told yet."""
        self._told: set[str] = set()

    def headers(self, selection: Selection) -> dict[str, str]:
        """Return the headers for an answer of this selection.

        A model is deprecated since its replacement is there; of when that is nothing may be known.
        """
        if selection.deprecated is None:
            return {}
        if selection.deprecated not in self._told:
            self._told.add(selection.deprecated)
            _log.warning("model_deprecated", model=selection.deprecated, replaced_by=selection.id)
        text = f"The model '{selection.deprecated}' is deprecated: '{selection.id}' answers in its place."
        since = f"@{selection.model.created}" if selection.model.created > 0 else "true"
        return {"Deprecation": since, "Warning": f'299 - "{text}"'}
