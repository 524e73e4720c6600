"""What the portal asks of a provider: its configuration, its keys, tokens and claims. Each answer within a time and a size."""

from __future__ import annotations

import base64
import json
import threading
import time
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import structlog
from django.conf import settings

from apps.core.egress import EgressFailed, EgressRefused, fetch
from apps.identity.oidc.errors import SignInRefused, provider_away

log = structlog.get_logger(__name__)
# Seconds for which configuration and keys are remembered. An unknown key is looked for at once.
REMEMBER_S = 3600.0
MAX_BYTES = 1024 * 1024
_remembered: dict[str, tuple[float, dict[str, Any]]] = {}
_lock = threading.Lock()


def configuration(issuer: str) -> dict[str, Any]:
    """The provider's discovery document. Raises SignInRefused (502) where it is away, or speaks for another issuer."""
    found = _cached(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if found.get("issuer") != issuer:
        log.warning("oidc.foreign_configuration", issuer=issuer, says=str(found.get("issuer"))[:300])
        raise provider_away("its configuration names another issuer")
    return found


def endpoint(issuer: str, name: str) -> str:
    """The address under this name of the configuration. Raises SignInRefused (502) where there is none, or not one over TLS."""
    address = configuration(issuer).get(name)
    if not isinstance(address, str):
        raise provider_away(f"its configuration has no {name}")
    _check(address)
    return address


def keys(issuer: str, *, anew: bool = False) -> list[dict[str, Any]]:
    """The provider's public keys; `anew` asks even where they are remembered."""
    found = _cached(endpoint(issuer, "jwks_uri"), anew=anew).get("keys")
    if not isinstance(found, list):
        raise provider_away("it has no keys")
    return [key for key in found if isinstance(key, dict)]


def exchange(issuer: str, client_id: str, secret: str, form: dict[str, str]) -> dict[str, Any]:
    """Turns a code into tokens. The secret goes as the provider wants it; by RFC 6749 that is Basic unless it says otherwise."""
    methods = configuration(issuer).get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if secret and "client_secret_basic" in methods:
        login = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    elif secret:
        form = {**form, "client_id": client_id, "client_secret": secret}
    else:
        form = {**form, "client_id": client_id}
    return _ask("POST", endpoint(issuer, "token_endpoint"), headers=headers, content=urlencode(form).encode())


def user_claims(issuer: str, access_token: str) -> dict[str, Any]:
    """The claims of the userinfo endpoint, where the provider has one."""
    if not configuration(issuer).get("userinfo_endpoint"):
        return {}
    return _ask("GET", endpoint(issuer, "userinfo_endpoint"), headers={"Authorization": f"Bearer {access_token}"})


def forget() -> None:
    """Drops what is remembered of every provider."""
    with _lock:
        _remembered.clear()


def _cached(address: str, *, anew: bool = False) -> dict[str, Any]:
    with _lock:
        until, found = _remembered.get(address, (0.0, {}))
    if anew or until <= time.monotonic():
        found = _ask("GET", address)
        with _lock:
            _remembered[address] = (time.monotonic() + REMEMBER_S, found)
    return found


def _check(address: str) -> None:
    scheme = urlsplit(address).scheme
    if scheme != "https" and not (scheme == "http" and settings.OIDC_ALLOW_HTTP):
        raise provider_away("it does not use TLS")


def _ask(method: str, address: str, *, headers: dict[str, str] | None = None, content: bytes | None = None) -> dict[str, Any]:
    """One request by way of the guard. Raises SignInRefused: 403 where the provider refuses, 502 where it is away, answers nonsense or
    names an address that the installation does not call."""
    _check(address)
    sent = {"Accept": "application/json", **(headers or {})}
    try:
        answer = fetch(
            method,
            address,
            headers=sent,
            content=content,
            connect_s=settings.OIDC_TIMEOUT_S,
            total_s=settings.OIDC_TIMEOUT_S,
            max_bytes=MAX_BYTES,
        )
        found = json.loads(answer.body) if answer.status < 500 else None
    except EgressRefused as error:
        log.warning("oidc.address_refused", address=address, detail=error.detail)
        raise provider_away("the portal's operator has not allowed its address") from error
    except EgressFailed as error:
        log.warning("oidc.provider_away", address=address, error=error.why)
        raise provider_away(str(error)) from error
    except (ValueError, RecursionError) as error:
        log.warning("oidc.provider_away", address=address, error=type(error).__name__)
        raise provider_away("it does not answer as it should") from error
    if answer.status in (400, 401, 403):
        log.warning("oidc.provider_refused", address=address, status=answer.status, error=str(found)[:300])
        raise SignInRefused("provider_refused", "Your organisation's provider refused this sign-in. Start again.")
    if answer.status != 200 or not isinstance(found, dict):
        log.warning("oidc.provider_away", address=address, status=answer.status)
        raise provider_away(f"it answered {answer.status}")
    return found
