import json

import pytest

from transports.accounts.configured import DuplicateCredential
from transports.accounts.registry import AccountRecord
from transports.vertex.config import VertexAccount, VertexConfig, origin_of
from transports.vertex.service_accounts import (
    ACCOUNTS,
    key_of,
    parse_credential,
    project_of,
    recognizes_service_account,
)


def test_a_key_is_kept_without_what_is_not_needed(key_text, service_account):
    kept = parse_credential(f"\n{key_text}\n")
    assert parse_credential(kept) == kept
    assert json.loads(kept).keys() == service_account.keys() - {"client_id", "auth_uri"} | {"quota_project_id"}
    assert service_account["private_key"] not in repr(key_of(kept))


@pytest.mark.parametrize("text", ["adc", " ADC\n"])
def test_the_credentials_of_the_machine_are_a_word(text):
    assert key_of(parse_credential(text)) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"type": "authorized_user"}, "authorized_user"),
        ({"private_key": "-----BEGIN PRIVATE KEY-----\nMIIE"}, "cut off"),
        ({"private_key": None}, "expected the JSON key"),
        ({"token_uri": "file:///etc/passwd"}, "expected the JSON key"),
    ],
)
def test_other_credentials_are_refused_without_showing_them(service_account, change, words):
    with pytest.raises(ValueError, match=words) as refused:
        parse_credential(json.dumps(service_account | change))
    assert "BEGIN" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("text", ["", "AIzaSyA-not-a-service-account", "[]", '{"type": "service_account"'])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="expected the JSON key of a service account, or adc"):
        parse_credential(text)


def configured(*accounts):
    return ACCOUNTS.configure(VertexAccount(**{"id": f"a{number}", **one}) for number, one in enumerate(accounts))


def test_one_account_serves_several_projects_and_locations(key_text):
    one = {"credentials": key_text}
    assert len(configured(one, one | {"location": "eu"}, one | {"project": "other-project"})) == 3
    with pytest.raises(DuplicateCredential, match="another project or location"):
        configured(one, one)


def test_the_project_is_that_of_the_key_unless_one_is_named(key_text):
    found = configured({"credentials": key_text}, {"credentials": "adc", "project": "named-project"})
    assert [project_of(one.settings, one.credential) for one in found.values()] == ["some-project", "named-project"]
    with pytest.raises(ValueError, match="project: name the Google Cloud project"):
        configured({"credentials": "adc"})


def test_a_stored_account_is_read_with_its_options(key_text):
    options = {"location": "us-central1", "project": "other-project"}
    account = ACCOUNTS.from_record(
        AccountRecord(id="x", transport="vertex", secret=key_text, options=options, created=0.0, by="cli")
    )
    assert (account.settings.location, account.settings.project) == ("us-central1", "other-project")
    assert key_text not in repr(account)


@pytest.mark.parametrize(
    ("location", "origin"),
    [
        ("global", "https://aiplatform.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
        ("europe-west4", "https://europe-west4-aiplatform.googleapis.com"),
    ],
)
def test_each_location_has_its_origin(location, origin):
    assert origin_of(VertexConfig(), location) == origin
    assert origin_of(VertexConfig(base_url="http://127.0.0.1:1"), location) == "http://127.0.0.1:1"


def test_a_credential_is_known_by_its_form(key_text):
    assert all(map(recognizes_service_account, [key_text, "adc"]))
    assert not any(map(recognizes_service_account, ["AIzaSyA-some-key-of-the-api", "__Secure-1PSID=a", "[]", "{}"]))
