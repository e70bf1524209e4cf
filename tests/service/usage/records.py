"""Usage records for tests."""

import secrets

from service.usage.usage_record import UsageRecord

NOON = 1_796_126_400.0
"""2026-12-01, 12:00 UTC."""
DAY = 86400.0


def record(**fields):
    defaults = {
        "id": f"req_{secrets.token_hex(12)}",
        "finished": NOON,
        "license": "customer",
        "model": "gemini-3-pro",
        "answered": "Gemini 3 Pro",
        "capability": "chat",
        "transport": "web",
        "account": "main",
        "input_tokens": 10,
        "output_tokens": 5,
    }
    return UsageRecord(**(defaults | fields))
