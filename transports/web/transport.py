"""The transport for the Gemini website: sends requests as turns of a conversation and returns the answer's events.

`TRANSPORT_TYPE` registers it; `connect` opens its accounts.

Source: "StreamGenerate", "Capabilities as turns".
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from functools import partial

import msgspec

from protocol.model import (
    Capability,
    Certainty,
    Exchange,
    GatewayError,
    GenerationRequest,
    Handle,
    MediaRef,
    MediaStream,
    Model,
    ModelDowngraded,
    Rendition,
    Selection,
    Unsupported,
    UpstreamFailed,
    UpstreamModel,
    Usage,
    prompt_tokens,
)
from transports.account import Account, Finding
from transports.base import Deps, TransportType
from transports.earlier_media import EarlierMedia
from transports.http import trusted
from transports.web import wire
from transports.web.account_config import ACCOUNTS
from transports.web.accounts import SiteAccount, WebAccounts, open_accounts
from transports.web.codec import models
from transports.web.codec.answer import SiteConversation
from transports.web.codec.codes import ImageRefused
from transports.web.codec.events import MediaRefs
from transports.web.codec.models import Family
from transports.web.config import Tools, WebConfig
from transports.web.diagnostics import examine
from transports.web.errors import RequestRejected
from transports.web.long_running.open import LongRunningDeps, open_work
from transports.web.long_running.work import Prompt
from transports.web.media.download import open_media
from transports.web.session.cookies import header
from transports.web.turns.continuation import ConversationRecorder, Resumed, ReusableAnswer
from transports.web.turns.image_retry import ImageAnswer, without_tool
from transports.web.turns.prompt import lay_out
from transports.web.turns.tool_calls import CallGrammar
from transports.web.turns.turn import TurnAnswer, TurnContent, TurnSender


class WebTransport:
    """Serve requests through the website, with the operator's accounts and as a guest."""

    def __init__(self, accounts: WebAccounts, deps: Deps) -> None:
        """Use the given connected accounts."""
        self.name, self.site = deps.name, accounts.site
        self._others, self._earlier = deps.media, EarlierMedia(self._opened, deps.files)
        self.connected, self._clock = accounts, deps.clock
        self._reuse = accounts.reuse

    @property
    def accounts(self) -> Sequence[Account]:
        """See `transports.base.Transport.accounts`."""
        return self.connected.sequence

    @property
    def discovered(self) -> Sequence[Model]:
        """No models: all that the site lists belong to families of the catalogue."""
        return ()

    def offers(self, selection: Selection) -> bool:
        """Return whether an account can serve the selection; a guest serves only chats with guest models."""
        if selection.model.family not in wire.MODEL_IDS or not selection.model.is_at(self.name):
            return False
        guest = selection.model.guest and selection.capability is Capability.CHAT
        return any(guest or not account.guest for account in self.accounts)

    def served_by(self, selection: Selection, account: Account) -> UpstreamModel | None:
        """See `transports.base.Transport.served_by`; a guest cannot choose, so the model of its last answer is used."""
        connected = self.connected.get(account.id)
        if connected is None or account.guest:
            return connected.session.last_model if connected is not None else None
        ready = connected.session.current
        if ready is None:
            return None
        chosen = models.choose(selection.model, self.name, ready.status)
        return models.asked(selection.model, chosen, ready.status)

    def applies(self, selection: Selection) -> frozenset[str]:
        """Return no names: the site has no such options. See `transports.base.Transport.applies`."""
        del selection
        return frozenset()

    def quota_of(self, selection: Selection) -> str:
        """Return the model family, for which the site has a quota."""
        return selection.model.family

    async def home(self, request: GenerationRequest) -> str | None:
        """Return the account whose conversation the request continues, if there is one."""
        return None if request.selection.capability.long_running else await self._reuse.account_of(request)

    async def prefers(self, request: GenerationRequest, tier: str) -> None:
        """Return None: all accounts cost the same."""
        del request, tier

    async def open(self, stack: AsyncExitStack, request: GenerationRequest, account: Account) -> Exchange:
        """Send the request, in the conversation that it continues if possible; see `transports.base.Transport.open`."""
        connected, reuse = self.connected.of(account.id), self._reuse
        session, capability = connected.session, request.selection.capability
        media_refs = MediaRefs(
            transport=self.name,
            account=account.id,
            capability=capability,
            features=request.caller.features,
        )
        sender = TurnSender(session, request.selection, media_refs, self._clock)
        sender.prompt = Usage(input_tokens=prompt_tokens(request), output_tokens=0)
        connected.use()
        stack.callback(connected.unuse)
        stack.callback(session.refresh_quotas_later)
        grammar = CallGrammar(request)
        if capability.long_running:
            deps = LongRunningDeps(
                session=session,
                sender=sender,
                reuse=reuse,
                clock=self._clock,
                open_media=lambda ref: self.media(ref, Rendition.USUAL),
            )
            return await open_work(stack, deps, request, await self._prompt(request, connected, grammar))
        if not self._continues(connected):
            answer = await self._send_turn(stack, sender, request, connected, grammar)
            return Exchange(lambda: answer.served, grammar.events(answer.events))
        resumed = await reuse.take(request, account.id)
        answer = await self._resumed(stack, sender, resumed, connected, grammar) if resumed is not None else None
        if answer is None:
            grammar.shown = ""
            try:
                answer = await self._send_turn(stack, sender, request, connected, grammar)
            except BaseException:
                if sender.conversation is not None:  # its state is unknown, so it is not continued
                    reuse.delete_soon(account.id, sender.conversation)
                raise
        started = answer
        recorder = ConversationRecorder(reuse, request, started, grammar)
        stack.callback(recorder.close)
        return Exchange(lambda: started.served, recorder.events())

    def _continues(self, connected: SiteAccount) -> bool:
        """Return whether the site stores this account's conversations, to be continued."""
        return bool(self._reuse.seconds) and not connected.account.guest

    async def _resumed(
        self,
        stack: AsyncExitStack,
        sender: TurnSender,
        resumed: Resumed,
        connected: SiteAccount,
        grammar: CallGrammar,
    ) -> ReusableAnswer | None:
        """Send the new messages in the existing conversation; None if the site refuses to continue it.

        If no answer starts, the conversation can be continued later only if the site certainly did not take the turn.
        """
        reuse = self._reuse
        sender.conversation, grammar.shown = resumed.conversation, resumed.conversation.tools
        lists_tools = grammar.shown != grammar.seen
        new = resumed.request if lists_tools else msgspec.structs.replace(resumed.request, tools=None)
        fresh = sender.prompt
        sender.prompt = msgspec.structs.replace(fresh, cached_tokens=max(0, fresh.input_tokens - prompt_tokens(new)))
        try:
            return await self._send_turn(stack, sender, resumed.request, connected, grammar)
        except BaseException as error:
            downgraded = isinstance(error, ModelDowngraded)  # the site answered, so the conversation has a new turn
            refused = isinstance(error, GatewayError) and error.certainty is not Certainty.MAYBE_ACCEPTED
            untouched = refused and not downgraded
            gone = untouched and isinstance(error, UpstreamFailed) and error.certainty is Certainty.REFUSED
            if untouched and not gone:
                await reuse.put_back(resumed, connected.account.id)
                raise
            reuse.delete_soon(connected.account.id, resumed.conversation)
            if not gone:
                raise
        sender.conversation, sender.prompt = None, fresh
        return None

    async def _send_turn(
        self,
        stack: AsyncExitStack,
        sender: TurnSender,
        request: GenerationRequest,
        connected: SiteAccount,
        grammar: CallGrammar,
    ) -> ReusableAnswer:
        capability, tools = request.selection.capability, connected.session.site.config.tools
        slots = slots_of(capability, tools)
        image = capability is Capability.IMAGEN
        plain = image and bool(slots) and tools.image_retry
        temporary = connected.session.site.config.temporary and not self._continues(connected)
        before = sender.conversation
        while True:
            prompt = await self._prompt(request, connected, grammar)
            content = TurnContent(prompt=prompt.text, files=prompt.files, slots=slots, temporary=temporary)
            if image and not slots:
                content = without_tool(content)
            try:
                answer = await sender.answer(stack, content)
            except RequestRejected:  # the site may have deleted an uploaded file
                if not connected.uploads.forget(prompt.files):
                    raise
            except ImageRefused:  # nothing was made
                if not plain:
                    raise
                slots, plain, sender.conversation = {}, False, before
            else:
                again = partial(self._without_tool, stack, sender, content, connected)
                return ImageAnswer(answer, again) if plain and before is None else answer

    async def _without_tool(
        self,
        stack: AsyncExitStack,
        sender: TurnSender,
        content: TurnContent,
        connected: SiteAccount,
        first: SiteConversation | None,
    ) -> TurnAnswer:
        """Ask for an image in content, without the tool's number, and delete the `first` conversation at the site."""
        sender.conversation = None
        answer = await sender.answer(stack, without_tool(content))
        if first is not None and not content.temporary:
            self._reuse.delete_soon(connected.account.id, first)
        return answer

    async def _prompt(self, request: GenerationRequest, connected: SiteAccount, grammar: CallGrammar) -> Prompt:
        layout = lay_out(request, grammar.instructions(), files=not connected.account.guest)
        attached = layout.attached if request.handle is None else ()
        fetch = partial(self._earlier.fetched, owner=request.caller.owner)
        return Prompt(layout.prompt, await connected.uploads.bring(attached, fetch) if attached else ())

    async def cancel(self, handle: Handle) -> None:
        """Do nothing: the site cannot end work; its conversation is deleted later."""
        del handle

    @asynccontextmanager
    async def media(self, ref: MediaRef, rendition: Rendition) -> AsyncGenerator[MediaStream]:
        """Open a media file with the account that generated it; see `protocol.model.Engine.media`."""
        connected = self.connected.get(ref.account)
        if connected is None:
            raise UpstreamFailed("The account that generated this media has been removed.", code="media_gone")
        with connected.used():
            async with open_media(connected.session, ref, rendition) as media:
                yield media

    def _opened(self, ref: MediaRef) -> AbstractAsyncContextManager[MediaStream]:
        """Open media of an earlier answer, of any transport, in the pixels in which it is sent again."""
        if ref.transport != self.name:
            return self._others(ref)
        return self.media(msgspec.structs.replace(ref, original=""), Rendition.ORIGINAL)

    async def examine(self, account: str) -> AsyncGenerator[Finding]:
        """Check the path of one account's requests; see `transports.base.Transport.examine`."""
        connected = self.connected.get(account)
        if connected is None:
            yield self.connected.missing(account)
            return
        with connected.used():
            async with aclosing(examine(connected, self._clock)) as findings:
                async for finding in findings:
                    yield finding

    async def reload(self, config: WebConfig) -> Sequence[str]:
        """Apply the accounts of the settings; see `transports.base.TransportType.reload`."""
        return await self.connected.reload(config.accounts)

    async def export(self, account: str) -> str:
        """Return the current session as a Cookie header; see `transports.base.Transport.export`."""
        session_store = self.connected.of(account).session.site.session_store
        if session_store is None:
            raise Unsupported("A guest has no session.", param="account")
        await session_store.load()
        return header(session_store.cookies)


def slots_of(capability: Capability, tools: Tools) -> dict[int, object]:
    """Return the request slots that select a capability."""
    match capability:
        case Capability.IMAGEN:
            return {wire.SLOT_TOOL: tools.image} if tools.image else {}
        case Capability.CANVAS:
            return {wire.SLOT_TOOL: tools.canvas}
        case Capability.STORYBOOK:
            return {wire.SLOT_GEM: tools.storybook}
        case _:
            return {}


def check(config: WebConfig) -> None:
    """Check the settings other than the accounts.

    Raises:
        ValueError: the certificates cannot be used; the message names their file.

    """
    trusted(config.ca_file)


@asynccontextmanager
async def connect(config: WebConfig, deps: Deps) -> AsyncGenerator[WebTransport]:
    """Connect the accounts of the settings and the store; their sessions are fetched in the background or on first use.

    Raises:
        ValueError: an account is invalid, or as `check`.

    """
    check(config)
    async with open_accounts(config, deps) as accounts:
        yield WebTransport(accounts, deps)


TRANSPORT_TYPE = TransportType(
    WebConfig,
    connect,
    check,
    secrets=frozenset({"cookies", "proxy"}),
    accounts=ACCOUNTS,
    families=frozenset(Family),
    is_simulated=lambda config: config.hosts.on_this_machine,
    reload=WebTransport.reload,
)
