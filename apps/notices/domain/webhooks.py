"""A notice as a webhook, by the Standard Webhooks specification: payload, secret, signature."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence

SECRET_PREFIX = "whsec_"
SECRET_BYTES = 32


def written_secret(key: bytes) -> str:
    """A secret as people copy it."""
    return SECRET_PREFIX + base64.b64encode(key).decode()


def payload(
    *, kind: str, at: str, notice_id: str, tenant: str, subject_id: str, title: str, path: str, url: str | None, facts: Mapping[str, str]
) -> bytes:
    """The body: the same bytes at every attempt. `at` is when it happened, in RFC 3339."""
    data = {"id": notice_id, "tenant": tenant, "subject": subject_id, "title": title, "path": path, "url": url, "facts": dict(facts)}
    return json.dumps({"type": kind, "timestamp": at, "data": data}, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Raises ValueError for what is not a secret."""
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError("not a webhook's secret")
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def signed_headers(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers; one signature for each secret that is valid now. `timestamp` is that of the attempt, in Unix seconds."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signature(secret, message_id, timestamp, body) for secret in secrets),
    }
