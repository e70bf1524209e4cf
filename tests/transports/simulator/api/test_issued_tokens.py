"""Tokens for JWTs that google-auth signs."""

import pytest
from google.auth import crypt, jwt

from transports.simulator.api.issued_tokens import GRANT, SCOPE, TokenOffice, TokenRefusal
from transports.simulator.api.rpc_errors import ApiRefusal
from transports.simulator.service_account_file import write_service_account

ADDRESS = "http://127.0.0.1:1/token"


@pytest.fixture(scope="module")
def accounts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return [(write_service_account(folder / f"{name}.json", ADDRESS), folder / f"{name}.json") for name in "ab"]


def asked(office, clock, accounts, *, key=0, grant=GRANT, **claims):
    account, file = accounts[0][0], accounts[key][1]
    now = int(clock.wall())
    own = {"iss": account.email, "aud": ADDRESS, "iat": now, "exp": now + 3600, "scope": SCOPE}
    assertion = jwt.encode(crypt.RSASigner.from_service_account_file(file), own | claims).decode()
    return office.issue({"grant_type": grant, "assertion": assertion}, ADDRESS)


def test_a_signed_jwt_gets_a_token_that_expires(accounts, clock):
    office = TokenOffice([accounts[0][0]], clock)
    answer = asked(office, clock, accounts)
    sent = f"{answer['token_type']} {answer['access_token']}"
    assert office.holder(sent) == accounts[0][0]
    clock.advance(answer["expires_in"] + 1)
    with pytest.raises(ApiRefusal, match="invalid authentication credentials"):
        office.holder(sent)


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"key": 1}, "Invalid JWT Signature"),
        ({"iss": "other@x.iam.gserviceaccount.com"}, "account not found"),
        ({"iat": 0, "exp": 3600}, "short-lived token"),
        ({"exp": 99999999999}, "short-lived token"),
        ({"aud": "https://example.com/token"}, "audience"),
        ({"scope": "https://www.googleapis.com/auth/devstorage.read_only"}, "scope"),
        ({"grant": "password"}, "grant_type"),
    ],
)
def test_other_jwts_are_refused(accounts, clock, claims, words):
    clock.advance(1_000_000)
    with pytest.raises(TokenRefusal, match=words):
        asked(TokenOffice([accounts[0][0]], clock), clock, accounts, **claims)


@pytest.mark.parametrize("assertion", ["", "a.b", "a.b.c", "e30.e30.e30"])
def test_other_assertions_are_refused(clock, assertion):
    with pytest.raises(TokenRefusal, match="Bad Request"):
        TokenOffice([], clock).issue({"grant_type": GRANT, "assertion": assertion}, ADDRESS)


@pytest.mark.parametrize("sent", [None, "", "Bearer x", "Basic x", "Bearer"])
def test_a_request_without_a_valid_token_is_refused(clock, sent):
    with pytest.raises(ApiRefusal) as refused:
        TokenOffice([], clock).holder(sent)
    assert refused.value.code == 401


def test_the_key_of_an_account_is_kept_and_another_file_is_not_overwritten(tmp_path):
    file = tmp_path / "one.json"
    first = write_service_account(file, ADDRESS)
    assert write_service_account(file, "http://127.0.0.1:2/token") == first
    assert '"http://127.0.0.1:2/token"' in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text('{"client_email": "real@some-project.iam.gserviceaccount.com"}')
    with pytest.raises(ValueError, match="not a key of the simulator"):
        write_service_account(file, ADDRESS)
