import msgspec
import pytest

from protocol.model import Capability
from transports.account import Account, AccountKind, Facts
from transports.accounts.records import AttentionRecord, CooldownReason
from transports.accounts.registry import PauseRecord
from transports.accounts.state import EVERYTHING, AccountState, Cooldown, Requirement

CHAT = Requirement(family="pro", capability=Capability.CHAT, guest=False)
IMAGE = Requirement(family="pro", capability=Capability.IMAGEN, guest=False)
FLASH = Requirement(family="flash", capability=Capability.CHAT, guest=True)
RECORD = AttentionRecord(reason="signed_out", message="", at=0.0)


def state(**fields):
    return AccountState(Account(**{"id": "a", "transport": "t", **fields}))


def test_an_account_rests_for_what_it_was_limited_in_alone():
    one = state()
    assert one.cool_down(50.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    assert one.available_at(CHAT, 10.0) == 50.0
    assert one.available_at(IMAGE, 10.0) == 10.0
    assert one.available_at(FLASH, 10.0) == 10.0


@pytest.mark.parametrize(
    ("scope", "rests"),
    [(("pro", None), [CHAT, IMAGE]), ((None, Capability.CHAT), [CHAT, FLASH]), (EVERYTHING, [CHAT, IMAGE, FLASH])],
)
def test_a_rest_may_be_from_more_than_one_thing(scope, rests):
    one = state()
    one.cool_down(50.0, scope, CooldownReason.QUOTA, 0.0)
    assert [want for want in (CHAT, IMAGE, FLASH) if one.available_at(want, 10.0) == 50.0] == rests


def test_it_rests_for_everything_when_the_address_is_blocked():
    one = state()
    assert one.block_egress(50.0, 0.0)
    assert not one.block_egress(60.0, 0.0)
    assert one.available_at(FLASH, 10.0) == 60.0
    assert one.failures(FLASH.key, CooldownReason.QUOTA, 10.0) == 0


def test_a_longer_rest_is_not_cut_short_by_a_shorter():
    one = state()
    one.cool_down(50.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    assert not one.cool_down(20.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    assert one.available_at(CHAT, 0.0) == 50.0


def test_refusals_that_come_during_a_rest_make_no_later_one_longer():
    one = state()
    for _ in range(5):
        assert one.failures(CHAT.key, CooldownReason.QUOTA, 0.0) == 0
        one.cool_down(50.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    assert one.failures(CHAT.key, CooldownReason.QUOTA, 50.0) == 1
    one.cool_down(150.0, CHAT.key, CooldownReason.QUOTA, 50.0)
    assert one.failures(CHAT.key, CooldownReason.QUOTA, 150.0) == 2


def test_one_family_does_not_pay_for_another_nor_a_limit_for_the_pace():
    one = state()
    one.cool_down(50.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    assert one.failures(FLASH.key, CooldownReason.QUOTA, 60.0) == 0
    assert one.failures(CHAT.key, CooldownReason.PACE, 60.0) == 0
    one.succeed(FLASH, 60.0)
    assert one.failures(CHAT.key, CooldownReason.QUOTA, 60.0) == 1
    one.succeed(CHAT, 60.0)
    assert one.failures(CHAT.key, CooldownReason.QUOTA, 60.0) == 0


def test_an_answer_that_began_before_the_rest_does_not_make_light_of_it():
    one = state(concurrency=4)
    one.cool_down(50.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    one.succeed(CHAT, 10.0)
    assert one.failures(CHAT.key, CooldownReason.QUOTA, 60.0) == 1
    assert one.allowed(CHAT) == 1


def test_after_a_rest_it_carries_one_then_twice_as_many_with_each_answer():
    one = state(concurrency=5)
    one.cool_down(50.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    assert (one.allowed(CHAT), one.allowed(FLASH)) == (1, 5)
    one.begin(CHAT, 50.0)
    assert one.busy(CHAT)
    assert not one.busy(FLASH)
    allowed = []
    for _ in range(4):
        one.succeed(CHAT, 51.0)
        allowed.append(one.allowed(CHAT))
    assert allowed == [2, 4, 5, 5]
    assert not one.busy(CHAT)


def test_what_it_carries_of_other_things_is_no_part_of_the_slow_start():
    one = state(concurrency=5)
    one.begin(FLASH, 0.0)
    one.cool_down(50.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    assert one.ready(CHAT, 50.0)
    one.block_egress(60.0, 50.0)
    assert not one.ready(CHAT, 60.0)
    one.end(FLASH)
    assert one.ready(CHAT, 60.0)


def test_a_rest_that_is_over_is_told_once():
    one = state()
    one.cool_down(50.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    one.block_egress(60.0, 0.0)
    assert one.sweep(49.0) == []
    assert one.sweep(50.0) == [(CHAT.key, Cooldown(50.0, CooldownReason.QUOTA))]
    assert one.sweep(60.0) == [(EVERYTHING, Cooldown(60.0, CooldownReason.ADDRESS))]
    assert one.sweep(70.0) == []


def test_an_account_that_needs_attention_is_tried_again_now_and_then():
    one = state()
    assert one.mark_needs_attention(RECORD, 0.0)
    assert not one.mark_needs_attention(RECORD, 0.0)
    assert one.available_at(CHAT, 0.0) == 60.0
    one.begin(CHAT, 60.0)
    assert one.available_at(CHAT, 60.0) == 120.0
    assert one.clear_attention()
    assert not one.clear_attention()
    assert one.available_at(CHAT, 61.0) == 61.0


def test_an_account_that_needs_attention_is_tried_again_as_soon_as_its_credential_has_changed():
    credential = "1"
    one = state(facts=lambda: Facts(credential=credential))
    one.mark_needs_attention(msgspec.structs.replace(RECORD, credential="1"), 0.0)
    assert one.available_at(CHAT, 1.0) == 60.0
    credential = "2"
    assert one.available_at(CHAT, 1.0) == 1.0
    one.begin(CHAT, 1.0)
    assert one.available_at(CHAT, 1.0) == 61.0


def test_an_account_that_needs_attention_of_a_blocked_address_is_not_tried():
    one = state()
    one.mark_needs_attention(RECORD, 0.0)
    one.block_egress(600.0, 0.0)
    assert one.available_at(CHAT, 100.0) == 600.0


def test_a_guest_suits_only_what_needs_no_account():
    assert not state(kind=AccountKind.GUEST).supports(CHAT)
    assert state(kind=AccountKind.GUEST).supports(FLASH)
    assert state().supports(FLASH)


def test_an_account_is_asked_only_for_what_it_is_there_for():
    one = state(capabilities=frozenset({Capability.CHAT}))
    assert one.supports(CHAT)
    assert not one.supports(IMAGE)
    assert not state(per_day={Capability.IMAGEN: 0}).supports(IMAGE)


def test_one_that_is_paused_full_or_gone_is_not_asked():
    paused, full, gone = state(), state(), state()
    paused.paused = PauseRecord(by="me", at=0.0)
    full.full_until = 10.0
    gone.retired = True
    assert [one.ready(CHAT, 5.0) for one in (paused, full, gone)] == [False, False, False]
    assert full.ready(CHAT, 10.0)


def test_the_desperate_ask_one_that_rests_for_its_errors_alone():
    one = state()
    one.cool_down(50.0, EVERYTHING, CooldownReason.ERRORS, 0.0)
    assert not one.ready(CHAT, 1.0)
    assert one.ready(CHAT, 1.0, include_ejected=True)
    one.cool_down(40.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    assert not one.ready(CHAT, 1.0, include_ejected=True)


def test_what_it_carries_counts_for_less_with_more_weight():
    light, heavy = state(concurrency=4), state(concurrency=4, weight=2.0)
    for one in (light, heavy):
        one.begin(CHAT, 0.0)
    assert (light.load(CHAT), heavy.load(CHAT)) == (0.25, 0.125)


def test_failures_are_forgotten_with_an_answer_that_came_to_its_end():
    one = state()
    one.errors, one.ejections = 4, 2
    one.finish(0.0)
    assert (one.errors, one.ejections) == (0, 0)


def test_a_park_is_of_the_credential_that_it_was_told_of_until_another_is_tried():
    one, told = state(facts=lambda: Facts(credential="7")), msgspec.structs.replace(RECORD, credential="6")
    one.mark_needs_attention(told, 0.0)
    assert (one.attention, one.available_at(CHAT, 1.0)) == (told, 1.0)
    one.begin(CHAT, 1.0)
    assert (one.attention.credential, one.available_at(CHAT, 1.0)) == ("7", 61.0)
