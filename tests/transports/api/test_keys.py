import json

import pytest

from transports.api.keys import parse_key, recognizes_key

KEY = "AIza" + "b" * 35


@pytest.mark.parametrize(
    "text",
    [
        f" {KEY}\n",
        f'"{KEY}"',
        f"export GEMINI_API_KEY={KEY}",
        json.dumps({"api_key": KEY}),
        f"curl -H 'x-goog-api-key: {KEY}' https://generativelanguage.googleapis.com/v1beta/models",
        f"https://generativelanguage.googleapis.com/v1beta/models?key={KEY}",
    ],
)
def test_a_key_is_read_from_each_form(text):
    assert (parse_key(text), recognizes_key(text)) == (KEY, True)


def test_a_key_next_to_cookies_is_not_one_of_the_api():
    assert not recognizes_key(f"x-goog-api-key: {KEY}\nCookie: __Secure-1PSID=g.a")
    assert not recognizes_key(f"{KEY}\n{KEY.replace('b', 'c')}")
