"""One turn at the simulated site: from a checked request to the answer's course. Source: "StreamGenerate", "Codes"."""

import secrets
from collections import Counter

import msgspec
from starlette.responses import Response

from transports.clock import Clock
from transports.simulator import batch, gems, turns
from transports.simulator.accounts import Session
from transports.simulator.answer import Answer, Work
from transports.simulator.check import require
from transports.simulator.config import SimulatorConfig
from transports.simulator.course import Course, Ids
from transports.simulator.faults import SIGN_IN, SiteFault, answer_of
from transports.simulator.history import Turn
from transports.simulator.media import Media
from transports.simulator.scene import Scene
from transports.simulator.script import Script, parse
from transports.simulator.slots import Ask
from transports.simulator.stream import Stream
from transports.simulator.uploads import Upload, Uploads
from transports.web import wire

_MOST_PROMPT_BYTES = 130_000
_PICTURE_MODEL = "Nano Banana 2"
_RESET_SECONDS = 10.0
"""A usage limit that a prompt asked for ends so soon, if the prompt says nothing else."""


class Generation:
    """Answers turns."""

    def __init__(self, config: SimulatorConfig, clock: Clock, *, uploads: Uploads, media: Media) -> None:
        """Answer with what is uploaded and drawn here."""
        self._config, self._clock, self._uploads, self._media = config, clock, uploads, media
        self._once: set[str] = set()

    def answer(self, session: Session, ask: Ask, origin: str, seen: Counter[str]) -> Response | Stream:
        """Answer a turn.

        Raises:
            Departure: it names what there is not.

        """
        files = self._files(session, ask)
        previous = self._previous(session, ask)
        require(gems.known(ask.gem), "slot 19: no such gem")
        script = self._script(shortened(ask.prompt))
        refusal = _refusal(script)
        if refusal is not None:
            return refusal
        code = self._code(session, ask, script)
        if code is not None:
            script = script if script.error is not None else Script(text="", error=code, delay=0.0)
            return self._stream(session, ask, script, (Answer(text=script.text, thoughts=script.thoughts), None), seen)
        scene = Scene(
            ask=ask,
            script=script,
            owner=session,
            media=self._media,
            config=self._config,
            origin=origin,
            files=files,
            previous=previous,
            now=self._clock.wall(),
        )
        return self._stream(session, ask, script, turns.compose(scene), seen)

    def _files(self, session: Session, ask: Ask) -> tuple[Upload, ...]:
        require(not ask.files or session.account is not None, "slot 0: a guest has no files")
        found: list[Upload] = []
        for path, name in ask.files:
            upload = self._uploads.find(path)
            if upload is None:
                require(condition=False, what="slot 0: no such upload, or an expired one")
                break
            found.append(msgspec.structs.replace(upload, name=name))
        return tuple(found)

    def _previous(self, session: Session, ask: Ask) -> Turn | None:
        if ask.place is None:
            return None
        turn = session.history.follows(ask.place) if session.account is not None else None
        require(turn is not None, "slot 2: not the last turn of a conversation of this account")
        return turn

    def _script(self, prompt: str) -> Script:
        try:
            script = parse(prompt)
        except ValueError as error:
            return Script(text=f"The simulator does not understand: {error}.")
        if script.once:
            if script.once in self._once:
                return _without_faults(script)
            self._once.add(script.once)
        return script

    def _code(self, session: Session, ask: Ask, script: Script) -> int | None:
        """Return the code that the site answers this account's request with, if any."""
        if session.account is None:  # a guest asking for more silently gets the smaller model, and has no tools
            return script.error if ask.tool is None and ask.gem is None else wire.CODE_TOOL_NOT_ALLOWED
        known, now = batch.models(session.plan), self._clock.wall()
        family = known.get(ask.model_id or "", "flash")
        if ask.model_id is not None:
            fits = ask.model_id in known and ask.capacity == wire.CAPACITIES[session.plan]
            if not fits or ask.number != wire.MODEL_NUMBERS[family]:
                return wire.CODE_MODEL_HEADER
        if ask.tool == turns.VIDEO and self._no_video(ask, family):
            return wire.CODE_TOOL_NOT_ALLOWED
        if script.error == wire.CODE_USAGE_LIMIT:
            seconds = float(script.retry_after) if script.retry_after.isdigit() else _RESET_SECONDS
            session.quota.run_out(family, now + seconds)
        if script.error is not None:
            return script.error
        if session.quota.exhausted(family, now):
            return wire.CODE_USAGE_LIMIT
        session.quota.spend(family, now)
        return None

    def _no_video(self, ask: Ask, family: str) -> bool:
        return family != "pro" or (ask.place is None and self._config.video_first_turn_refused)

    def _stream(
        self,
        session: Session,
        ask: Ask,
        script: Script,
        composed: tuple[Answer, Work | None],
        seen: Counter[str],
    ) -> Stream:
        answer, work = composed
        token, kept = secrets.token_hex(8), session.account is not None and not ask.temporary
        ids = Ids(
            cid=ask.place[0] if ask.place else f"c_{token}",
            rid=f"r_{token}",
            rcid=f"rc_{token}",
            context=secrets.token_hex(12) if kept else "",
            model=_answering(session, ask, script),
        )
        turn = Turn(
            rid=ids.rid,
            rcid=ids.rcid,
            context=ids.context,
            prompt=ask.prompt,
            answer=answer,
            seconds=self._clock.wall(),
            work=work,
        )

        def done() -> None:
            if kept and script.error is None:
                session.history.keep(ids.cid, turn)

        return Stream(Course(script, answer, ids, self._config.pace, self._clock).chunks(), seen, done)


def _answering(session: Session, ask: Ask, script: Script) -> tuple[str, str] | None:
    """Return the id and name of the model that answers; pictures are drawn by a model of another name."""
    if script.answered_by == "unknown":
        return None
    family = script.answered_by or batch.models(session.plan).get(ask.model_id or "", "flash")
    identifier, name = batch.shown(session.plan, family)
    return identifier, _PICTURE_MODEL if ask.tool == turns.IMAGE else name


def shortened(prompt: str) -> str:
    """Return what the site reads of a prompt; a long one loses its tail, no half character is left."""
    if len(prompt) * 4 <= _MOST_PROMPT_BYTES:
        return prompt
    encoded = prompt.encode("utf-8", "surrogatepass")
    if len(encoded) <= _MOST_PROMPT_BYTES:
        return prompt
    end = _MOST_PROMPT_BYTES
    while encoded[end] & 0xC0 == 0x80:
        end -= 1
    return encoded[:end].decode("utf-8", "surrogatepass")


def _without_faults(script: Script) -> Script:
    """Return the script with its answer and without what goes wrong on the way."""
    clean = Script(text="")
    faulty = (
        "error", "http", "html", "delay", "queue", "after", "drop_after", "eof_after", "stall_after", "garbage_after",
        "switch_after", "answered_by", "refuse",
    )  # fmt: skip
    return msgspec.structs.replace(script, **{name: getattr(clean, name) for name in faulty})


def _refusal(script: Script) -> Response | None:
    """Return the page or status that comes instead of an answer, if the prompt asks for one."""
    if script.http is None and not script.html:
        return None
    fault = SiteFault(
        where="generate",
        status=script.http,
        location=script.location or SIGN_IN,
        retry_after=script.retry_after,
        html=script.html,
    )
    return answer_of(fault)
