"""mozilla-django-oidc's backend, per provider, with the checks that it leaves out."""

from __future__ import annotations

import hmac
import os
from typing import Any
from uuid import UUID

import jwt
import structlog
from django.http import HttpRequest
from django.urls import reverse
from mozilla_django_oidc.auth import OIDCAuthenticationBackend

from apps.core.errors import Problem
from apps.identity.models import OidcProvider, User
from apps.identity.oidc import client
from apps.identity.oidc.errors import SignInRefused, bad_token
from apps.identity.selectors import active_person
from apps.identity.services.oidc import Claims, sign_in

log = structlog.get_logger(__name__)
# Algorithm -> type of key. Neither `none` nor those with a shared secret are among them.
ALGORITHMS = {"RS256": "RSA", "ES256": "EC"}
# Seconds by which the clocks may differ.
LEEWAY_S = 30
MIN_RSA_BITS = 2048
PATH = "apps.identity.oidc.backend.OidcBackend"


class OidcBackend(OIDCAuthenticationBackend):
    """Signs a person in by one provider. Django makes it without one, to look up the person of a session."""

    def __init__(self, provider: OidcProvider | None = None) -> None:
        # Not the base's: that reads one provider from the settings.
        self.provider = provider
        self.id_token = ""
        self.expires = 0.0

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> User | None:
        """The person of the code in `request`, whose `nonce` and `code_verifier` the session kept. Nobody without a provider.

        Raises SignInRefused.
        """
        if self.provider is None or request is None or "nonce" not in credentials:
            return None
        tokens = self.get_token(
            {
                "grant_type": "authorization_code",
                "code": request.GET.get("code", ""),
                "redirect_uri": request.build_absolute_uri(reverse("oidc_callback")),
                "code_verifier": credentials["code_verifier"],
            }
        )
        self.id_token = str(tokens.get("id_token", ""))
        payload = self.verify_token(self.id_token, nonce=credentials["nonce"])
        self.expires = float(payload["exp"])
        claims = {**self.get_userinfo(str(tokens.get("access_token", "")), self.id_token, payload), **payload}
        try:
            return sign_in(provider=self.provider, claims=self.read(claims))
        except Problem as error:
            log.warning("oidc.refused", provider=self.provider.slug, code=error.code)
            raise SignInRefused(error.code, error.detail) from error

    def get_token(self, payload: dict[str, str]) -> dict[str, Any]:
        provider = self._provider
        secret = os.environ.get(provider.secret_env, "") if provider.secret_env else ""
        if provider.secret_env and not secret:
            log.error("oidc.no_secret", provider=provider.slug, name=provider.secret_env)
            raise SignInRefused("no_secret", "This sign-in is not set up: its client secret is missing. Tell the operator.", 502)
        return client.exchange(provider.issuer, provider.client_id, secret, payload)

    def get_userinfo(self, access_token: str, id_token: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Asked only for what the id token leaves out. Raises SignInRefused where it is about another person."""
        needed = {"email", self._provider.verified_claim, self._provider.groups_claim}
        if needed <= payload.keys() or not access_token:
            return {}
        found = client.user_claims(self._provider.issuer, access_token)
        if found and found.get("sub") != payload["sub"]:
            raise bad_token("foreign_userinfo")
        return found

    def verify_token(self, token: str, **kwargs: Any) -> dict[str, Any]:
        """The claims of an id token that the provider signed, for us, now, in answer to this very sign-in. Raises SignInRefused."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise bad_token("malformed") from error
        if header.get("alg") not in ALGORITHMS:
            log.warning("oidc.token_refused", provider=self._provider.slug, why="algorithm", alg=str(header.get("alg"))[:20])
            raise bad_token("algorithm")
        payload = self._verify_jws(token, self.retrieve_matching_jwk(token))
        nonce = payload["nonce"]
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), str(kwargs["nonce"]).encode()):
            raise bad_token("nonce")
        return payload

    def retrieve_matching_jwk(self, token: str) -> Any:
        """The key that the token names; asked for once more where it is not known, since providers change their keys."""
        header = jwt.get_unverified_header(token)
        for anew in (False, True):
            fit = [key for key in client.keys(self._provider.issuer, anew=anew) if _fits(key, header)]
            if len(fit) == 1:
                try:
                    found = jwt.PyJWK(fit[0], algorithm=header["alg"]).key
                except (jwt.PyJWTError, ValueError) as error:
                    raise bad_token("key") from error
                if header["alg"] == "RS256" and found.key_size < MIN_RSA_BITS:
                    raise bad_token("key")
                return found
        raise bad_token("unknown_key")

    def _verify_jws(self, payload: str, key: Any) -> dict[str, Any]:
        provider = self._provider
        try:
            claims: dict[str, Any] = jwt.decode(
                payload,
                key,
                algorithms=[jwt.get_unverified_header(payload)["alg"]],
                audience=provider.client_id,
                issuer=provider.issuer,
                leeway=LEEWAY_S,
                options={"require": ["iss", "sub", "aud", "exp", "iat", "nonce"]},
            )
        except jwt.PyJWTError as error:
            log.warning("oidc.token_refused", provider=provider.slug, why=type(error).__name__)
            raise bad_token(type(error).__name__) from error
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if several else provider.client_id) != provider.client_id:
            raise bad_token("azp")
        return claims

    def read(self, claims: dict[str, Any]) -> Claims:
        """What is used of verified claims, each of the type that it must have."""
        groups = claims.get(self._provider.groups_claim)
        groups = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
        return Claims(
            subject=str(claims["sub"]),
            email=claims["email"] if isinstance(claims.get("email"), str) else "",
            verified=claims.get(self._provider.verified_claim) in (True, 1, "1", "true"),
            name=claims["name"] if isinstance(claims.get("name"), str) else "",
            groups=frozenset(group for group in groups if isinstance(group, str)),
        )

    def get_user(self, user_id: UUID | str) -> User | None:
        return active_person(user_id)

    @property
    def _provider(self) -> OidcProvider:
        assert self.provider is not None
        return self.provider


def _fits(key: dict[str, Any], header: dict[str, Any]) -> bool:
    """Whether a published key may have signed a token with this header."""
    return (
        key.get("kty") == ALGORITHMS[header["alg"]]
        and key.get("use", "sig") == "sig"
        and key.get("alg", header["alg"]) == header["alg"]
        and (header["alg"] != "ES256" or key.get("crv") == "P-256")
        and ("kid" not in header or key.get("kid") == header["kid"])
    )
