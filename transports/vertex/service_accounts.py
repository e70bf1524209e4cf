"""How service accounts are configured: `ACCOUNTS` describes them.

A credential is the JSON key of a service account, or `adc` for the credentials of the machine.
"""

from hashlib import sha256
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from transports.account import AccountKind
from transports.accounts.configured import AccountOption, AccountType, CredentialPart
from transports.http import egress_of
from transports.vertex.config import VertexAccount

ADC = "adc"
_EXPECTED = "expected the JSON key of a service account, or adc"


class ServiceAccountKey(msgspec.Struct, frozen=True):
    """The JSON key of a service account, as Google Cloud hands it out; other fields are not needed."""

    type: Literal["service_account"]
    project_id: str
    private_key: str
    client_email: Annotated[str, Meta(min_length=3)]
    token_uri: Annotated[str, Meta(pattern=r"\Ahttps?://[!-~]+\Z")]
    private_key_id: str = ""
    universe_domain: str = "googleapis.com"
    quota_project_id: str = ""

    def __repr__(self) -> str:
        """Hide the private key."""
        return f"ServiceAccountKey(client_email={self.client_email!r})"


_read_key = msgspec.json.Decoder(ServiceAccountKey).decode


def key_of(credential: str) -> ServiceAccountKey | None:
    """Return the key of a credential in its normal form; None: it is `adc`."""
    return None if credential == ADC else _read_key(credential)


def parse_credential(text: str) -> str:
    """Return a credential in its normal form: without the fields that are not needed.

    Raises:
        ValueError: it is neither a key of a service account nor `adc`; the message does not show it.

    """
    if text.strip().lower() == ADC:
        return ADC
    try:
        key = _read_key(text)
    except msgspec.ValidationError as error:
        raise ValueError(f"{_EXPECTED}: {str(error).partition(' - ')[0]}") from None
    except msgspec.DecodeError:
        raise ValueError(f"{_EXPECTED}; this is not JSON") from None
    if not _is_rsa(key.private_key):
        raise ValueError(f"{_EXPECTED}: its private_key is not a complete RSA key; was the file cut off or edited?")
    return msgspec.json.encode(key).decode()


def _is_rsa(pem: str) -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return isinstance(private, RSAPrivateKey)


def project_of(settings: VertexAccount, credential: str) -> str:
    """Return the project that an account asks."""
    key = key_of(credential)
    return settings.project or (key.project_id if key is not None else "")


def fingerprint(credential: str) -> str:
    """Return a digest that tells credentials apart and does not reveal them."""
    return sha256(b"google cloud credential:" + credential.encode()).hexdigest()[:16]


def _check_project(settings: VertexAccount, credential: str) -> None:
    if not project_of(settings, credential):
        raise ValueError("project: name the Google Cloud project to use; the credential names none")


def _identity(credential: str) -> str:
    key = key_of(credential)
    return key.client_email if key is not None else ADC


def _egress(account: VertexAccount) -> str:
    try:
        return egress_of(account.proxy)
    except ValueError as error:
        raise ValueError(f"proxy: {error}") from None


def recognizes_service_account(text: str) -> bool:
    """Return whether a text is the JSON key of a service account, or names the credentials of the machine."""
    return '"service_account"' in text or text.strip() == "adc"


ACCOUNTS = AccountType(
    settings=VertexAccount,
    field="credentials",
    kind=AccountKind.SERVICE_ACCOUNT,
    noun="service account",
    parse=parse_credential,
    recognizes=recognizes_service_account,
    check=_check_project,
    identity=_identity,
    realm=lambda account: f"{account.project} {account.location}",
    duplicate_advice="a second account with it needs another project or location",
    egress=_egress,
    tier=lambda _: "paid",
    quota_group=lambda account: f"{account.project} {account.location}" if account.project else "",
    parts=(
        CredentialPart(
            option="credentials",
            variable="GEMINI_GATEWAY_VERTEX_CREDENTIALS",
            help="Key of a service account as JSON, or adc.",
            prompt="JSON key of a service account on one line, or adc (not shown)",
        ),
    ),
    options=(
        AccountOption(name="project", help="Google Cloud project that is asked."),
        AccountOption(name="location", help="Location of the models, or global."),
        AccountOption(name="proxy", help="Proxy for this account only."),
    ),
)
