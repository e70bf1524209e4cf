"""The Gemini website as a transport: what each capability says to it, and what it answers, as events.

Source: "StreamGenerate", "Capabilities as turns".
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from protocol.model import (
    BadRequest,
    Capability,
    Certainty,
    FilePart,
    GatewayError,
    GenerationRequest,
    MediaRef,
    MediaStream,
    Selection,
    Unsupported,
    UpstreamFailed,
)
from transports.base import Account
from transports.clock import Clock
from transports.web import wire
from transports.web.config import Tools
from transports.web.errands import Errands
from transports.web.lasting import Prompt
from transports.web.media import fetch_file, open_media
from transports.web.narrate import Teller
from transports.web.prompt import lay_out
from transports.web.session import Session
from transports.web.speak import Answer, Speaker, Words
from transports.web.underway import LASTING, Desk, Underway, open_work
from transports.web.upload import Uploads

_OFFERED = frozenset({Capability.CHAT, Capability.IMAGEN, Capability.CANVAS, Capability.STORYBOOK}) | LASTING


class WebTransport:
    """The website with the operator's accounts, and as a guest."""

    def __init__(
        self,
        name: str,
        sessions: Mapping[str, Session],
        accounts: Sequence[Account],
        clock: Clock,
        errands: Errands,
    ) -> None:
        """Serve `accounts`, whose sessions are `sessions`; what is left to do after a request goes to `errands`."""
        self.name = name
        self.accounts = accounts
        self._sessions, self._clock, self._errands = sessions, clock, errands
        self._uploads = {account: Uploads(session, clock) for account, session in sessions.items()}

    def offers(self, selection: Selection) -> bool:
        """Say whether some account can do it; a guest only chats, with what needs no account."""
        guest = selection.model.guest and selection.capability is Capability.CHAT
        served = any(guest or not account.guest for account in self.accounts)
        return served and selection.capability in _OFFERED

    @asynccontextmanager
    async def open(self, request: GenerationRequest, account: Account) -> AsyncGenerator[Answer | Underway]:
        """Send the request; what one more try with the same account can mend is mended, once each."""
        session = self._sessions[account.id]
        layout = lay_out(request, files=not account.guest)
        attached = layout.attached if request.handle is None else ()
        files = await self._uploads[account.id].bring(attached, self._fetch)
        config, capability = session.site.config, request.selection.capability
        teller = Teller(transport=self.name, account=account.id, capability=capability)
        speaker = Speaker(session, request.selection, teller, self._clock)
        if capability in LASTING:
            async with open_work(self._desk(session, speaker), request, Prompt(layout.prompt, files)) as underway:
                yield underway
            return
        words = Words(
            prompt=layout.prompt,
            files=files,
            slots=slots_of(capability, config.tools),
            temporary=config.temporary,
        )
        async with AsyncExitStack() as stack:
            yield await speaker.answer(stack, words)

    def _desk(self, session: Session, speaker: Speaker) -> Desk:
        return Desk(
            session=session,
            speaker=speaker,
            errands=self._errands,
            clock=self._clock,
            open_media=lambda ref: self.media(ref, original=False),
        )

    @asynccontextmanager
    async def media(self, ref: MediaRef, *, original: bool) -> AsyncGenerator[MediaStream]:
        """Open a piece of media with the account whose it is; as `protocol.model.Engine.media`."""
        session = self._sessions.get(ref.account)
        if session is None:
            raise UpstreamFailed("The account that made this is not here any more.", code="media_gone")
        async with open_media(session, ref, original=original) as media:
            yield media

    async def _fetch(self, ref: MediaRef) -> FilePart:
        """Return what an earlier turn made, whoever made it; its account's trouble is not the asking one's."""
        session = self._sessions.get(ref.account)
        if session is None or ref.transport != self.name:
            raise Unsupported("A picture of an earlier turn was made by another upstream.", param="messages")
        try:
            return await fetch_file(session, ref)
        except GatewayError as error:
            if error.code == "media_gone":
                gone = "A picture of an earlier turn cannot be had any more; send it as a file instead."
                raise BadRequest(gone, param="messages", code="media_gone") from None
            message = "A picture of an earlier turn could not be fetched from the upstream."
            raise UpstreamFailed(message, code="upstream_rejected", certainty=Certainty.NOT_SENT) from None


def slots_of(capability: Capability, tools: Tools) -> dict[int, object]:
    """Return what a turn says of what it is for."""
    match capability:
        case Capability.IMAGEN:
            return {wire.SLOT_TOOL: tools.image}
        case Capability.CANVAS:
            return {wire.SLOT_TOOL: tools.canvas}
        case Capability.STORYBOOK:
            return {wire.SLOT_GEM: tools.storybook}
        case _:
            return {}
