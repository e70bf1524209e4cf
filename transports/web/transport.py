"""The Gemini website as a transport: what each capability says to it, and what it answers, as events.

Source: "StreamGenerate", "Capabilities as turns".
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial

from protocol.model import (
    BadRequest,
    Capability,
    Certainty,
    Exchange,
    FileKeeper,
    FilePart,
    GatewayError,
    GenerationRequest,
    MediaRef,
    MediaStream,
    ModelDowngraded,
    Rendition,
    Saturated,
    Selection,
    Unsupported,
    UpstreamFailed,
    UpstreamModel,
)
from transports.account import Account, Finding, failed
from transports.clock import Clock
from transports.web import wire
from transports.web.accounts import ConnectedAccount, WebAccounts
from transports.web.codec import models
from transports.web.codec.codes import ImageRefused
from transports.web.codec.decode import SiteConversation
from transports.web.codec.events import MediaRefs
from transports.web.config import Tools, WebConfig
from transports.web.diagnostics import examine
from transports.web.errors import RequestRejected
from transports.web.long_running.open import LongRunningDeps, open_work
from transports.web.long_running.work import Prompt
from transports.web.media.download import fetched_file, open_media
from transports.web.session import quota
from transports.web.session.cookies import header
from transports.web.session.session import Session
from transports.web.turns.continuation import Resumed, Told
from transports.web.turns.image_retry import Drawing, in_words
from transports.web.turns.prompt import lay_out
from transports.web.turns.turn import Answer, TurnContent, TurnSender


class WebTransport:
    """The website with the operator's accounts, and as a guest."""

    def __init__(self, name: str, accounts: WebAccounts, clock: Clock, files: FileKeeper) -> None:
        """Serve the accounts that are there."""
        self.name, self.site = name, accounts.site
        self._files = files
        self._accounts, self._clock = accounts, clock
        self._reuse = accounts.reuse

    @property
    def accounts(self) -> Sequence[Account]:
        """As `transports.base.Transport.accounts`."""
        return self._accounts.sequence

    def offers(self, selection: Selection) -> bool:
        """Say whether some account can do it; a guest only chats, with what needs no account."""
        guest = selection.model.guest and selection.capability is Capability.CHAT
        return any(guest or not account.guest for account in self.accounts)

    def served_by(self, selection: Selection, account: Account) -> UpstreamModel | None:
        """As `transports.base.Transport.served_by`; a guest cannot choose, and gets what it got last."""
        held = self._accounts.held.get(account.id)
        if held is None or account.guest:
            return held.session.answered if held is not None else None
        ready = held.session.current
        if ready is None:
            return None
        chosen = models.choose(selection.model, self.name, ready.status)
        return models.asked(selection.model, chosen, ready.status)

    async def home(self, request: GenerationRequest) -> str | None:
        """Return the account whose conversation the request goes on with, where there is one."""
        return None if request.selection.capability.lasting else await self._reuse.home(request)

    async def open(self, stack: AsyncExitStack, request: GenerationRequest, account: Account) -> Exchange:
        """Send the request, going on with its conversation where there is one; as `transports.base.Transport.open`."""
        held, reuse = self._accounts.of(account.id), self._reuse
        session, capability = held.session, request.selection.capability
        teller = MediaRefs(transport=self.name, account=account.id, capability=capability)
        speaker = TurnSender(session, request.selection, teller, self._clock)
        held.use()
        stack.callback(self._leave, held)
        if capability.lasting:
            return await open_work(stack, self._desk(session, speaker), request, await self._prompt(request, held))
        if not reuse.seconds or account.guest:
            temporary = session.site.config.temporary
            answer = await self._said(stack, speaker, request, held, temporary=temporary)
            return Exchange(lambda: answer.served, answer.events)
        resumed = await reuse.take(request, account.id)
        answer = await self._resumed(stack, speaker, resumed, held) if resumed is not None else None
        if answer is None:
            try:
                answer = await self._said(stack, speaker, request, held, temporary=False)
            except BaseException:
                if speaker.conversation is not None:  # nobody can go on with it
                    reuse.forget(account.id, speaker.conversation)
                raise
        told = answer
        followed = reuse.follow(request, told)
        stack.callback(followed.close)
        return Exchange(lambda: told.served, followed.events())

    def _leave(self, held: ConnectedAccount) -> None:
        """Let go of an account; find out what is left of its limits, when nobody waits for it."""
        session = held.session
        if quota.due(session, self._clock):
            session.site.errands.later(0.0, "learn_quotas", partial(quota.learn, session, self._clock))
        held.unuse()

    async def _resumed(
        self,
        stack: AsyncExitStack,
        speaker: TurnSender,
        resumed: Resumed,
        held: ConnectedAccount,
    ) -> Told | None:
        """Say what is new in its conversation; None: the site does not know that any more.

        Where no answer begins, it is as it was if the site has said no; else nobody can go on with it.
        """
        reuse = self._reuse
        speaker.conversation = resumed.conversation
        try:
            return await self._said(stack, speaker, resumed.request, held, temporary=False)
        except BaseException as error:
            downgraded = isinstance(error, ModelDowngraded)  # the site has answered: the conversation has one turn more
            refused = isinstance(error, GatewayError) and error.certainty is not Certainty.MAYBE_ACCEPTED
            untouched = refused and not downgraded
            gone = untouched and isinstance(error, UpstreamFailed) and error.certainty is Certainty.REFUSED
            if untouched and not gone:
                await reuse.put_back(resumed, held.account.id)
                raise
            reuse.forget(held.account.id, resumed.conversation)
            if not gone:
                raise
        speaker.conversation = None
        return None

    async def _said(
        self,
        stack: AsyncExitStack,
        speaker: TurnSender,
        request: GenerationRequest,
        held: ConnectedAccount,
        *,
        temporary: bool,
    ) -> Told:
        capability, tools = request.selection.capability, held.session.site.config.tools
        slots = slots_of(capability, tools)
        image = capability is Capability.IMAGEN
        plain = image and bool(slots) and tools.image_retry
        before = speaker.conversation
        while True:
            prompt = await self._prompt(request, held)
            words = TurnContent(prompt=prompt.text, files=prompt.files, slots=slots, temporary=temporary)
            if image and not slots:
                words = in_words(words)
            try:
                answer = await speaker.answer(stack, words)
            except RequestRejected:  # the site may have forgotten a file
                if not held.uploads.forget(prompt.files):
                    raise
            except ImageRefused:  # nothing was made
                if not plain:
                    raise
                slots, plain, speaker.conversation = {}, False, before
            else:
                again = partial(self._without_tool, stack, speaker, words, held)
                return Drawing(answer, again) if plain and before is None else answer

    async def _without_tool(
        self,
        stack: AsyncExitStack,
        speaker: TurnSender,
        words: TurnContent,
        held: ConnectedAccount,
        first: SiteConversation | None,
    ) -> Answer:
        """Say a turn that asks for an image without the tool's number; the site forgets the `first` conversation."""
        speaker.conversation = None
        answer = await speaker.answer(stack, in_words(words))
        if first is not None and not words.temporary:
            self._reuse.forget(held.account.id, first)
        return answer

    async def _prompt(self, request: GenerationRequest, held: ConnectedAccount) -> Prompt:
        layout = lay_out(request, files=not held.account.guest)
        attached = layout.attached if request.handle is None else ()
        fetch = partial(self._fetch, request.caller.id)
        return Prompt(layout.prompt, await held.uploads.bring(attached, fetch) if attached else ())

    def _desk(self, session: Session, speaker: TurnSender) -> LongRunningDeps:
        return LongRunningDeps(
            session=session,
            speaker=speaker,
            errands=session.site.errands,
            reuse=self._reuse,
            clock=self._clock,
            open_media=lambda ref: self.media(ref, Rendition.USUAL),
        )

    @asynccontextmanager
    async def media(self, ref: MediaRef, rendition: Rendition) -> AsyncGenerator[MediaStream]:
        """Open a piece of media with the account whose it is; as `protocol.model.Engine.media`."""
        held = self._accounts.held.get(ref.account)
        if held is None:
            raise UpstreamFailed("The account that made this is not here any more.", code="media_gone")
        with held.used():
            async with open_media(held.session, ref, rendition) as media:
                yield media

    @asynccontextmanager
    async def _fetch(self, license_id: str, ref: MediaRef) -> AsyncGenerator[FilePart]:
        """Fetch what any account made in an earlier turn; that account's trouble is not the asking one's."""
        held = self._accounts.held.get(ref.account)
        if held is None or ref.transport != self.name:
            raise Unsupported("A picture of an earlier turn was made by another upstream.", param="messages")
        async with AsyncExitStack() as stack:
            try:
                with held.used():
                    file = await stack.enter_async_context(fetched_file(held.session, ref, self._files, license_id))
            except Saturated:
                raise
            except GatewayError as error:
                if error.code == "media_gone":
                    gone = "A picture of an earlier turn cannot be had any more; send it as a file instead."
                    raise BadRequest(gone, param="messages", code="media_gone") from None
                message = "A picture of an earlier turn could not be fetched from the upstream."
                raise UpstreamFailed(message, code="upstream_rejected", certainty=Certainty.NOT_SENT) from None
            yield file

    async def examine(self, account: str) -> AsyncIterator[Finding]:
        """Walk the whole path with one account; as `transports.base.Transport.examine`."""
        held = self._accounts.held.get(account)
        if held is None:
            advice = "Mend what is said, or look at the list of the accounts for its name."
            yield failed("account", self._accounts.why_not(account), advice)
            return
        with held.used():
            async with aclosing(examine(held, self._clock)) as findings:
                async for finding in findings:
                    yield finding

    async def reload(self, config: WebConfig) -> Sequence[str]:
        """Take over the settings' accounts; as `transports.base.Kind.reload`."""
        return await self._accounts.reload(config)

    async def export(self, account: str) -> str:
        """Return the session as it is now, as a Cookie header; as `transports.base.Transport.export`."""
        vault = self._accounts.of(account).session.site.vault
        if vault is None:
            raise Unsupported("A guest has no session.", param="account")
        await vault.load()
        return header(vault.cookies)


def slots_of(capability: Capability, tools: Tools) -> dict[int, object]:
    """Return what a turn says of what it is for."""
    match capability:
        case Capability.IMAGEN:
            return {wire.SLOT_TOOL: tools.image} if tools.image else {}
        case Capability.CANVAS:
            return {wire.SLOT_TOOL: tools.canvas}
        case Capability.STORYBOOK:
            return {wire.SLOT_GEM: tools.storybook}
        case _:
            return {}
