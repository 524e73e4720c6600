"""What the portal asks of a provider: its configuration, its keys, tokens and claims. Each answer within a time and a size."""

from __future__ import annotations

import json
import threading
import time
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import structlog
from django.conf import settings

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
    auth = None
    if secret and "client_secret_basic" in methods:
        auth = (quote(client_id, safe=""), quote(secret, safe=""))
    elif secret:
        form = {**form, "client_id": client_id, "client_secret": secret}
    else:
        form = {**form, "client_id": client_id}
    return _ask("POST", endpoint(issuer, "token_endpoint"), data=form, auth=auth)


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


def _ask(method: str, address: str, **options: Any) -> dict[str, Any]:
    """One request, no redirects. Raises SignInRefused: 403 where the provider refuses, 502 where it is away or answers nonsense."""
    _check(address)
    body = b""
    try:
        with (
            httpx.Client(timeout=settings.OIDC_TIMEOUT_S, trust_env=False) as client,
            client.stream(method, address, **options) as response,
        ):
            begun = time.monotonic()
            for part in response.iter_bytes():
                body += part
                if len(body) > MAX_BYTES or time.monotonic() - begun > settings.OIDC_TIMEOUT_S:
                    raise provider_away("its answer is too long")
        found = json.loads(body) if response.status_code < 500 else None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
        log.warning("oidc.provider_away", address=address, error=type(error).__name__)
        raise provider_away("it does not answer as it should") from error
    if response.status_code in (400, 401, 403):
        log.warning("oidc.provider_refused", address=address, status=response.status_code, error=str(found)[:300])
        raise SignInRefused("provider_refused", "Your organisation's provider refused this sign-in. Start again.")
    if response.status_code != 200 or not isinstance(found, dict):
        log.warning("oidc.provider_away", address=address, status=response.status_code)
        raise provider_away(f"it answered {response.status_code}")
    return found
