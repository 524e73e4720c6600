"""Secrets at rest: AES-256-GCM, with the id of the key beside the text and the id of the row as associated data.

NOTICES_KEY names the keys, `id:base64` of 32 bytes each, separated by commas: the first one seals, all of them open. Without it the key is derived
from SECRET_KEY, under the id `derived`.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

DERIVED = "derived"
NONCE = 12
_ID = re.compile(r"[a-z0-9_-]{1,30}")


class Unreadable(ValueError):  # noqa: N818
    """The key that sealed it is not there any more, or the row is not the one it was sealed for."""


def keys() -> dict[str, bytes]:
    """Id -> key, the sealing one first. Raises ValueError for a setting that is not as it should be; never says what it holds."""
    if not settings.NOTICES_KEY:
        made = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"mission-control notices").derive(settings.SECRET_KEY.encode())
        return {DERIVED: made}
    found = {}
    for entry in settings.NOTICES_KEY.split(","):
        name, _, written = entry.strip().partition(":")
        try:
            key = base64.b64decode(written, validate=True)
        except binascii.Error:
            key = b""
        if not _ID.fullmatch(name) or len(key) != 32 or name == DERIVED or name in found:
            raise ValueError("NOTICES_KEY is a list of id:key, each key 32 bytes in base64 (openssl rand -base64 32), each id another.")
        found[name] = key
    return found


def seal(secret: str, row_id: UUID) -> str:
    key_id, key = next(iter(keys().items()))
    nonce = os.urandom(NONCE)
    return f"{key_id}.{base64.urlsafe_b64encode(nonce + AESGCM(key).encrypt(nonce, secret.encode(), row_id.bytes)).decode()}"


def unseal(sealed: str, row_id: UUID) -> str:
    """Raises Unreadable."""
    key_id, _, written = sealed.partition(".")
    key = keys().get(key_id)
    if key is None:
        raise Unreadable("the key that sealed the secret is not configured any more")
    try:
        raw = base64.urlsafe_b64decode(written)
        return AESGCM(key).decrypt(raw[:NONCE], raw[NONCE:], row_id.bytes).decode()
    except (InvalidTag, ValueError):
        raise Unreadable("the secret cannot be opened with the key of this installation") from None
