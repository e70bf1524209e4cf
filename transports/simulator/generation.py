"""Handles one turn at the simulated site, from a checked request to the streamed answer.

Source: "StreamGenerate", "Codes"
"""

import secrets
from collections import Counter

import msgspec
from starlette.responses import Response

from transports.clock import Clock
from transports.simulator import composition, models, prompt_directives, tool_use
from transports.simulator.accounts import SimulatedSession
from transports.simulator.answer import PendingWork, SimulatedAnswer
from transports.simulator.breakable_stream import BreakableStream
from transports.simulator.config import SimulatorConfig
from transports.simulator.faults import SIGN_IN, SiteFault, answer_of
from transports.simulator.frame_forms import ExactForm, FrameForm, Ids
from transports.simulator.history import SavedHistoryTurn
from transports.simulator.media import SimulatedMedia
from transports.simulator.profiles import Rules
from transports.simulator.prompt_directives import PromptScript, parse
from transports.simulator.request_checks import IMAGE, VIDEO, TurnRequest, require
from transports.simulator.response_script import ResponseScript
from transports.simulator.turn_context import TurnContext
from transports.simulator.uploads import StoredUpload, UploadHost
from transports.web import wire

_MOST_PROMPT_BYTES = 130_000
_WEB_IMAGES = 3
"""Number of web pictures in an answer to a prompt that asks for some in words."""
_FAULTS = (
    "error", "http", "html", "delay", "queue", "after", "drop_after", "eof_after", "stall_after", "garbage_after",
    "switch_after", "answered_by", "late_error", "refuse",
)  # fmt: skip
"""Fields of a script that a prompt with `once` loses the second time."""
_RESET_SECONDS = 10.0
"""Length of a usage limit that a prompt asks for, if the prompt names no time."""


class TurnHandler:
    """Answers the turns of all accounts."""

    def __init__(
        self, config: SimulatorConfig, clock: Clock, rules: Rules, *, uploads: UploadHost, media: SimulatedMedia
    ) -> None:
        """Answer with these uploads and media."""
        self._config, self._clock, self._rules = config, clock, rules
        self._uploads, self._media = uploads, media
        self._once: set[str] = set()
        self._answered = 0

    def answer(
        self, session: SimulatedSession, ask: TurnRequest, origin: str, seen: Counter[str]
    ) -> Response | BreakableStream:
        """Answer a turn.

        Raises:
            Departure: the turn names a file, gem or conversation that does not exist.

        """
        files = self._files(session, ask)
        ask, previous = self._previous(session, ask)
        gem = session.gems.find(ask.gem) if ask.gem is not None else None
        require(ask.gem is None or gem is not None, "slot 19: no such gem")
        script = self._script(session, ask)
        if script.http is not None or script.html:  # the prompt asks for a page or status in place of an answer
            location, retry_after = script.location or SIGN_IN, script.retry_after
            return answer_of(
                SiteFault(
                    where="generate",
                    status=script.http,
                    location=location,
                    retry_after=retry_after,
                    html=script.html,
                )
            )
        asked = ask.tool
        ask, script = self._read_words(session, ask, script)
        served = files if isinstance(files, int) else self._served(session, ask, script, by_words=asked is None)
        context = TurnContext(
            ask=ask,
            script=script,
            owner=session,
            media=self._media,
            config=self._config,
            exact=self._rules.exact,
            origin=origin,
            files=files if isinstance(files, tuple) else (),
            previous=previous,
            gem=gem,
            now=self._clock.wall(),
        )
        return self._stream(context, served, seen)

    def _files(self, session: SimulatedSession, ask: TurnRequest) -> tuple[StoredUpload, ...] | int:
        """Return a turn's files, or the code that it is refused with."""
        found: list[StoredUpload] = []
        for path, name in ask.files:
            upload = self._uploads.find(path) if session.account is not None else None
            if upload is None:
                return self._rules.files_refused()
            found.append(msgspec.structs.replace(upload, name=name))
        return tuple(found)

    def _previous(self, session: SimulatedSession, ask: TurnRequest) -> tuple[TurnRequest, SavedHistoryTurn | None]:
        """Return the request and the turn that it continues.

        At the site a temporary turn after a saved one is a fresh conversation, and vice versa.
        """
        if ask.place is None:
            return ask, None
        guest = session.account is None
        goes_on = self._rules.can_continue(ask, guest=guest)
        kept, unlisted = session.history.find_last_turn(ask.place), session.unlisted.find_last_turn(ask.place)
        turn, other = (unlisted, kept) if guest or ask.temporary else (kept, unlisted)
        fresh = turn is None and other is not None and self._rules.exact
        require(goes_on and (turn or fresh), "slot 2: not the last turn of a conversation of this account")
        return (msgspec.structs.replace(ask, place=None) if fresh else ask), turn

    def _script(self, session: SimulatedSession, ask: TurnRequest) -> PromptScript:
        prompt = shortened(ask.prompt)
        place = ask.place[0] if ask.place is not None else ""
        conversation = session.history.find(place) or session.unlisted.find(place)
        earlier = [turn.prompt for turn in conversation.turns] if conversation is not None else []
        told = tool_use.answer(prompt, earlier)
        try:
            script = parse(tool_use.scripting(prompt, earlier))
        except ValueError as error:
            return PromptScript(text=f"The simulator does not understand: {error}.")
        if told is not None:
            script = msgspec.structs.replace(script, text=told, given=True)
        if script.once in self._once:
            clean = PromptScript(text="")
            return msgspec.structs.replace(script, **{name: getattr(clean, name) for name in _FAULTS})
        if script.once:
            self._once.add(script.once)
        return script

    def _read_words(
        self, session: SimulatedSession, ask: TurnRequest, script: PromptScript
    ) -> tuple[TurnRequest, PromptScript]:
        """Add the tool or the web pictures that the words of a plain turn ask for, in the profile `site`."""
        if not self._rules.words_decide or ask.tool is not None or ask.gem is not None:
            return ask, script
        if session.account is not None:
            wished = None if script.given else prompt_directives.tool_for(script.description)
            if wished is None and script.images is not None:
                wished = IMAGE
            ask = msgspec.structs.replace(ask, tool=wished)
        plain = ask.tool is None and not script.given and script.web_images is None
        if plain and prompt_directives.wants_web_images(script.description):
            script = msgspec.structs.replace(script, web_images=_WEB_IMAGES)
        return ask, script

    def _served(
        self, session: SimulatedSession, ask: TurnRequest, script: PromptScript, *, by_words: bool
    ) -> str | int:
        """Return the family that answers, or the code that the site answers this account's request with."""
        family, now = self._rules.family(session, ask), self._clock.wall()
        if isinstance(family, int):
            return family
        if session.account is None:
            tools = ask.tool is not None or ask.gem is not None
            return wire.CODE_TOOL_NOT_ALLOWED if tools else script.error or family
        if ask.tool == VIDEO and not by_words:
            refused_first = ask.place is None and self._config.video_first_turn_refused
            if family != "pro" or refused_first:
                return wire.CODE_TOOL_NOT_ALLOWED
        if script.error == wire.CODE_USAGE_LIMIT:
            seconds = float(script.retry_after) if script.retry_after.isdigit() else _RESET_SECONDS
            session.quota.report_exhausted(family, now + seconds)
        if script.error is not None:
            return script.error
        if session.quota.exhausted(family, now):
            return wire.CODE_USAGE_LIMIT
        session.quota.spend(family, now)
        return family

    def _stream(self, context: TurnContext, served: str | int, seen: Counter[str]) -> BreakableStream:
        """Return the answer's stream, which saves the turn after it has been sent completely."""
        session, ask, script = context.owner, context.ask, context.script
        made_all_the_same = self._config.video_refused_but_generated and ask.tool == VIDEO
        refused = isinstance(served, int)
        work: PendingWork | None = None
        if refused and not (made_all_the_same and served == wire.CODE_TOOL_NOT_ALLOWED):
            script = script if script.error is not None else PromptScript(text="", error=served, delay=0.0)
            answer = SimulatedAnswer(text=script.text, thoughts=script.thoughts)
        else:
            answer, work = composition.compose(context)
        if refused and script.error is None:
            script = msgspec.structs.replace(script, error=served)
        if ask.temporary and ask.as_browser and self._rules.exact and script.late_error is None:
            script = msgspec.structs.replace(script, late_error=self._config.temporary_code or None)
        family = served if isinstance(served, str) else self._rules.family(session, ask)
        ids = self._ids(context, family if isinstance(family, str) else models.DEFAULT)
        turn = SavedHistoryTurn(
            rid=ids.rid,
            rcid=ids.rcid,
            context=ids.context,
            prompt=ask.prompt,
            answer=answer,
            seconds=self._clock.wall(),
            model_id=ids.model[0] if ids.model else None,
            work=work,
        )
        kept = not refused or work is not None
        history = session.history if ids.context else session.unlisted

        def done() -> None:
            if kept:
                history.save(ids.cid, turn)

        form = (ExactForm if self._rules.exact else FrameForm)(ids, sparse=script.sparse)
        return BreakableStream(
            ResponseScript(script, answer, form, self._config.pace, self._clock).chunks(), seen, done
        )

    def _ids(self, context: TurnContext, family: str) -> Ids:
        """Return a turn's ids, model and title."""
        ask, script, token = context.ask, context.script, secrets.token_hex(8)
        number, self._answered = self._answered, self._answered + 1
        family = script.answered_by or family
        model = None
        if family != "unknown":
            # pictures are drawn by a model of another name
            name = models.PICTURES if ask.tool == IMAGE else ""
            found = models.answering(family, context.owner.plan, extended=ask.extended and context.exact, name=name)
            model = found.id, found.name
        return Ids(
            cid=ask.place[0] if ask.place else f"c_{token}",
            rid=f"r_{token}",
            rcid=f"rc_{token}",
            context=secrets.token_hex(12) if context.owner.account is not None and not ask.temporary else "",
            model=model,
            title="" if ask.place else " ".join(script.description.split())[:40] or "A simulated chat",
            number=number,
        )


def shortened(prompt: str) -> str:
    """Return the part of a prompt that the site reads: a long one is cut between two characters."""
    if len(prompt) * 4 <= _MOST_PROMPT_BYTES:
        return prompt
    encoded = prompt.encode("utf-8", "surrogatepass")
    if len(encoded) <= _MOST_PROMPT_BYTES:
        return prompt
    end = _MOST_PROMPT_BYTES
    while encoded[end] & 0xC0 == 0x80:
        end -= 1
    return encoded[:end].decode("utf-8", "surrogatepass")
