import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.model import Capability, Catalogue
from transports.account import Account, AccountKind, Facts
from transports.accounts.availability import EVERYTHING, AccountState, Cooldown, Requirement, Throttle
from transports.accounts.records import AttentionRecord, CooldownReason
from transports.accounts.registry import PauseRecord

CHAT = Requirement(family="pro", capability=Capability.CHAT, guest=False)
IMAGE = Requirement(family="pro", capability=Capability.IMAGEN, guest=False)
FLASH = Requirement(family="flash", capability=Capability.CHAT, guest=True)
RECORD = AttentionRecord(reason="signed_out", message="", at=0.0)


def state(**fields):
    return AccountState(Account(**{"id": "a", "transport": "t", **fields}))


def test_a_rate_limit_cools_down_its_family_only():
    one = state()
    assert one.cool_down(50.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    assert one.available_at(CHAT, 10.0) == 50.0
    assert one.available_at(IMAGE, 10.0) == 10.0
    assert one.available_at(FLASH, 10.0) == 10.0


def test_a_model_with_a_quota_of_nothing_is_not_served_and_the_others_are():
    one = state()
    one.cool_down(50.0, CHAT.scope, CooldownReason.NEVER, 0.0)
    assert [want for want in (CHAT, IMAGE, FLASH) if one.supports(want)] == [IMAGE, FLASH]
    one.sweep(50.0)
    assert one.supports(CHAT)


def test_the_quota_of_a_model_is_one_for_all_capabilities():
    selection = Catalogue.build().resolve("gemini-3-pro")
    assert Requirement.of(selection, "pro").scope == ("pro", Capability.CHAT)
    assert Requirement.of(selection, "gemini-pro-latest").scope == ("gemini-pro-latest", None)


@pytest.mark.parametrize(
    ("scope", "affected"),
    [(("pro", None), [CHAT, IMAGE]), ((None, Capability.CHAT), [CHAT, FLASH]), (EVERYTHING, [CHAT, IMAGE, FLASH])],
)
def test_several_cooldowns_can_apply_at_once(scope, affected):
    one = state()
    one.cool_down(50.0, scope, CooldownReason.QUOTA, 0.0)
    assert [want for want in (CHAT, IMAGE, FLASH) if one.available_at(want, 10.0) == 50.0] == affected


def test_a_blocked_address_cools_the_account_down_for_all_requests():
    one = state()
    assert one.block_egress(50.0, 0.0)
    assert not one.block_egress(60.0, 0.0)
    assert one.available_at(FLASH, 10.0) == 60.0
    assert one.failures(FLASH.key, CooldownReason.QUOTA, 10.0) == 0


def test_a_shorter_cooldown_does_not_replace_a_longer_one():
    one = state()
    one.cool_down(50.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    assert not one.cool_down(20.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    assert one.available_at(CHAT, 0.0) == 50.0


def test_refusals_during_a_cooldown_do_not_lengthen_the_next():
    one = state()
    for _ in range(5):
        assert one.failures(CHAT.key, CooldownReason.QUOTA, 0.0) == 0
        one.cool_down(50.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    assert one.failures(CHAT.key, CooldownReason.QUOTA, 50.0) == 1
    one.cool_down(150.0, CHAT.key, CooldownReason.QUOTA, 50.0)
    assert one.failures(CHAT.key, CooldownReason.QUOTA, 150.0) == 2


def test_failures_are_counted_per_family_and_reason():
    one = state()
    one.cool_down(50.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    assert one.failures(FLASH.key, CooldownReason.QUOTA, 60.0) == 0
    assert one.failures(CHAT.key, CooldownReason.PACE, 60.0) == 0
    one.succeed(FLASH, 60.0)
    assert one.failures(CHAT.key, CooldownReason.QUOTA, 60.0) == 1
    one.succeed(CHAT, 60.0)
    assert one.failures(CHAT.key, CooldownReason.QUOTA, 60.0) == 0


def test_an_answer_that_began_before_the_cooldown_does_not_reset_failures():
    one = state(concurrency=4)
    one.cool_down(50.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    one.succeed(CHAT, 10.0)
    assert one.failures(CHAT.key, CooldownReason.QUOTA, 60.0) == 1
    assert one.allowed(CHAT) == 1


def test_slow_start_allows_one_request_and_doubles_with_each_answer():
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


def test_requests_of_other_families_do_not_count_in_slow_start():
    one = state(concurrency=5)
    one.begin(FLASH, 0.0)
    one.cool_down(50.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    assert one.ready(CHAT, 50.0)
    one.block_egress(60.0, 50.0)
    assert not one.ready(CHAT, 60.0)
    one.end(FLASH)
    assert one.ready(CHAT, 60.0)


def test_an_ended_cooldown_is_reported_once():
    one = state()
    one.cool_down(50.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    one.block_egress(60.0, 0.0)
    assert one.sweep(49.0) == []
    assert one.sweep(50.0) == [(CHAT.key, Cooldown(50.0, CooldownReason.QUOTA))]
    assert one.sweep(60.0) == [(EVERYTHING, Cooldown(60.0, CooldownReason.ADDRESS))]
    assert one.sweep(70.0) == []


def test_an_account_that_needs_attention_is_tried_once_a_minute():
    one = state()
    assert one.mark_needs_attention(RECORD, 0.0)
    assert not one.mark_needs_attention(RECORD, 0.0)
    assert one.available_at(CHAT, 0.0) == 60.0
    one.begin(CHAT, 60.0)
    assert one.available_at(CHAT, 60.0) == 120.0
    assert one.clear_attention()
    assert not one.clear_attention()
    assert one.available_at(CHAT, 61.0) == 61.0


def test_an_account_that_needs_attention_is_tried_at_once_with_a_new_credential():
    credential = "1"
    one = state(facts=lambda: Facts(credential=credential))
    one.mark_needs_attention(msgspec.structs.replace(RECORD, credential="1"), 0.0)
    assert one.available_at(CHAT, 1.0) == 60.0
    credential = "2"
    assert one.available_at(CHAT, 1.0) == 1.0
    one.begin(CHAT, 1.0)
    assert one.available_at(CHAT, 1.0) == 61.0


def test_an_account_that_needs_attention_is_not_tried_from_a_blocked_address():
    one = state()
    one.mark_needs_attention(RECORD, 0.0)
    one.block_egress(600.0, 0.0)
    assert one.available_at(CHAT, 100.0) == 600.0


def test_a_guest_supports_only_requests_that_need_no_account():
    assert not state(kind=AccountKind.GUEST).supports(CHAT)
    assert state(kind=AccountKind.GUEST).supports(FLASH)
    assert state().supports(FLASH)


def test_an_account_supports_only_its_capabilities():
    one = state(capabilities=frozenset({Capability.CHAT}))
    assert one.supports(CHAT)
    assert not one.supports(IMAGE)
    assert not state(per_day={Capability.IMAGEN: 0}).supports(IMAGE)


def test_a_paused_full_or_removed_account_is_not_ready():
    paused, full, gone = state(), state(), state()
    paused.paused = PauseRecord(by="me", at=0.0)
    full.full_until = 10.0
    gone.retired = True
    assert [one.ready(CHAT, 5.0) for one in (paused, full, gone)] == [False, False, False]
    assert full.ready(CHAT, 10.0)


def test_only_a_cooldown_for_errors_is_ignored_with_include_ejected():
    one = state()
    one.cool_down(50.0, EVERYTHING, CooldownReason.ERRORS, 0.0)
    assert not one.ready(CHAT, 1.0)
    assert one.ready(CHAT, 1.0, include_ejected=True)
    one.cool_down(40.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    assert not one.ready(CHAT, 1.0, include_ejected=True)


def test_the_load_is_divided_by_the_weight():
    light, heavy = state(concurrency=4), state(concurrency=4, weight=2.0)
    for one in (light, heavy):
        one.begin(CHAT, 0.0)
    assert (light.load(CHAT), heavy.load(CHAT)) == (0.25, 0.125)


def test_a_complete_answer_resets_the_failures():
    one = state()
    one.errors, one.ejections = 4, 2
    one.finish(0.0)
    assert (one.errors, one.ejections) == (0, 0)


def test_needs_attention_applies_to_the_credential_it_was_recorded_for():
    one, record = state(facts=lambda: Facts(credential="7")), msgspec.structs.replace(RECORD, credential="6")
    one.mark_needs_attention(record, 0.0)
    assert (one.attention, one.available_at(CHAT, 1.0)) == (record, 1.0)
    one.begin(CHAT, 1.0)
    assert (one.attention.credential, one.available_at(CHAT, 1.0)) == ("7", 61.0)


class Upstream:
    """Gets what a throttle lets through of a steady stream of requests."""

    def __init__(self, per_second, ratio=2.0):
        self.throttle, self.rng = Throttle(ratio), random.Random(1).random
        self.per_second, self.now = per_second, 0.0

    def run(self, seconds, takes):
        """Return how many were sent, and how many of them taken, when each is with this likelihood."""
        sent = taken = 0
        for _ in range(int(seconds * self.per_second)):
            self.now += 1 / self.per_second
            if self.throttle.admit(self.now, self.rng()):
                sent += 1
                if self.rng() < takes:
                    taken += 1
                    self.throttle.accept(self.now)
                else:
                    self.throttle.fail(self.now)
        return sent, taken


def test_a_working_upstream_gets_all_requests():
    assert Upstream(20).run(300, 1.0) == (6000, 6000)


def test_a_failing_upstream_gets_about_one_request_per_second():
    upstream = Upstream(50)
    upstream.run(120, 1.0)
    upstream.run(120, 0.0)
    sent, _ = upstream.run(180, 0.0)
    assert 60 < sent < 2.5 * 180


@pytest.mark.parametrize("takes", [0.1, 0.3])
def test_a_partly_failing_upstream_gets_about_twice_what_it_accepts(takes):
    upstream = Upstream(50)
    upstream.run(120, takes)
    sent, taken = upstream.run(180, takes)
    assert sent <= 2.0 * taken + 2.5 * 180


def test_a_recovered_upstream_gets_most_requests_within_30_seconds():
    upstream = Upstream(50)
    upstream.run(300, 0.0)
    upstream.run(30, 1.0)
    sent, _ = upstream.run(10, 1.0)
    assert sent >= 0.9 * 500


def test_five_failures_do_not_throttle():
    throttle = Throttle(2.0)
    for _ in range(5):
        assert throttle.admit(0.0, 0.0)
        throttle.fail(0.0)
    assert throttle.admit(0.0, 0.0)


def test_open_requests_of_a_slow_upstream_do_not_throttle():
    throttle = Throttle(2.0)
    assert all(throttle.admit(float(second), 0.0) for second in range(20) for _ in range(50))


def test_open_requests_of_a_failing_upstream_count_as_failures():
    throttle = Throttle(2.0)
    for _ in range(6):
        throttle.admit(0.0, 1.0)
        throttle.fail(0.0)
    sent = [throttle.admit(30.0, 0.99) for _ in range(1000)]
    assert sent.count(True) < 800
    assert sent[-1] is False


def test_infrequent_requests_are_never_throttled():
    sent, _ = Upstream(0.5).run(600, 0.0)
    assert sent == 300


def test_a_short_failure_after_a_long_success_does_not_throttle():
    upstream = Upstream(20)
    upstream.run(120, 1.0)
    sent, _ = upstream.run(10, 0.0)
    assert sent == 200


def test_a_withdrawn_request_does_not_count():
    throttle = Throttle(2.0)
    for _ in range(6):
        throttle.admit(0.0, 1.0)
        throttle.fail(0.0)
    for _ in range(100):
        throttle.admit(10.0, 1.0)
        throttle.withdraw(10.0)
    assert throttle.admit(10.0, 0.0)


def test_a_ratio_of_zero_disables_the_throttle():
    throttle = Throttle(0.0)
    assert all(throttle.admit(0.0, 0.0) for _ in range(1000))


@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from(["admit", "accept", "withdraw"])), max_size=60))
def test_the_throttle_counts_the_last_ten_seconds(steps):
    throttle, now, log = Throttle(2.0), 0.0, []
    for wait, step in steps:
        now += wait
        throttle.admit(now, 1.0) if step == "admit" else getattr(throttle, step)(now)
        log.append((int(now / 0.5), {"admit": 1, "accept": 0, "withdraw": -1}[step]))
    if log:
        assert throttle._short.requests == sum(count for slot, count in log if slot > log[-1][0] - 10)
