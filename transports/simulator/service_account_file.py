"""Writes the JSON key of a simulated service account, as Google Cloud hands it out."""

import os
from pathlib import Path
from typing import Any

import msgspec

from transports.simulator.api.issued_tokens import SimulatedServiceAccount

PROJECT = "simulated-project"
_EMAIL = f"{{}}@{PROJECT}.iam.gserviceaccount.com"


def write_service_account(path: Path, token_uri: str) -> SimulatedServiceAccount:
    """Write a new key to a file, or read the simulated key that it has, and return the service account.

    The file's name names the account.

    Raises:
        ValueError: the file is there and is not a key of the simulator, or it cannot be written.

    """
    email = _EMAIL.format(path.stem)
    try:
        earlier = _read(path, email)
        private = earlier.get("private_key") or new_private_key()
        fields = {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "simulated",
            "private_key": private,
            "client_email": email,
            "client_id": "100000000000000000000",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": token_uri,
            "universe_domain": "googleapis.com",
        }
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(fields), indent=2))
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}") from None
    return SimulatedServiceAccount(email=email, project=PROJECT, public_key=public_key_of(private))


def _read(path: Path, email: str) -> dict[str, Any]:
    """Return the key that a file has; empty: there is no file."""
    if not path.exists():
        return {}
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except msgspec.MsgspecError:
        found = {}
    if found.get("client_email") != email:
        raise ValueError(f"{path} exists and is not a key of the simulator; name another file")
    return found


def new_private_key() -> str:
    """Return a new RSA key in PEM."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = rsa.generate_private_key(65537, 2048)
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_key_of(private: str) -> str:
    """Return the public part of a key; both in PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    public = load_pem_private_key(private.encode(), None).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
