import re
import secrets
import uuid

import pytest

from service.config.secret_strength import weakness_of
from service.licenses.auth import new_key
from tests.conftest import ROOT

PAGES = [
    *ROOT.glob("*.md"),
    *(path for folder in ("docs", "deploy", "k8s") for path in (ROOT / folder).rglob("*") if path.is_file()),
]


def published():
    """Return everything in the documentation and the examples that looks like a key."""
    texts = [path.read_text("utf-8", "replace") for path in PAGES]
    return sorted({match for text in texts for match in re.findall(r"\bsk-[\w.…-]{4,}", text)})


def test_no_key_of_the_documentation_is_a_secret():
    assert len(published()) >= 4
    assert [key for key in published() if weakness_of(key) is None] == []


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "password",
        "sk-password",
        "sk-gg-...",
        "sk-gg-…",
        "sk-demo-opens-only-a-simulator",
        "changemechangemechangeme",
        "CHANGE-ME-CHANGE-ME-CHANGE-ME",
        "replace_me_with_a_secret_key",
        "your-own-api-key-goes-here",
        "<insert a key of 32 bytes here>",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "a" * 40,
        "0" * 64,
        "abcabcabcabcabcabcabcabcabcabcabc",
        "deadbeefdeadbeefdeadbeefdeadbeef",
        "0123456789abcdef0123456789abcdef",
        "fedcba9876543210fedcba9876543210",
        "12345678901234567890123456789012",
        "abcdefghijklmnopqrstuvwxyz012345",
        "qwertyuiopasdfghjklzxcvbnm",
        "1q2w3e4r5t6y7u8i9o0p",
        "1qaz2wsx3edc4rfv",
        "P@ssw0rdP@ssw0rd123",
        "admin123admin123admin",
        "my-secret-license-key",
        "Summer2026!Summer2026!",
        "gemini-gateway-2026-secret",
        "ThisIsAVerySecretKeyForTheStore!",
        "a-secret-of-at-least-32-characters",
        "1111222233334444",
        "sk-test-0123456789abcdef",
    ],
)
def test_a_secret_that_is_guessed_first_is_weak(secret):
    weakness = weakness_of(secret)
    assert weakness is not None
    assert not secret or secret not in weakness


@pytest.mark.parametrize(
    "make", [new_key, lambda: secrets.token_hex(32), lambda: str(uuid.uuid4()), secrets.token_urlsafe]
)
def test_generated_secrets_are_strong(make):
    assert [secret for secret in (make() for _ in range(200)) if weakness_of(secret) is not None] == []


@pytest.mark.parametrize(
    "secret", ["sk-k3VxZ9qLwT7mPb2R", "correct-horse-battery-staple", "ü" * 3 + "Żółć-gęślą-jaźń-9"]
)
def test_a_long_uncommon_secret_is_strong(secret):
    assert weakness_of(secret) is None


def test_random_bytes_are_strong():
    assert weakness_of(secrets.token_bytes(32).decode("latin-1")) is None
