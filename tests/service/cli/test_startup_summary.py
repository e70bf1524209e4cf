import msgspec

from service.cli.startup_summary import print_summary, startup_summary, summary_lines
from service.config.loader import origin_of
from service.config.schema import LogSettings, load
from service.storage.factory import location_of
from tests.clock import ManualClock
from transports.accounts.records import AttentionRecord
from transports.accounts.registry import AccountRecord, AccountRegistry
from transports.store import MemoryStore, StoreDown
from transports.store.port import ATTENTION

COOKIES = "__Secure-1PSID=canary-{name}; __Secure-1PSIDTS=canary-ts"


async def surveyed(tmp_path, text, store):
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    settings, origin = load(path, {}), origin_of(path, {})
    location = location_of(settings.store, origin, tmp_path / "gateway.sqlite3")
    return await startup_summary(settings, origin, location, store, ManualClock())


async def test_missing_parts_are_named_with_the_command_that_adds_them(tmp_path):
    found = await surveyed(tmp_path, "[transports.web]\n", MemoryStore(ManualClock()))
    summary = "\n".join(summary_lines(found))
    for words in ("accounts add NAME", "licenses add NAME", "store.key_file", "not encrypted", "gateway.sqlite3"):
        assert words in summary


async def test_the_summary_counts_accounts_by_state_and_shows_no_secret(tmp_path):
    store = MemoryStore(ManualClock())
    registry = AccountRegistry(store, ManualClock())
    for name in ("dead", "paused", "well"):
        secret = COOKIES.format(name=name)
        await registry.add(AccountRecord(id=name, transport="web", secret=secret, options={}, created=1.0, by="me"))
    await registry.pause("paused", by="me")
    record = AttentionRecord(reason="signed_out", message="Export it again.", at=1.0)
    await store.put(ATTENTION, "dead", msgspec.json.encode(record))
    (tmp_path / "key").write_text("k" * 32)
    text = '[store]\nkey_file = "key"\n[[licenses]]\nid = "one"\nkey = "canary-license"\n[transports.web]\n'
    found = await surveyed(tmp_path, text, store)
    summary = "\n".join(summary_lines(found))
    assert "1 ready (well); 1 needs attention (dead); 1 paused (paused)" in summary
    assert "a working session of dead: gemini-gateway accounts show dead" in summary
    assert "secrets encrypted" in summary
    assert "canary" not in summary
    assert "licenses  1" in summary


async def test_many_accounts_are_not_all_named(tmp_path):
    store = MemoryStore(ManualClock())
    for number in range(20):
        secret = COOKIES.format(name=number)
        entry = AccountRecord(id=f"a{number:02}", transport="web", secret=secret, options={}, created=1.0, by="me")
        await AccountRegistry(store, ManualClock()).add(entry)
    summary = "\n".join(summary_lines(await surveyed(tmp_path, "[transports.web]\n", store)))
    assert "20 ready (a00, a01, a02, a03, a04, a05, a06, a07, and 12 more)" in summary


async def test_an_unavailable_store_is_a_finding(tmp_path):
    class Away(MemoryStore):
        async def scan(self, *_, **__):
            raise StoreDown("away")

    found = await surveyed(tmp_path, "[transports.web]\n", Away(ManualClock()))
    assert found.licenses is None
    assert "the store does not answer" in "\n".join(summary_lines(found))


async def test_a_log_gets_one_line_and_a_terminal_a_block(tmp_path, capfd):
    from structlog.testing import capture_logs

    found = await surveyed(tmp_path, "[transports.web]\n", MemoryStore(ManualClock()))
    with capture_logs() as logs:
        print_summary(found, LogSettings(format="json"))
    assert [(line["event"], line["transports"]) for line in logs] == [("gateway_started", ("web",))]
    assert capfd.readouterr().err == ""
    print_summary(found, LogSettings(format="console"))
    assert capfd.readouterr().err.splitlines()[0].startswith("gemini-gateway ")


async def test_a_damaged_record_is_named_and_does_not_prevent_the_start(tmp_path):
    store = MemoryStore(ManualClock())
    await store.put(ATTENTION, "one", b'{"reason": 7, "message": "canary"}')
    summary = "\n".join(summary_lines(await surveyed(tmp_path, "[transports.web]\n", store)))
    assert "the record 'one' of 'attention' cannot be read" in summary
    assert "canary" not in summary
