"""The Gemini website as a transport: what each capability says to it, and what it answers, as events.

Source: "StreamGenerate", "Capabilities as turns".
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from protocol.model import (
    BadRequest,
    Capability,
    Certainty,
    FilePart,
    GatewayError,
    GenerationRequest,
    MediaRef,
    MediaStream,
    Rendition,
    Selection,
    Unsupported,
    UpstreamFailed,
)
from transports.account import Account
from transports.base import Upstream
from transports.clock import Clock
from transports.web import wire
from transports.web.config import Tools
from transports.web.errands import Errands
from transports.web.errors import StaleToken
from transports.web.lasting import Prompt
from transports.web.media import fetch_file, open_media
from transports.web.narrate import Teller
from transports.web.prompt import lay_out
from transports.web.reuse import Resumed, Reuse
from transports.web.session import Session
from transports.web.speak import Answer, Speaker, Words
from transports.web.underway import Desk, open_work
from transports.web.upload import Uploads


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What the transport works with besides its sessions."""

    clock: Clock
    errands: Errands
    """Where what is left to do after a request goes."""
    reuse: Reuse


class WebTransport:
    """The website with the operator's accounts, and as a guest."""

    def __init__(
        self,
        name: str,
        sessions: Mapping[str, Session],
        accounts: Sequence[Account],
        means: Means,
    ) -> None:
        """Serve `accounts`, whose sessions are `sessions`."""
        self.name = name
        self.accounts = accounts
        self._sessions, self._means = sessions, means
        self._uploads = {account: Uploads(session, means.clock) for account, session in sessions.items()}

    def offers(self, selection: Selection) -> bool:
        """Say whether some account can do it; a guest only chats, with what needs no account."""
        guest = selection.model.guest and selection.capability is Capability.CHAT
        return any(guest or not account.guest for account in self.accounts)

    async def home(self, request: GenerationRequest) -> str | None:
        """Return the account whose conversation the request goes on with, where there is one."""
        return None if request.selection.capability.lasting else await self._means.reuse.home(request)

    @asynccontextmanager
    async def open(self, request: GenerationRequest, account: Account) -> AsyncGenerator[Upstream]:
        """Send the request; what one more try with the same account can mend is mended, once each."""
        session = self._sessions[account.id]
        teller = Teller(transport=self.name, account=account.id, capability=request.selection.capability)
        speaker = Speaker(session, request.selection, teller, self._means.clock)
        async with AsyncExitStack() as stack:
            if request.selection.capability.lasting:
                prompt = await self._prompt(request, account)
                yield await stack.enter_async_context(open_work(self._desk(session, speaker), request, prompt))
            elif self._keeps(account):
                yield await self._going_on(stack, speaker, request, account)
            else:
                temporary = session.site.config.temporary
                yield await self._said(stack, speaker, request, account, temporary=temporary)

    def _keeps(self, account: Account) -> bool:
        return bool(self._means.reuse.seconds) and not account.guest

    async def _going_on(
        self,
        stack: AsyncExitStack,
        speaker: Speaker,
        request: GenerationRequest,
        account: Account,
    ) -> Upstream:
        """Say what is new in the conversation that has the rest, or all of it in one that will be gone on with."""
        reuse = self._means.reuse
        resumed = await reuse.take(request, account.id)
        answer = await self._resumed(stack, speaker, resumed, account) if resumed is not None else None
        if answer is None:
            answer = await self._begun(stack, speaker, request, account)
        followed = reuse.follow(request, answer)
        stack.callback(followed.close)
        return followed

    async def _resumed(
        self,
        stack: AsyncExitStack,
        speaker: Speaker,
        resumed: Resumed,
        account: Account,
    ) -> Answer | None:
        """Say what is new in its conversation; None: the site does not know that any more.

        Where no answer begins, it is as it was if the site has said no; else nobody can go on with it.
        """
        reuse = self._means.reuse
        speaker.conversation = resumed.conversation
        try:
            return await self._said(stack, speaker, resumed.request, account, temporary=False)
        except BaseException as error:
            gone = isinstance(error, UpstreamFailed) and error.certainty is Certainty.REFUSED
            untouched = isinstance(error, GatewayError) and error.certainty is not Certainty.MAYBE_ACCEPTED
            if untouched and not gone:
                await reuse.put_back(resumed, account.id)
                raise
            reuse.forget(account.id, resumed.conversation)
            if not gone:
                raise
        speaker.conversation = None
        return None

    async def _begun(
        self,
        stack: AsyncExitStack,
        speaker: Speaker,
        request: GenerationRequest,
        account: Account,
    ) -> Answer:
        """Say all of it in a conversation of its own, which nobody can go on with where no answer begins."""
        try:
            return await self._said(stack, speaker, request, account, temporary=False)
        except BaseException:
            if speaker.conversation is not None:
                self._means.reuse.forget(account.id, speaker.conversation)
            raise

    async def _said(
        self,
        stack: AsyncExitStack,
        speaker: Speaker,
        request: GenerationRequest,
        account: Account,
        *,
        temporary: bool,
    ) -> Answer:
        slots = slots_of(request.selection.capability, self._sessions[account.id].site.config.tools)
        while True:
            prompt = await self._prompt(request, account)
            words = Words(prompt=prompt.text, files=prompt.files, slots=slots, temporary=temporary)
            try:
                return await speaker.answer(stack, words)
            except StaleToken:  # twice, so it is no token: the site may have forgotten a file
                if not self._uploads[account.id].forget(prompt.files):
                    raise

    async def _prompt(self, request: GenerationRequest, account: Account) -> Prompt:
        layout = lay_out(request, files=not account.guest)
        attached = layout.attached if request.handle is None else ()
        return Prompt(layout.prompt, await self._uploads[account.id].bring(attached, self._fetch))

    def _desk(self, session: Session, speaker: Speaker) -> Desk:
        return Desk(
            session=session,
            speaker=speaker,
            errands=self._means.errands,
            reuse=self._means.reuse,
            clock=self._means.clock,
            open_media=lambda ref: self.media(ref, Rendition.USUAL),
        )

    @asynccontextmanager
    async def media(self, ref: MediaRef, rendition: Rendition) -> AsyncGenerator[MediaStream]:
        """Open a piece of media with the account whose it is; as `protocol.model.Engine.media`."""
        session = self._sessions.get(ref.account)
        if session is None:
            raise UpstreamFailed("The account that made this is not here any more.", code="media_gone")
        async with open_media(session, ref, rendition) as media:
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
