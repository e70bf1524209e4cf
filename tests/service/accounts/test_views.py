import msgspec

from protocol.model import Capability
from service.accounts.views import AccountStatus, SharedFacts, account_view, unusable_view
from transports.account import Account, Facts, Quota
from transports.accounts.records import AccountLoad, AttentionRecord, CooldownReason, CooldownRecord, ProcessRecord
from transports.accounts.registry import AccountRecord, PauseRecord

NOW = 1000.0
ACCOUNT = Account(id="one", transport="web", concurrency=3, per_day={Capability.VIDEO: 2}, egress="http://proxy:3128")
NOTHING = SharedFacts(now=NOW, pauses={}, attention={}, cooldowns=(), processes=(), facts={})
PAUSE = PauseRecord(by="cli:me", at=NOW, reason="holiday")
ATTENTION = AttentionRecord(reason="consent", message="Answer the page.", at=NOW)
RECORD = AccountRecord(id="one", transport="web", secret="__Secure-1PSID=canary", created=NOW, by="admin:ops")


def cooldown(seconds, reason=CooldownReason.QUOTA, family="pro"):
    return CooldownRecord(account="one", family=family, reason=reason), seconds


def view(entry=None, **seen):
    return account_view(ACCOUNT, entry, msgspec.structs.replace(NOTHING, **seen))


def test_an_account_without_records_is_ready():
    shown = view()
    assert (shown.id, shown.state, shown.in_settings, shown.in_flight) == ("one", AccountStatus.READY, True, 0)
    assert (shown.concurrency, shown.per_day, shown.proxy) == (3, {"video": 2}, "http://proxy:3128")


def test_a_pause_takes_precedence_over_attention_and_attention_over_a_cooldown():
    cooldowns, attention = [cooldown(60.0)], {"one": ATTENTION}
    paused = view(pauses={"one": PAUSE}, attention=attention, cooldowns=cooldowns)
    assert (paused.state, paused.message, paused.paused_by) == (AccountStatus.PAUSED, "holiday", "cli:me")
    waiting = view(attention=attention, cooldowns=cooldowns)
    assert waiting.state is AccountStatus.NEEDS_ATTENTION
    assert (waiting.reason, waiting.message) == ("consent", "Answer the page.")
    assert view(cooldowns=cooldowns).state is AccountStatus.COOLING_DOWN


def test_an_account_is_ready_while_one_of_its_models_is_left():
    models = {"web": {("pro", "chat"), ("flash", "chat"), ("lite", "video")}}
    only_chat = msgspec.structs.replace(ACCOUNT, capabilities=frozenset({Capability.CHAT}))

    def state(*cooldowns):
        shared = msgspec.structs.replace(NOTHING, models=models, cooldowns=cooldowns)
        return account_view(only_chat, None, shared).state

    pro, flash = cooldown(60.0), cooldown(60.0, family="flash")
    never = cooldown(60.0, CooldownReason.NEVER, "flash")
    assert (state(pro), state(pro, flash)) == (AccountStatus.READY, AccountStatus.COOLING_DOWN)
    assert (state(pro, never), state(never)) == (AccountStatus.COOLING_DOWN, AccountStatus.READY)
    assert state(cooldown(60.0, CooldownReason.ERRORS, None)) is AccountStatus.COOLING_DOWN


def test_the_cooldown_that_ends_first_gives_the_reason():
    shown = view(cooldowns=[cooldown(90.0), cooldown(30.0, CooldownReason.PACE, "flash")])
    assert shown.reason == "pace"
    assert sorted(one.until for one in shown.cooldowns) == [NOW + 30.0, NOW + 90.0]


def test_records_of_another_account_are_ignored():
    other = {"two": PAUSE}
    assert view(pauses=other, attention={"two": ATTENTION}).state is AccountStatus.READY


def test_open_requests_of_all_processes_are_added_up():
    quota = Quota(name="pro", total=10, remaining=4)
    processes = [
        ProcessRecord(id="a", started=NOW, accounts={"one": AccountLoad(in_flight=2, plan="pro", quotas=(quota,))}),
        ProcessRecord(id="b", started=NOW, accounts={"one": AccountLoad(in_flight=1)}),
    ]
    shown = view(processes=processes, facts={"one": Facts(expires_at=NOW + 600)})
    assert shown.in_flight == 3
    assert shown.plan == "pro"
    assert [quota.remaining for quota in shown.quotas] == [4]


def test_a_stored_account_shows_its_author_and_no_secret():
    shown = view(RECORD)
    assert (shown.in_settings, shown.added_at, shown.added_by) == (False, NOW, "admin:ops")
    assert "canary" not in repr(shown)


def test_a_record_that_no_transport_accepts_is_shown_with_the_reason():
    shown = unusable_view(RECORD, "proxy: is no address")
    assert (shown.state, shown.added_by) == (AccountStatus.UNUSABLE, "admin:ops")
    assert shown.message.startswith("proxy: is no address. ")
    assert "canary" not in repr(shown)
