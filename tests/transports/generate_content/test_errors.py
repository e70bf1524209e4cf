"""Errors of the API: what they mean for the request and for the key."""

import json
from datetime import datetime

import pytest

from protocol.model import (
    BadRequest,
    Blocked,
    Certainty,
    NotIncluded,
    Overloaded,
    RateLimited,
    RequestTooLarge,
    SignedOut,
    Throttled,
    Unsupported,
    UpstreamFailed,
    UpstreamTimeout,
)
from transports.generate_content.errors import (
    FileMissing,
    KeyReason,
    ModelMissing,
    SignatureRefused,
    error_for_body,
    error_in,
    until_midnight,
)
from transports.retry_policy import NextStep, decide

NEW_YEAR = 1767225600.0
"""2026-01-01 00:00 UTC: 16:00 in California."""


def body(message="", *details, status=""):
    return json.dumps({"error": {"code": 0, "message": message, "status": status, "details": list(details)}}).encode()


def info(reason):
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}


def quota(quota_id, value="10"):
    violation = {"quotaMetric": "m", "quotaId": quota_id, "quotaValue": value, "quotaDimensions": {"model": "x"}}
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}


def retry(delay):
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, body("Invalid JSON payload received."), Unsupported),
        (400, body("User location is not supported for the API use.", status="FAILED_PRECONDITION"), Blocked),
        (400, body("The input token count (2) exceeds the maximum number of tokens allowed (1)."), BadRequest),
        (400, body("Function call is missing a thought_signature in functionCall parts."), SignatureRefused),
        (400, body("Corrupted thought signature."), SignatureRefused),
        (404, body("models/x is not found"), ModelMissing),
        (413, b"<html>", RequestTooLarge),
        (429, body("quota", quota("GenerateRequestsPerMinutePerProjectPerModel"), retry("26s")), Throttled),
        (429, body("quota", quota("OfSomeOtherTime")), RateLimited),
        (429, body("Resource has been exhausted."), Throttled),
        (403, b"<html>", Blocked),
        (403, body("You do not have permission to access the File abc or it may not exist."), FileMissing),
        (408, b"", UpstreamTimeout),
        (500, body("Internal"), UpstreamFailed),
        (502, b"", UpstreamFailed),
        (503, body("The model is overloaded."), Overloaded),
        (504, body("Deadline"), UpstreamTimeout),
    ],
)  # fmt: skip
def test_each_error_has_its_kind(status, body, kind):
    assert type(error_for_body(status, body, now=NEW_YEAR)) is kind


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, body("API key not valid. Please pass a valid API key.", info("API_KEY_INVALID")), KeyReason.INVALID),
        (400, body("API key expired. Please renew the API key."), KeyReason.EXPIRED),
        (401, body("Request had invalid authentication credentials."), KeyReason.INVALID),
        (403, body("Your API key was reported as leaked. Please use another API key."), KeyReason.LEAKED),
        (403, body("Requests are blocked.", info("API_KEY_SERVICE_BLOCKED")), KeyReason.DENIED),
        (403, body("Requests from referer are blocked.", info("API_KEY_HTTP_REFERRER_BLOCKED")), KeyReason.DENIED),
        (403, body("The IP address is not allowed.", info("API_KEY_IP_ADDRESS_BLOCKED")), KeyReason.DENIED),
        (400, body("Renew the key.", info("API_KEY_EXPIRED")), KeyReason.EXPIRED),
        (400, body("API key expired. Please renew the API key.", info("API_KEY_INVALID")), KeyReason.EXPIRED),
        (400, body("API Key not found. Please pass a valid API key."), KeyReason.INVALID),
        (403, body("Requests are blocked.", info("API_KEY_ANDROID_APP_BLOCKED")), KeyReason.DENIED),
        (403, body("The project was not found or deleted.", info("CONSUMER_INVALID")), KeyReason.NO_PROJECT),
        (403, body("Your project has been denied access. Please contact support."), KeyReason.SUSPENDED),
        (429, body("Your prepayment credits are depleted. Please go to AI Studio."), KeyReason.CREDITS),
        (429, body("Your project has exceeded its monthly spending cap. Go."), KeyReason.SPENDING_CAP),
        (400, body("Gemini API free tier is not available in your country. Enable billing."), KeyReason.BILLING),
        (403, body("Gemini API has not been used in project 1 before.", info("SERVICE_DISABLED")), KeyReason.DISABLED),
        (403, body("Consumer has been suspended.", info("CONSUMER_SUSPENDED")), KeyReason.SUSPENDED),
        (400, body("Please enable billing on project 1.", status="FAILED_PRECONDITION"), KeyReason.BILLING),
    ],
)
def test_a_key_that_does_not_work_needs_attention_with_the_reason(status, body, reason):
    error = error_for_body(status, body)
    assert isinstance(error, SignedOut)
    assert error.reason == reason
    assert error.advice
    assert "key" not in error.message.lower().replace("keys", "")


@pytest.mark.parametrize(
    "words", ["billing", "api key expired", "User location is not supported", "prepayment credits", "spending cap"]
)
def test_words_of_a_request_take_no_key_out_of_service(words):
    where = "GenerateContentRequest.tools[0].function_declarations[0].parameters.properties"
    message = f"* {where}[{words}].items: missing field."
    assert type(error_for_body(400, body(message, status="INVALID_ARGUMENT"))) is Unsupported


def test_the_quota_of_a_day_lasts_until_midnight_in_california_and_not_for_the_named_delay():
    error = error_for_body(
        429, body("q", quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier"), retry("37s")), now=NEW_YEAR
    )
    assert type(error) is RateLimited
    assert error.retry_after == 8 * 3600
    assert until_midnight(1793523600.0) == 23 * 3600  # 2026-11-01 09:00 UTC: the second 1 o'clock of that night


@pytest.mark.parametrize(
    ("now", "hours"),
    [
        ("2026-03-08T08:00:00+00:00", 23),  # midnight of the day that loses an hour
        ("2026-03-08T09:59:59+00:00", 21 + 1 / 3600),  # the second before the clocks go forward
        ("2026-03-08T10:00:00+00:00", 21),
        ("2026-03-09T07:00:00+00:00", 24),  # midnight in summer time
        ("2026-11-01T07:00:00+00:00", 25),  # midnight of the day that has an hour twice
        ("2026-11-01T08:59:59+00:00", 23 + 1 / 3600),  # the second before the clocks go back
        ("2026-11-02T07:59:59+00:00", 1 / 3600),
    ],
)
def test_midnight_in_california_is_right_on_days_of_23_and_25_hours(now, hours):
    assert until_midnight(datetime.fromisoformat(now).timestamp()) == pytest.approx(hours * 3600)


def test_the_quota_of_a_minute_lasts_as_long_as_the_api_says():
    error = error_for_body(429, body("q", quota("GenerateRequestsPerMinutePerProjectPerModel"), retry("26.5s")))
    assert error.retry_after == 26.5


def test_a_quota_of_nothing_means_that_the_key_never_has_the_model():
    assert isinstance(error_for_body(429, body("q", quota("PerDay", value="0"), retry("30s"))), NotIncluded)


def test_an_overloaded_model_has_not_begun_the_work():
    assert error_for_body(503, body("The model is overloaded.")).certainty is Certainty.REFUSED
    assert error_for_body(500, body("Internal")).certainty is Certainty.MAYBE_ACCEPTED


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        ("0s", 1),
        ("0.25s", 1),
        ("7.5s", 7.5),
        ("315576000000s", 86400),
        ("-5s", 60),
        ("soon", 60),
        ("1_0s", 60),
        ("", 60),
    ],
)
def test_a_wait_is_at_least_a_second_and_at_most_a_day(delay, seconds):
    error = error_for_body(429, body("q", quota("GenerateRequestsPerMinutePerProjectPerModel"), retry(delay)))
    assert error.retry_after == seconds


@pytest.mark.parametrize("code", [0, 8, "too_many_requests"])
def test_the_status_says_what_a_code_that_is_none_of_http_does_not(code):
    text = json.dumps({"error": {"code": code, "message": "q", "status": "RESOURCE_EXHAUSTED"}}).encode()
    error = error_in(b'[{"candidates": []}, ' + text + b"]")
    assert error.number == 429
    assert error_in(text) == error
    assert error_in(b"<html>") is error_in(b'{"candidates": []}') is error_in(b"[]") is None


MINUTE, DAY = quota("GenerateRequestsPerMinutePerProject"), quota("GenerateRequestsPerDayPerProject")


@pytest.mark.parametrize(
    ("status", "body", "step", "cooldown", "attention"),
    [
        (400, body("Wrong."), NextStep.OTHER_TRANSPORT, 0, ""),
        (400, body("Not here.", info("API_KEY_INVALID")), NextStep.OTHER_ACCOUNT, 0, KeyReason.INVALID),
        (401, body("Who are you?"), NextStep.OTHER_ACCOUNT, 0, KeyReason.INVALID),
        (403, body("No."), NextStep.OTHER_ACCOUNT, 0, KeyReason.DENIED),
        (403, b"<html>", NextStep.OTHER_ACCOUNT, 600, ""),
        (404, body("Gone."), NextStep.OTHER_ACCOUNT, 0, ""),
        (409, body("Aborted."), NextStep.RETRY_ONCE, 0, ""),
        (413, b"", NextStep.FAIL, 0, ""),
        (429, body("q", MINUTE, retry("26s")), NextStep.OTHER_ACCOUNT, 26, ""),
        (429, body("q", MINUTE, retry("0s")), NextStep.OTHER_ACCOUNT, 1, ""),
        (429, body("q", MINUTE), NextStep.OTHER_ACCOUNT, 60, ""),
        (429, body("q", MINUTE, DAY, retry("26s")), NextStep.OTHER_ACCOUNT, 8 * 3600, ""),
        (429, body("q", quota("PerDay", "0")), NextStep.OTHER_ACCOUNT, 86400, ""),
        (429, body("q", quota("PerDay", 0)), NextStep.OTHER_ACCOUNT, 86400, ""),
        (429, body("q", retry("9s")), NextStep.OTHER_ACCOUNT, 9, ""),
        (429, body("q", quota("OfSomeOtherTime")), NextStep.OTHER_ACCOUNT, 3600, ""),
        (429, body("q", {"@type": "google.rpc.QuotaFailure"}), NextStep.OTHER_ACCOUNT, 60, ""),
        (429, b"<html>", NextStep.OTHER_ACCOUNT, 60, ""),
        (499, body("Cancelled."), NextStep.RETRY_ONCE, 0, ""),
        (500, body("Internal."), NextStep.RETRY_ONCE, 0, ""),
        (501, body("Not implemented."), NextStep.RETRY_ONCE, 0, ""),
        (503, body("Overloaded."), NextStep.OTHER_ACCOUNT, 0, ""),
        (504, body("Late."), NextStep.RETRY_ONCE, 0, ""),
    ],
)
def test_each_refusal_has_its_effect_on_the_key(status, body, step, cooldown, attention):
    decision = decide(error_for_body(status, body, now=NEW_YEAR), 0)
    assert (decision.next, decision.cooldown, decision.attention) == (step, cooldown, attention)


def test_a_model_that_has_ended_is_named_as_such():
    found = error_for_body(404, body("This model models/gemini-2.0-flash is no longer available."))
    assert isinstance(found, ModelMissing)
    assert found.message.startswith("The upstream has retired this model.")
