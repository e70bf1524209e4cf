import json

import msgspec
import pytest

from protocol.model import Capability
from transports import web
from transports.accounts.registry import AccountRecord
from transports.web.account_config import ACCOUNTS, expiry, stored_facts
from transports.web.session.record import encode, from_export

EXPORT = "__Secure-1PSID=psid-secret; __Secure-1PSIDTS=ts-secret"
NETSCAPE = "\n".join(
    f".google.com\tTRUE\t/\tTRUE\t1893456000\t{name}\t{value}"
    for name, value in (("__Secure-1PSID", "psid-secret"), ("__Secure-1PSIDTS", "ts-secret"))
)
JSON = json.dumps(
    [
        {"name": "__Secure-1PSID", "value": "psid-secret", "domain": ".google.com"},
        {"name": "__Secure-1PSIDTS", "value": "ts-secret", "domain": ".google.com"},
    ]
)


def entry(secret=EXPORT, account="added", **options):
    return AccountRecord(id=account, transport="web", secret=secret, options=options, created=1.0, by="me")


def admit(one, accounts=()):
    configured, skipped = ACCOUNTS.merge(ACCOUNTS.configure(accounts), [one])
    if one.id in skipped:
        raise ValueError(skipped[one.id])
    account = configured[one.id]
    return ACCOUNTS.normalized(one, account), ACCOUNTS.account_of(account.settings, "web")


@pytest.mark.parametrize("secret", [EXPORT, "Cookie: " + EXPORT, NETSCAPE, JSON, "psid-secret\nts-secret"])
def test_an_export_in_any_form_is_stored_as_a_header(secret):
    kept, account = admit(entry(secret))
    assert kept.secret == EXPORT
    assert (account.id, account.transport, account.concurrency) == ("added", "web", 5)
    assert admit(kept)[0] == kept


def test_two_exports_of_one_session_have_one_identity():
    one, two = admit(entry())[0], admit(entry("psid-secret\nother", account="again"))[0]
    assert ACCOUNTS.identity(one.secret) == ACCOUNTS.identity(two.secret) == "psid-secret"


def test_options_match_the_settings_of_an_account():
    options = {
        "concurrency": "2",
        "weight": 3,
        "per_minute": 7,
        "per_day": {"video": 3},
        "capabilities": ["chat", "video"],
        "proxy": "socks5h://u:secret@proxy.example:1080",
        "user_agent": "Mozilla/5.0",
        "field13": True,
    }
    kept, account = admit(entry(**options))
    assert kept.options["concurrency"] == 2
    assert msgspec.json.decode(msgspec.json.encode(kept), type=AccountRecord) == kept
    assert account.per_day == {Capability.VIDEO: 3}
    assert account.capabilities == {Capability.CHAT, Capability.VIDEO}
    assert (account.weight, account.per_minute, account.egress) == (3.0, 7, "socks5h://proxy.example:1080")


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (entry("NID=secret"), "__Secure-1PSID"),
        (entry(""), "__Secure-1PSID"),
        (entry('[{"name": "secret"'), "JSON"),
        (entry(proxy="ftp://u:secret@h"), "proxy: invalid value"),
        (entry(proxy="http://u:secret@h:99999"), "proxy: not a valid"),
        (entry(capabilities=["secret"]), "capabilities"),
        (entry(weight="secret"), "weight"),
        (entry(per_day={"secret": 1}), "per_day"),
        (entry(cookies_file="/etc/passwd"), "cookies_file"),
        (entry(secrets_of="x"), "secrets_of"),
        (entry(account="mine-guest"), "-guest"),
        (entry(account="one"), "settings"),
        (entry(EXPORT.replace("psid-secret", "psid-one")), "'one'"),
    ],
)
def test_an_unusable_export_is_refused_without_showing_its_value(one, expected):
    accounts = (web.WebAccount(id="one", cookies="__Secure-1PSID=psid-one"),)
    with pytest.raises(ValueError, match=expected) as caught:
        admit(one, accounts)
    assert "secret" not in str(caught.value).replace("secrets_of", "")
    assert repr(one.id) in str(caught.value)


def test_limits_of_configured_accounts_are_used():
    account = web.WebAccount(id="one", cookies=EXPORT, weight=2, per_day={Capability.VIDEO: 1})
    known = ACCOUNTS.account_of(account, "web")
    assert (known.id, known.weight, known.per_day) == ("one", 2, {Capability.VIDEO: 1})
    assert "secret" not in repr(ACCOUNTS.configure((account,)))


def test_facts_of_a_session_have_its_rotation_and_end():
    saved = msgspec.structs.replace(from_export({"__Secure-1PSID": "p", "__Secure-1PSIDTS": "t"}), rotated_at=1000.0)
    expected = stored_facts(encode(saved))
    assert (expected.rotated_at, expected.expires_at) == (1000.0, 2200.0)
    renewed = stored_facts(encode(msgspec.structs.replace(saved, cookies=saved.cookies | {"__Secure-1PSIDTS": "t2"})))
    assert renewed.credential != expected.credential
    other = stored_facts(encode(msgspec.structs.replace(saved, cookies=saved.cookies | {"NID": "1"})))
    assert other.credential == expected.credential
    assert stored_facts(b"odd") == stored_facts(b"{}")


def test_a_session_without_a_rolling_cookie_has_no_known_end():
    assert expiry({"__Secure-1PSID": "p"}, 1000.0) is None
    assert expiry({"__Secure-1PSID": "p", "__Secure-1PSIDTS": "t"}, 0.0) is None
