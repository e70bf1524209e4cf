"""The service accounts of the simulated Google Cloud, and the tokens that they get for signed JWTs (RFC 7523).

Source: "Vertex AI".
"""

import base64
import binascii
import secrets
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from transports.clock import Clock
from transports.simulator.api.rpc_errors import ApiRefusal, bad_token, missing_token

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
AUDIENCE = "https://oauth2.googleapis.com/token"
"""What Google's own libraries write as the audience at any address."""
_HOUR, _SKEW = 3600.0, 300.0
_SHORT_LIVED = (
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp "
    "values in the JWT claim."
)


class SimulatedServiceAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A service account that the simulated Google Cloud knows; its key opens nothing else."""

    email: str
    project: str
    public_key: str
    """In PEM."""
    disabled: bool = False
    token_seconds: Annotated[int, Meta(ge=1)] = 3600
    """How long its tokens are valid."""


class TokenRefusal(Exception):
    """A token that is not issued; the text is what OAuth calls the description."""


class _Claims(msgspec.Struct):
    iss: str
    aud: str
    iat: float
    exp: float
    scope: str = ""


class TokenOffice:
    """Issues tokens to service accounts, and knows those that are valid."""

    def __init__(self, accounts: Iterable[SimulatedServiceAccount], clock: Clock) -> None:
        """Serve these service accounts."""
        self._accounts = {account.email: account for account in accounts}
        self._clock = clock
        self._issued: dict[str, tuple[SimulatedServiceAccount, float]] = {}

    def issue(self, form: Mapping[str, Any], address: str) -> dict[str, Any]:
        """Answer a request at the token endpoint, which has this address.

        Raises:
            TokenRefusal: the request or its JWT is not valid.

        """
        if form.get("grant_type") != GRANT:
            raise TokenRefusal(f"Invalid grant_type: {form.get('grant_type', '')}")
        account = self.signer(str(form.get("assertion", "")), address)
        token = f"ya29.simulated-{secrets.token_urlsafe(24)}"
        self._issued[token] = (account, self._clock.wall() + account.token_seconds)
        return {"access_token": token, "expires_in": account.token_seconds, "token_type": "Bearer"}

    def signer(self, assertion: str, address: str) -> SimulatedServiceAccount:
        """Return the service account that has signed a JWT; raise TokenRefusal if it is not valid."""
        try:
            head, body, signature = (_unpadded(part) for part in assertion.split("."))
            algorithm = msgspec.json.decode(head, type=dict[str, Any]).get("alg")
            claims = msgspec.json.decode(body, type=_Claims)
        except (ValueError, binascii.Error, msgspec.MsgspecError):
            raise TokenRefusal("Bad Request") from None
        account = self._accounts.get(claims.iss)
        if account is None:
            raise TokenRefusal("Invalid grant: account not found")
        if account.disabled:
            raise TokenRefusal("Robot is disabled.")
        if algorithm != "RS256" or not is_signed(account, assertion.rpartition(".")[0].encode(), signature):
            raise TokenRefusal("Invalid JWT Signature.")
        now = self._clock.wall()
        if not now - _HOUR <= claims.iat <= now + _SKEW or not now <= claims.exp <= claims.iat + _HOUR:
            raise TokenRefusal(_SHORT_LIVED)
        if claims.aud not in {address, AUDIENCE}:
            raise TokenRefusal("Invalid JWT: Failed audience check.")
        if SCOPE not in claims.scope.split():
            raise TokenRefusal("Invalid OAuth scope or ID token audience provided.")
        return account

    def holder(self, authorization: str | None) -> SimulatedServiceAccount:
        """Return the service account whose token a request sent.

        Raises:
            ApiRefusal: it sent none, or one that is not valid.

        """
        if not authorization:
            raise missing_token()
        scheme, _, token = authorization.partition(" ")
        account, until = self._issued.get(token, (None, 0.0))
        if scheme != "Bearer" or account is None or until <= self._clock.wall():
            raise bad_token()
        return account


def is_signed(account: SimulatedServiceAccount, text: bytes, signature: bytes) -> bool:
    """Return whether a signature is the account's."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    public = load_pem_public_key(account.public_key.encode())
    if not isinstance(public, RSAPublicKey):
        return False
    try:
        public.verify(signature, text, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def denied(project: str, location: str, model: str) -> ApiRefusal:
    """Return the error of an account without rights in a project."""
    place = f"//aiplatform.googleapis.com/projects/{project}/locations/{location}/publishers/google/models/{model}"
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "IAM_PERMISSION_DENIED",
        "domain": "aiplatform.googleapis.com",
        "metadata": {"permission": "aiplatform.endpoints.predict"},
    }
    message = f"Permission 'aiplatform.endpoints.predict' denied on resource '{place}' (or it may not exist)."
    return ApiRefusal(403, message, info)


def _unpadded(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
