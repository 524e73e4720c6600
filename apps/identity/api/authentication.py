"""DRF authentication: both ways put the request's context on the request."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.request import Request

from apps.core import limits
from apps.core.http import request_id_of
from apps.core.limits import address_of
from apps.identity.sessions import context_for_session
from apps.identity.tokens import Principal, authenticate


class TokenUser:
    """What DRF calls `request.user` for a token: signed in, and nothing more; rights are in the context."""

    is_authenticated = True
    is_active = True

    def __init__(self, principal: Principal) -> None:
        self.principal = principal
        self.pk = principal.actor.id

    def __str__(self) -> str:
        return self.principal.actor.label


class TokenAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        header = request.META.get("HTTP_AUTHORIZATION", "")
        if not header:
            return None
        http: Any = request._request
        principal = authenticate(header, address_of(http))
        http.ctx = principal.context(request_id_of(http))
        return TokenUser(principal), principal

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class BrowserSessionAuthentication(SessionAuthentication):
    """The admin's session, with CSRF; the tenant is the session's choice."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        found = super().authenticate(request)
        if found is not None:
            http: HttpRequest = request._request
            ctx = context_for_session(http, channel="api")
            limits.charge(found[0].pk, ctx.tenant_id, harness=False)
            http.ctx = ctx  # type: ignore[attr-defined]
        return found


class TokenScheme(OpenApiAuthenticationExtension):
    target_class = "apps.identity.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "mc_<prefix>_<secret>"}


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = "apps.identity.api.authentication.BrowserSessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}
