"""Headers between this gateway and OpenAI's SDKs: retry counts and deprecations."""

import structlog
from starlette.requests import Request

from protocol.model import Selection

_log = structlog.get_logger()


def attempts_before(request: Request) -> int:
    """Return the number of earlier attempts, as the client's SDK reports it."""
    said = [value for name, value in request.scope["headers"] if name == b"x-stainless-retry-count"]
    return int(said[0]) if said and said[0].isdigit() and len(said[0]) < 4 else 0


class Deprecations:
    """Reports deprecated models: to each client in headers, to the log once."""

    def __init__(self) -> None:
        """Start with no model logged."""
        self._logged: set[str] = set()

    def headers(self, selection: Selection) -> dict[str, str]:
        """Return the headers for an answer of this selection.

        A model is deprecated from the day its replacement was published; that day may be unknown.
        """
        if selection.deprecated is None:
            return {}
        if selection.deprecated not in self._logged:
            self._logged.add(selection.deprecated)
            _log.warning("model_deprecated", model=selection.deprecated, replaced_by=selection.id)
        text = f"The model '{selection.deprecated}' is deprecated: '{selection.id}' answers; use that name."
        since = f"@{selection.model.created}" if selection.model.created > 0 else "true"
        return {"Deprecation": since, "Warning": f'299 - "{text}"'}
