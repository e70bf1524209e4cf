import asyncio
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import msgspec
import pytest
from structlog.testing import capture_logs

from protocol.model import Certainty, Media, Rendition, SignedOut, Text, UpstreamFailed
from tests.clock import ManualClock
from tests.transports.conftest import ACCOUNT, asking, connected, deps_for, request_for
from transports import simulator, web
from transports.accounts.registry import AccountRecord
from transports.clock import SystemClock
from transports.store import MemoryStore, StoreDown

SECOND = simulator.SimulatedAccount(psid="psid-2", psidts="psidts-2")
THIRD = simulator.SimulatedAccount(psid="psid-3", psidts="psidts-3")


def entry(account="two", of=SECOND, created=1.0, **options):
    secret = of if isinstance(of, str) else simulator.export_of(of)
    return AccountRecord(id=account, transport="web", secret=secret, options=options, created=created, by="me")


@asynccontextmanager
async def opened(open_site, *accounts, deps=None, **settings):
    """Connect a transport to a site that knows three accounts; the settings name the first."""
    deps = deps or deps_for()
    async with open_site(ACCOUNT, SECOND, THIRD) as site:
        async with site.connect(*accounts, deps=deps, rotate_seconds=0, **settings) as transport:
            yield site, deps, transport


async def add(deps, one):
    await deps.registry.add(one, replace=True)
    await deps.change_feed.poll()


def known(transport):
    return [account.id for account in transport.accounts]


def account_of(transport, name):
    return next(account for account in transport.accounts if account.id == name)


async def ask(transport, name, text="<echo>ok</echo>"):
    async with asking(transport, request_for(text), account_of(transport, name)) as answer:
        return "".join([event.text async for event in answer if isinstance(event, Text)])


async def test_an_added_account_serves_after_the_next_poll(open_site):
    async with opened(open_site) as (_, deps, transport):
        before = transport.accounts
        assert known(transport) == ["one", "web-guest"]
        await add(deps, entry(concurrency=2, weight=3))
        assert known(transport) == ["one", "two", "web-guest"]
        assert transport.accounts is not before
        assert (account_of(transport, "two").concurrency, account_of(transport, "two").weight) == (2, 3)
        assert await ask(transport, "two") == "ok"
        before = transport.accounts
        await deps.registry.pause("one", by="me")
        await deps.change_feed.poll()
        assert transport.accounts is before


async def test_accounts_of_the_store_serve_from_the_start(open_site):
    deps = deps_for()
    await deps.registry.add(entry())
    await deps.registry.add(msgspec.structs.replace(entry("other"), transport="elsewhere"))
    async with opened(open_site, deps=deps) as (_, _, transport):
        assert known(transport) == ["one", "two", "web-guest"]
        assert await ask(transport, "two") == "ok"


async def test_open_requests_finish_before_a_removed_account_closes(open_site):
    async with opened(open_site) as (_, deps, transport):
        await add(deps, entry())
        held, account = connected(transport, "two"), account_of(transport, "two")
        http = held.session.site.http
        async with asking(transport, request_for("<echo>still here</echo>"), account) as answer:
            await deps.registry.remove("two")
            await deps.change_feed.poll()
            assert known(transport) == ["one", "web-guest"]
            with pytest.raises(UpstreamFailed) as caught:
                async with asking(transport, request_for("x"), account):
                    pass
            assert caught.value.certainty is Certainty.NOT_SENT
            assert not http.closed
            assert "".join([event.text async for event in answer if isinstance(event, Text)]) == "still here"
        with anyio.fail_after(60):
            while not http.closed:
                await anyio.lowlevel.checkpoint()


async def test_a_removed_account_without_requests_is_closed_at_once(open_site):
    async with opened(open_site) as (_, deps, transport):
        await add(deps, entry())
        http = connected(transport, "two").session.site.http
        await deps.registry.remove("two")
        await deps.change_feed.poll()
        with anyio.fail_after(60):
            while not http.closed:
                await anyio.lowlevel.checkpoint()


async def test_requests_of_a_removed_account_end_after_a_limit(open_site):
    clock = ManualClock()
    async with opened(open_site, deps=deps_for(clock)) as (_, deps, transport):
        await add(deps, entry())
        held = connected(transport, "two")
        with held.used():
            await deps.registry.remove("two")
            await deps.change_feed.poll()
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            assert not held.session.site.http.closed
            with anyio.fail_after(60):
                while not held.session.site.http.closed:
                    clock.advance(1801)
                    await anyio.lowlevel.checkpoint()


async def test_a_new_credential_and_options_take_effect_for_the_next_request(open_site):
    async with opened(open_site) as (_, deps, transport):
        await add(deps, entry())
        first = connected(transport, "two")
        async with asking(transport, request_for("<echo>old</echo>"), account_of(transport, "two")) as answer:
            await add(deps, entry(of=THIRD, per_minute=3))
            assert account_of(transport, "two").per_minute == 3
            assert connected(transport, "two") is not first
            assert await ask(transport, "two") == "ok"
            assert "".join([event.text async for event in answer if isinstance(event, Text)]) == "old"
        session_store = connected(transport, "two").session.site.session_store
        assert session_store.cookies["__Secure-1PSID"] == THIRD.psid


async def test_a_stored_account_with_an_id_of_the_settings_is_skipped_and_logged_once(open_site):
    async with opened(open_site) as (_, deps, transport):
        with capture_logs() as logs:
            await add(deps, entry("one"))
            await add(deps, entry("two", of=THIRD))
        found = [log for log in logs if log["event"] == "account_skipped"]
        assert [log["account"] for log in found] == ["one"]
        assert known(transport) == ["one", "two", "web-guest"]
        assert connected(transport).session.site.session_store.cookies["__Secure-1PSID"] == ACCOUNT.psid


async def test_two_accounts_never_share_a_session(open_site):
    async with opened(open_site) as (_, deps, transport):
        with capture_logs() as logs:
            await add(deps, entry("later", created=2.0))
            await add(deps, entry("earlier", created=1.0))
            await add(deps, entry("declared", of=ACCOUNT))
        assert known(transport) == ["one", "earlier", "web-guest"]
        found = {log["account"]: log["reason"] for log in logs if log["event"] == "account_skipped"}
        assert "'earlier'" in found["later"]
        assert "'one'" in found["declared"]
        assert "psid" not in str(logs)


async def test_an_invalid_stored_account_is_skipped_and_the_others_serve(open_site):
    async with opened(open_site) as (_, deps, transport):
        with capture_logs() as logs:
            await add(deps, entry("bad", of="NID=secret"))
            await add(deps, entry("odd", of=THIRD, proxy="nonsense-secret"))
            await add(deps, entry("two"))
        assert known(transport) == ["one", "two", "web-guest"]
        assert {log["account"] for log in logs if log["event"] == "account_skipped"} == {"bad", "odd"}
        assert "secret" not in str(logs)
        findings = [finding async for finding in transport.examine("bad")]
        assert "__Secure-1PSID" in findings[0].message


class DownStore(MemoryStore):
    """A store that fails while `down` is set."""

    down = True

    def _check(self):
        if self.down:
            raise StoreDown("out of order")

    async def get(self, place, key):
        self._check()
        return await super().get(place, key)

    async def scan(self, place, *more, **options):
        self._check()
        return await super().scan(place, *more, **options)

    async def revisions(self):
        self._check()
        return await super().revisions()


async def test_while_the_store_is_down_configured_accounts_serve(open_site):
    store = DownStore(SystemClock())
    deps = deps_for(store=store)
    await deps.registry.add(entry())
    async with opened(open_site, deps=deps) as (_, _, transport):
        assert known(transport) == ["one", "web-guest"]
        assert await ask(transport, "one") == "ok"
        await deps.change_feed.poll()
        store.down = False
        await deps.change_feed.poll()
        assert known(transport) == ["one", "two", "web-guest"]
        assert await ask(transport, "two") == "ok"


async def test_adding_and_removing_leaves_no_task_or_client(open_site):
    async with opened(open_site) as (_, deps, transport):
        await ask(transport, "one")
        tasks = len(asyncio.all_tasks())
        clients = []
        for _ in range(20):
            await add(deps, entry())
            held = connected(transport, "two")
            clients.append(held.session.site.http)
            await deps.registry.remove("two")
            await deps.change_feed.poll()
        with anyio.fail_after(60):
            while transport.connected.running > 2 or len(asyncio.all_tasks()) > tasks:
                await anyio.lowlevel.checkpoint()
        assert all(client.closed for client in clients)
        assert {one.account.id for one in transport.connected.all} == {"one", "web-guest"}
    assert transport.connected.running == 0


async def test_media_of_a_stored_account_can_be_opened(open_site):
    async with opened(open_site) as (_, deps, transport):
        await add(deps, entry())
        request = request_for("a cat", "gemini-3-pro-imagen")
        async with asking(transport, request, account_of(transport, "two")) as answer:
            refs = [event.ref async for event in answer if isinstance(event, Media)]
        async with transport.media(refs[0], Rendition.USUAL) as media:
            assert len(b"".join([piece async for piece in media])) > 100
        await deps.registry.remove("two")
        await deps.change_feed.poll()
        with pytest.raises(UpstreamFailed) as caught:
            async with transport.media(refs[0], Rendition.USUAL):
                pass
        assert caught.value.code == "media_gone"


async def test_the_export_is_the_current_session(open_site):
    async with opened(open_site) as (_, deps, transport):
        await add(deps, entry())
        text = await transport.export("two")
        assert web.ACCOUNTS.from_record(entry("three", of=text)).credential == text
        with pytest.raises(UpstreamFailed):
            await transport.export("nobody")


async def test_facts_have_the_plan_the_quotas_and_the_credential(open_site):
    account = simulator.SimulatedAccount(psid="psid-1", psidts="psidts-1", quota=3, plan="pro")
    async with open_site(account) as site, site.connect(quota_seconds=300, rotate_seconds=0) as transport:
        before = account_of(transport, "one").facts()
        assert (before.plan, before.quotas, before.rotated_at, before.expires_at) == ("", (), None, None)
        await ask(transport, "one")
        with anyio.fail_after(60):
            while len(account_of(transport, "one").facts().quotas) < 6:
                await anyio.sleep(0.001)
        found = account_of(transport, "one").facts()
        left = {quota.name: (quota.remaining, quota.total) for quota in found.quotas}
        assert left.pop("week") == (48106, 48383)
        assert left.pop("5h") == (2, 3)
        assert left == {"flash": (3, 3), "flash-thinking": (3, 3), "flash-lite": (3, 3), "pro": (2, 3)}
        assert found.plan == "pro"
        assert found.credential == before.credential
        await ask(transport, "one")
        assert await site.seen("rpc_qpEbW") == 2


async def test_an_expired_session_is_not_answered_as_a_guest(open_site):
    expired = web.WebAccount(id="one", cookies="__Secure-1PSID=psid-1; __Secure-1PSIDTS=expired")
    async with opened(open_site, expired) as (site, _, transport):
        with pytest.raises(SignedOut) as caught:
            await ask(transport, "one")
        assert "export" in caught.value.advice
        assert await site.seen("generate") == 0


async def test_changed_cookies_of_the_settings_restart_the_session_without_downtime(open_site, tmp_path):
    path = tmp_path / "cookies"
    path.write_text(simulator.export_of(ACCOUNT))
    declared = web.WebAccount(id="one", cookies_file=path, per_minute=0)
    async with opened(open_site, declared, guest=False) as (_, _, transport):
        config = web.WebConfig(accounts=(declared,))
        assert await ask(transport, "one") == "ok"
        session_store = connected(transport).session.site.session_store
        await session_store.renew(session_store.saved, [], at=1.0, by="me")  # something has become of the export
        generation = session_store.saved.gen
        assert await transport.reload(config) == []
        assert connected(transport).session.site.session_store is session_store
        account = account_of(transport, "one")
        path.write_text(simulator.export_of(SECOND))
        async with asking(transport, request_for("<echo>old</echo>"), account) as answer:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(transport.reload, config)
                while account_of(transport, "one") is account:
                    assert await ask(transport, "one") == "ok"
            assert "".join([event.text async for event in answer if isinstance(event, Text)]) == "old"
        session_store = connected(transport).session.site.session_store
        await session_store.load()
        assert session_store.cookies["__Secure-1PSID"] == SECOND.psid
        assert session_store.saved.gen == generation + 1
        path.write_text("")
        assert await transport.reload(config) == [str(path)]
        assert await ask(transport, "one") == "ok"


async def test_reloaded_settings_add_and_remove_accounts(open_site):
    async with opened(open_site) as (_, deps, transport):
        await add(deps, entry())
        third = web.WebAccount(id="three", cookies=simulator.export_of(THIRD), per_minute=0)
        assert await transport.reload(web.WebConfig(accounts=(third,))) == []
        assert known(transport) == ["three", "two", "web-guest"]
        assert await ask(transport, "three") == "ok"
        assert await transport.reload(web.WebConfig()) == []
        assert known(transport) == ["two", "web-guest"]
