"""What a session knows of the sign-in by which it began."""

from __future__ import annotations

import time
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from apps.identity.models import OidcProvider
from apps.identity.oidc.backend import OidcBackend

KEY = "oidc"
# However short an id token lives, a page can be read.
LEAST_S = 30.0


def keep(request: HttpRequest, provider: OidcProvider, backend: OidcBackend) -> None:
    """The provider answers for the person until its id token ends or OIDC_REFRESH_S have passed. The token is kept for signing out."""
    now = time.time()
    until = max(min(backend.expires, now + settings.OIDC_REFRESH_S), now + LEAST_S)
    request.session[KEY] = {"provider": provider.slug, "until": until, "id_token": backend.id_token}


def is_due(request: HttpRequest) -> bool:
    known = request.session.get(KEY)
    return known is not None and known["until"] <= time.time()


def begin_url(request: HttpRequest, *, after: str, silent: bool) -> str:
    """Where the person of this session, who came by OIDC, goes to be confirmed."""
    return begin_at(request.session[KEY]["provider"], after=after, silent=silent)


def begin_at(provider: str, *, after: str, silent: bool = False) -> str:
    query = {"next": after, **({"silent": "1"} if silent else {})}
    return f"{reverse('oidc_begin', args=[provider])}?{urlencode(query)}"
