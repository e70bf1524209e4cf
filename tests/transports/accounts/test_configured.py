from pathlib import Path

import msgspec
import pytest

from protocol.model import Capability
from transports.account import AccountKind
from transports.accounts.configured import AccountSettings, AccountType, DuplicateCredential
from transports.accounts.registry import AccountRecord


class Settings(AccountSettings, frozen=True):
    """Account settings with a key as credential."""

    key: str = ""
    key_file: Path | None = None
    region: str = "eu"


def parse(text):
    if not text.strip().startswith("key-"):
        raise ValueError("is not a key")
    return text.strip()


def egress(settings):
    if settings.region == "nowhere":
        raise ValueError("region: is unknown")
    return settings.region


TYPE = AccountType(
    settings=Settings,
    field="key",
    noun="key",
    parse=parse,
    identity=lambda key: key.partition("/")[0],
    duplicate_advice="buy another one",
    egress=egress,
)


def declared(**keys):
    return tuple(Settings(id=name, key=key) for name, key in keys.items())


def record(id_="stored", key="key-stored", created=1.0, **options):
    return AccountRecord(id=id_, transport="toy", secret=key, options=options, created=created, by="me")


def keys(accounts):
    return {name: account.credential for name, account in accounts.items()}


def test_a_credential_is_read_from_the_setting_or_its_file(tmp_path):
    file = tmp_path / "key"
    file.write_text(" key-file\n")
    accounts = TYPE.configure((Settings(id="a", key="key-a"), Settings(id="b", key_file=file)))
    assert keys(accounts) == {"a": "key-a", "b": "key-file"}
    assert TYPE.file_of(accounts["b"].settings) == file
    assert "key-" not in repr(accounts) + repr(accounts["a"].settings)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (Settings(id="a"), "account 'a': set one of key_file and key"),
        (Settings(id="a", key="key-a", key_file=Path("x")), "account 'a': set one of key_file and key"),
        (Settings(id="a", key_file=Path("/nowhere")), "account 'a': /nowhere cannot be read"),
        (Settings(id="a", key="secret"), "account 'a': is not a key"),
        (Settings(id="a", key="key-a", region="nowhere"), "account 'a': region: is unknown"),
        (Settings(id="a-guest", key="key-a"), "account 'a-guest': ids that end in '-guest' are reserved"),
    ],
)
def test_an_invalid_account_of_the_settings_is_named(settings, problem):
    with pytest.raises(ValueError, match=problem) as caught:
        TYPE.configure((settings,))
    assert "secret" not in str(caught.value)


def test_two_accounts_of_the_settings_cannot_share_a_credential():
    with pytest.raises(DuplicateCredential, match="account 'b' has the same key as account 'a'; buy another one"):
        TYPE.configure(declared(a="key-1/x", b="key-1/y"))


def test_the_pool_gets_the_limits_of_the_settings():
    settings = Settings(id="a", key="key-a", weight=2.0, per_day={Capability.VIDEO: 1})
    account = TYPE.account_of(settings, "toy")
    assert (account.id, account.transport, account.kind, account.egress) == ("a", "toy", AccountKind.API_KEY, "eu")
    assert (account.weight, account.per_day) == (2.0, {Capability.VIDEO: 1})


def test_a_stored_account_gets_its_options_and_a_normal_form():
    one = record(key=" key-x ", concurrency="3", region="us")
    account = TYPE.from_record(one)
    assert (account.settings.concurrency, account.settings.region, account.credential) == (3, "us", "key-x")
    normal = TYPE.normalized(one, account)
    assert (normal.secret, normal.options) == ("key-x", {"concurrency": 3, "region": "us"})
    assert TYPE.from_record(normal).credential == account.credential


@pytest.mark.parametrize(
    ("one", "problem"),
    [
        (record(key="secret"), "account 'stored': is not a key"),
        (record(colour="secret"), "account 'stored': unknown option 'colour'; valid are region, concurrency, weight"),
        (record(key_file="/etc/passwd"), "account 'stored': unknown option 'key_file'"),
        (record(weight="secret"), "account 'stored': weight: invalid value"),
        (record(id_="x-guest"), "account 'x-guest': ids that end in '-guest' are reserved"),
    ],
)
def test_an_invalid_account_of_the_store_is_skipped_and_its_secrets_are_not_shown(one, problem):
    found, skipped = TYPE.merge({}, [one])
    assert found == {}
    assert skipped[one.id].startswith(problem)
    assert "secret" not in skipped[one.id]


def test_the_settings_win_over_the_store_and_the_older_account_over_the_later_one():
    configured = TYPE.configure(declared(a="key-a"))
    records = [
        record("later", "key-x", created=2.0),
        record("older", "key-x", created=1.0),
        record("copy", "key-a"),
        record("a", "key-y"),
    ]
    found, skipped = TYPE.merge(configured, records)
    assert keys(found) == {"a": "key-a", "older": "key-x"}
    assert skipped == {
        "later": "account 'later' has the same key as account 'older'; buy another one",
        "copy": "account 'copy' has the same key as account 'a'; buy another one",
        "a": "account 'a': ignored, because the settings have an account of this id",
    }


@pytest.mark.parametrize(
    ("after", "found", "invalid"),
    [
        ({"a": "key-3", "b": "key-2"}, {"a": "key-3", "b": "key-2"}, []),
        ({"a": "key-2", "b": "key-1"}, {"a": "key-2", "b": "key-1"}, []),
        ({"b": "key-2", "c": "key-3"}, {"b": "key-2", "c": "key-3"}, []),
        ({"a": "bad", "b": "key-2", "c": "bad"}, {"a": "key-1", "b": "key-2"}, ["a", "c"]),
        ({"a": "key-2", "b": "key-2"}, {"a": "key-1", "b": "key-2"}, ["a"]),
        ({"a": "bad", "b": "key-1"}, {"a": "key-1", "b": "key-2"}, ["a", "b"]),
        ({"a": "key-1", "b": "key-2", "c": "key-1"}, {"a": "key-1", "b": "key-2"}, ["c"]),
    ],
)
def test_an_account_that_becomes_invalid_keeps_its_earlier_configuration(after, found, invalid):
    accounts, reported = TYPE.reconfigure(declared(**after), TYPE.configure(declared(a="key-1", b="key-2")))
    assert keys(accounts) == found
    assert list(accounts) == [name for name in after if name in found]
    assert reported == invalid


def test_an_invalid_file_is_reported_by_its_path(tmp_path):
    settings = Settings(id="a", key_file=tmp_path / "key")
    assert TYPE.reconfigure((settings,), {}) == ({}, [str(tmp_path / "key")])


def test_records_survive_their_json():
    one = TYPE.normalized(record(per_day={"video": 3}), TYPE.from_record(record(per_day={"video": 3})))
    assert msgspec.json.decode(msgspec.json.encode(one), type=AccountRecord) == one
