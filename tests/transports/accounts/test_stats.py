import msgspec

from protocol.model import Capability
from transports.account import Account, AccountKind, Facts
from transports.accounts.availability import EVERYTHING, AccountState, Requirement
from transports.accounts.records import AttentionRecord, CooldownReason
from transports.accounts.registry import PauseRecord
from transports.accounts.stats import AccountCounter

CAPABILITIES = frozenset({Capability.CHAT, Capability.VIDEO})
PRO, FLASH = (
    Requirement(family=name, capability=Capability.CHAT, guest=False, by_model=True) for name in ("pro", "flash")
)
OMNI = Requirement(family="omni", capability=Capability.VIDEO, guest=False, by_model=True)
OFFERED = [PRO, FLASH, OMNI]


def key(name, **fields):
    given = {"kind": AccountKind.API_KEY, "tier": "free", "capabilities": CAPABILITIES, **fields}
    return AccountState(Account(id=name, transport="api", **given))


def counted(*states, offered=OFFERED, now=10.0):
    return AccountCounter("api", lambda: offered).count(states, now)


def statuses(stats, capability="chat"):
    return {state: count for (_, one, state), count in stats.by_status.items() if one == capability}


def models(stats, capability="chat"):
    return {(model, state): count for (*_, one, model, state), count in stats.by_model.items() if one == capability}


def test_a_key_whose_other_models_are_left_is_ready_and_the_model_says_why_it_is_not():
    one, two = key("one"), key("two")
    one.cool_down(50.0, PRO.scope, CooldownReason.QUOTA, 0.0)
    stats = counted(one, two)
    assert statuses(stats) == {"ready": 2}
    assert models(stats) == {("pro", "quota"): 1, ("pro", "ready"): 1, ("flash", "ready"): 2}
    assert {found[:2] for found in stats.by_model} == {("api_key", "free")}


def test_a_key_cools_down_when_all_its_models_do_and_is_ready_when_the_first_ends():
    one = key("one")
    one.cool_down(50.0, PRO.scope, CooldownReason.QUOTA, 0.0)
    one.cool_down(20.0, FLASH.scope, CooldownReason.PACE, 0.0)
    assert statuses(counted(one)) == {"cooling_down": 1}
    assert models(counted(one)) == {("pro", "quota"): 1, ("flash", "pace"): 1}
    assert statuses(counted(one), "video") == {"ready": 1}
    assert statuses(counted(one, now=20.0)) == {"ready": 1}


def test_a_model_that_a_key_never_has_is_left_out_of_its_status():
    one = key("one", lacks=lambda model: model == "omni")
    one.cool_down(50.0, PRO.scope, CooldownReason.NEVER, 0.0)
    stats = counted(one)
    assert (statuses(stats), statuses(stats, "video")) == ({"ready": 1}, {})
    assert models(stats) == {("pro", "not_included"): 1, ("flash", "ready"): 1}
    assert models(stats, "video") == {("omni", "not_included"): 1}


def test_what_applies_to_all_models_is_the_state_of_each():
    paused, attention, blocked, failing = key("a"), key("b"), key("c"), key("d")
    paused.paused = PauseRecord(by="me", at=0.0)
    attention.mark_needs_attention(AttentionRecord(reason="key_invalid", message="", at=0.0), 0.0)
    blocked.block_egress(50.0, 0.0, CooldownReason.PROXY)
    failing.cool_down(50.0, EVERYTHING, CooldownReason.ERRORS, 0.0)
    stats = counted(paused, attention, blocked, failing)
    assert statuses(stats) == {"paused": 1, "needs_attention": 1, "cooling_down": 2}
    assert {state for model, state in models(stats) if model == "pro"} == {
        "paused",
        "needs_attention",
        "proxy",
        "errors",
    }


def test_without_known_models_only_cooldowns_of_everything_count():
    one, two = key("one"), key("two")
    one.cool_down(50.0, PRO.scope, CooldownReason.QUOTA, 0.0)
    two.cool_down(50.0, EVERYTHING, CooldownReason.QUOTA, 0.0)
    stats = counted(one, two, offered=[])
    assert (statuses(stats), stats.by_model) == ({"ready": 1, "cooling_down": 1}, {})


def test_rotations_of_accounts_that_need_attention_are_left_out():
    facts = {"one": 5.0, "two": 6.0}
    states = [key(name) for name in facts]
    for state in states:
        at = facts[state.account.id]
        state.account = msgspec.structs.replace(state.account, facts=lambda at=at: Facts(rotated_at=at))
    states[1].mark_needs_attention(AttentionRecord(reason="consent", message="", at=0.0), 0.0)
    assert counted(*states).rotated == {"one": 5.0}
