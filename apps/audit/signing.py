"""Signatures (Ed25519, RFC 8032) over the RFC 8785 form of what is said of a chain."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key, load_pem_public_key
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from apps.core.domain.canonical import canonical_bytes


def signed(statement: Mapping[str, Any]) -> dict[str, Any]:
    """The statement with `key` and `signature` in hex, both null where AUDIT_SIGNING_KEY is not set. Raises ImproperlyConfigured."""
    if not settings.AUDIT_SIGNING_KEY:
        return {**statement, "key": None, "signature": None}
    key = _private_key(settings.AUDIT_SIGNING_KEY)
    named = {**statement, "key": _hex(key.public_key())}
    return {**named, "signature": key.sign(canonical_bytes(named)).hex()}


def check(statement: Mapping[str, Any], *, trusted: str | None = None) -> str | None:
    """Why the signature of a statement does not hold, or None. `trusted` is the public key, in hex, that it has to be by."""
    if statement.get("signature") is None:
        return "it is not signed" if trusted else None
    if trusted and statement.get("key") != trusted:
        return "it is signed by another key"
    named = {name: value for name, value in statement.items() if name != "signature"}
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(str(statement["key"])))
        key.verify(bytes.fromhex(str(statement["signature"])), canonical_bytes(named))
    except (InvalidSignature, ValueError, KeyError):
        return "its signature does not match what it says"
    return None


def public_key(path: Path) -> str:
    """The public key of a PEM file in hex. Raises ValueError for a file that holds no Ed25519 public key, OSError for none."""
    found = load_pem_public_key(path.read_bytes())
    if not isinstance(found, Ed25519PublicKey):
        raise ValueError("the key is not an Ed25519 public key")
    return _hex(found)


def _hex(key: Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


@functools.cache
def _private_key(path: str) -> Ed25519PrivateKey:
    try:
        found = load_pem_private_key(Path(path).read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ImproperlyConfigured(f"AUDIT_SIGNING_KEY: {path} cannot be read as a PEM key without a password: {error}") from error
    if not isinstance(found, Ed25519PrivateKey):
        raise ImproperlyConfigured(f"AUDIT_SIGNING_KEY: {path} is not an Ed25519 key; `openssl genpkey -algorithm ed25519` makes one.")
    return found
