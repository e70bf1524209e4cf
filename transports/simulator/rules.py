"""What each profile requires of requests and how it answers, beyond what both profiles share.

`Rules` are those of the profile `site`, which requires nothing more. `strict.StrictRules` requires what the protocol
page names as the form of this gateway's own client.
"""

from collections.abc import Mapping
from typing import Any, Literal

from starlette.requests import Request

from transports.simulator.accounts import SimulatedSession
from transports.simulator.check import BatchCall, PageRequest
from transports.simulator.models import serving
from transports.simulator.request_checks import TurnRequest
from transports.web import wire

Pairs = list[tuple[str, str]]
UploadStep = Literal["whole", "start", "finish"]


class Rules:
    """The profile `site`: refuses only what the site is known to refuse."""

    exact = True
    """Answer in the site's own form; otherwise alternate between the forms that a decoder must read."""
    words_decide = True
    """A plain turn whose words ask for a picture, film or song is answered with one."""
    cookie_every = 1
    """Which answers set a cookie, where the settings do not say: every one, every second, none (0)."""

    def call(self, headers: Mapping[str, str], query: Pairs, page: PageRequest, *, batch: bool) -> None:
        """Check a call's headers and query."""

    def form(self, pairs: Pairs, *, guest: bool, lost: bool) -> None:
        """Check a form's fields."""

    def generate(self, request: Any, slots: list[Any], headers: Mapping[str, str], language: str) -> None:
        """Check a turn's slots and model header."""

    def batch(
        self, calls: list[BatchCall], headers: Mapping[str, str], query: Mapping[str, str], page: PageRequest
    ) -> None:
        """Check a batch's calls."""

    def rotation(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> tuple[str, int] | None:
        """Return why a rotation is refused, and the status."""
        _ = headers, cookies
        return None

    def upload(self, request: Request, push_id: str, step: UploadStep) -> str:
        """Return why an upload's request is refused, or nothing."""
        _ = request, push_id, step
        return ""

    def goes_on(self, ask: TurnRequest, *, guest: bool) -> bool:
        """Say whether a turn may go on from the place that it names."""
        _ = ask, guest
        return True

    def family(self, session: SimulatedSession, ask: TurnRequest) -> str | int:
        """Return the family that answers a turn, or the code that it is refused with."""
        if ask.model_id == "":
            return wire.CODE_MODEL_HEADER
        family = serving(session.plan, ask.model_id)
        return wire.CODE_MODEL_HEADER if family is None else family

    def files_refused(self) -> int:
        """Return the code that a turn with an attachment that does not exist is refused with.

        Raises:
            Departure: it is refused with HTTP 400.

        """
        return 1100
