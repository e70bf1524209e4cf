import msgspec
import pytest

from transports import web

GOOD = {
    "accounts": [
        {"id": "me@home.example", "cookies": "x", "proxy": "http://user:p%40ss@proxy.example:3128", "per_minute": 0},
        {"id": "b", "cookies": "x", "proxy": "https://[::1]:8080/", "weight": 2, "capabilities": ["chat", "imagen"]},
        {"id": "c", "cookies": "x", "proxy": "socks5h://user:p%40ss@proxy.example:1080", "per_day": {"video": 3}},
    ],
    "hosts": {"site": "http://127.0.0.1:9000", "accounts": "https://accounts.google.com"},
    "guest_per_minute": 0,
    "rotate_seconds": 0,
    "activity_seconds": 0,
    "user_agent": "Mozilla/5.0 (X11; Linux x86_64)",
    "timeouts": {"first_frame": 0.5},
}


def with_at(path, value):
    tree = msgspec.json.decode(msgspec.json.encode(GOOD))
    place = tree
    *folders, key = path
    for folder in folders:
        place = place[folder] if isinstance(place, list) else place.setdefault(folder, {})
    place[key] = value
    return tree


def test_valid_settings_are_accepted():
    assert msgspec.convert(GOOD, web.WebConfig).accounts[0].per_minute == 0
    assert msgspec.convert({}, web.WebConfig) == web.WebConfig()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("accounts", 0, "concurrency"), 0),
        (("accounts", 0, "per_minute"), -1),
        (("accounts", 0, "id"), ""),
        (("accounts", 0, "id"), "a\nb"),
        (("accounts", 0, "user_agent"), "Mozilla\nX-Evil: 1"),
        (("accounts", 0, "user_agent"), ""),
        (("accounts", 0, "proxy"), "nonsense"),
        (("accounts", 0, "proxy"), "socks6://proxy.example:1080"),
        (("accounts", 0, "weight"), 0),
        (("accounts", 0, "per_day"), {"video": 0}),
        (("accounts", 0, "capabilities"), ["painting"]),
        (("refresh_seconds",), -1),
        (("quota_seconds",), -1),
        (("accounts", 0, "proxy"), "http://proxy.example/path"),
        (("guest_concurrency",), 0),
        (("guest_per_minute",), -1),
        (("rotate_seconds",), -1),
        (("activity_seconds",), float("nan")),
        (("max_frame",), 0),
        (("user_agent",), "Mozilla\r\n"),
        (("hosts", "site"), "https://gemini.google.com/"),
        (("hosts", "site"), "gemini.google.com"),
        (("hosts", "upload"), "https://user@content-push.googleapis.com"),
        (("hosts", "accounts"), "https://accounts.google.com\n"),
        (("timeouts", "call"), 0),
        (("timeouts", "connect"), -1),
        (("timeouts", "between_frames"), float("inf")),
    ],
    ids=str,
)
def test_an_invalid_setting_is_refused_with_its_name(path, value):
    with pytest.raises(msgspec.ValidationError, match=str(path[-1])) as caught:
        msgspec.convert(with_at(path, value), web.WebConfig)
    assert "p%40ss" not in str(caught.value)
