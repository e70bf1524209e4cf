import pytest

from transports.web.attention_reasons import ADVICE, AttentionReason
from transports.web.errors import error_for_http, signed_out


@pytest.mark.parametrize("reason", AttentionReason)
def test_each_reason_is_explained_to_the_operator_in_a_sentence(reason):
    assert ADVICE[reason].endswith(".")
    assert signed_out(reason).advice == ADVICE[reason]


def test_each_reason_has_advice():
    assert "export" in error_for_http(401).advice
    assert "robot" in error_for_http(302, location="https://www.google.com/sorry/index").advice
    assert "consent" in error_for_http(302, location="https://consent.google.com/m").advice
