"""What a session knows of the sign-in by which it began."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

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


def claim(request: HttpRequest, state: str) -> dict[str, Any] | None:
    """What the session kept for this state when the sign-in began, for one caller only: the session's row is locked, and it is taken out
    there. None where there is none, or where somebody took it before. With it go nonce and verifier."""
    with transaction.atomic():
        row = Session.objects.select_for_update().filter(session_key=request.session.session_key, expire_date__gt=timezone.now()).first()
        kept = row.get_decoded() if row is not None else {}
        waiting: dict[str, Any] | None = kept.get("oidc_states", {}).pop(state, None)
        if row is not None and waiting is not None:
            row.session_data = Session.objects.encode(kept)
            row.save(update_fields=["session_data"])
    # What this request remembers of the session must not bring it back.
    request.session.get("oidc_states", {}).pop(state, None)
    return waiting


def is_due(request: HttpRequest) -> bool:
    known = request.session.get(KEY)
    return known is not None and known["until"] <= time.time()


def begin_url(request: HttpRequest, *, after: str, silent: bool) -> str:
    """Where the person of this session, who came by OIDC, goes to be confirmed."""
    return begin_at(request.session[KEY]["provider"], after=after, silent=silent)


def begin_at(provider: str, *, after: str, silent: bool = False) -> str:
    query = {"next": after, **({"silent": "1"} if silent else {})}
    return f"{reverse('oidc_begin', args=[provider])}?{urlencode(query)}"
