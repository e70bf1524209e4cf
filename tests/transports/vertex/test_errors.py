import json

import pytest

from protocol.model import Certainty, RateLimited, SignedOut, Throttled, UpstreamFailed
from transports.generate_content.errors import error_for_body
from transports.vertex.errors import CREDENTIAL_ADVICE, CredentialReason, error_for_refresh, on_vertex


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("('invalid_grant: Invalid JWT Signature.', {})", CredentialReason.KEY),
        ("('invalid_grant: Invalid grant: account not found', {})", CredentialReason.GONE),
        ("('invalid_grant: Robot is disabled.', {})", CredentialReason.DISABLED),
        ("('invalid_grant: Invalid JWT: Token must be a short-lived token (60 minutes)', {})", CredentialReason.CLOCK),
        ("('unauthorized_client: no', {})", CredentialReason.REFUSED),
    ],
)
def test_a_refused_token_says_what_to_do(text, reason):
    error = error_for_refresh(text, retryable=False)
    assert isinstance(error, SignedOut)
    assert (error.reason, error.advice) == (reason, CREDENTIAL_ADVICE[reason])


def test_a_failing_token_endpoint_does_not_count_against_the_account():
    error = error_for_refresh("internal_failure: later", retryable=True)
    assert type(error) is UpstreamFailed
    assert error.certainty is Certainty.NOT_SENT


def refused(status, message="", *details):
    body = json.dumps({"error": {"code": status, "message": message, "details": list(details)}})
    return on_vertex(error_for_body(status, body.encode()))


@pytest.mark.parametrize(
    ("status", "reason", "advice"),
    [
        (401, "ACCESS_TOKEN_TYPE_UNSUPPORTED", "does not accept the account's token"),
        (403, "IAM_PERMISSION_DENIED", "the role Vertex AI User"),
        (403, "SERVICE_DISABLED", "enable it in the Google Cloud console"),
    ],
)
def test_a_refused_account_needs_what_google_cloud_calls_it(status, reason, advice):
    error = refused(status, "", {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason})
    assert isinstance(error, SignedOut)
    assert advice in error.advice
    assert "AI Studio" not in error.advice


def test_a_refusal_without_a_quota_passes_soon():
    error = refused(429, "Resource exhausted. Please try again later.")
    assert (type(error), error.retry_after) == (Throttled, 15.0)
    day = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProject", "quotaValue": "5"}]}
    assert type(refused(429, "", day)) is RateLimited
