"""To the provider, back from it, and out again."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

import structlog
from django.contrib import admin, auth
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.crypto import get_random_string
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from mozilla_django_oidc.utils import add_state_and_verifier_and_nonce_to_session, generate_code_challenge

from apps.identity.models import OidcProvider
from apps.identity.oidc import client
from apps.identity.oidc.backend import PATH, OidcBackend
from apps.identity.oidc.errors import SignInRefused
from apps.identity.oidc.session import KEY, begin_at, claim, is_due, keep
from apps.identity.selectors import provider_in_use, tenants_of
from apps.identity.sessions import SESSION_KEY, choose_tenant

log = structlog.get_logger(__name__)
# Seconds that a person has at the provider.
STATE_S = 600
# What a provider answers to `prompt=none` where it wants to see the person.
WANTS_THE_PERSON = {"login_required", "interaction_required", "consent_required", "account_selection_required"}


def provider_by_slug(slug: str) -> OidcProvider:
    """Raises SignInRefused where there is none, or where it or its tenant is switched off."""
    found = provider_in_use(slug)
    if found is None:
        raise SignInRefused("no_provider", "There is no such way to sign in, or it is switched off. Choose another on the sign-in page.")
    return found


@never_cache
@require_GET
def begin(request: HttpRequest, slug: str) -> HttpResponse:
    """Sends the browser to the provider. State, nonce and PKCE verifier stay in the session, for one answer."""
    try:
        provider = provider_by_slug(slug)
        address = client.endpoint(provider.issuer, "authorization_endpoint")
    except SignInRefused as refusal:
        # A link from elsewhere must not sign anybody out.
        return _refused(request, refusal, ends=is_due(request) and request.session[KEY]["provider"] == slug)
    silent = request.GET.get("silent") == "1"
    state, verifier = get_random_string(32), get_random_string(64)
    params = {
        "response_type": "code",
        "scope": provider.scopes,
        "client_id": provider.client_id,
        "redirect_uri": request.build_absolute_uri(reverse("oidc_callback")),
        "state": state,
        "nonce": get_random_string(32),
        "code_challenge": generate_code_challenge(verifier, "S256"),
        "code_challenge_method": "S256",
        **({"prompt": "none"} if silent else {}),
    }
    add_state_and_verifier_and_nonce_to_session(request, state, params, verifier)
    request.session["oidc_states"][state] |= {"provider": provider.slug, "next": _next(request), "silent": silent}
    request.session.modified = True
    return HttpResponseRedirect(f"{address}{'&' if '?' in address else '?'}{urlencode(params)}")


def _next(request: HttpRequest) -> str:
    wanted = request.GET.get("next", "")
    inside = url_has_allowed_host_and_scheme(wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure())
    return wanted if inside else reverse("admin:index")


@never_cache
@require_GET
def callback(request: HttpRequest) -> HttpResponse:
    """Takes the provider's answer, once."""
    waiting = claim(request, request.GET.get("state", ""))
    try:
        if waiting is None or waiting["added_on"] < time.time() - STATE_S:
            raise SignInRefused(
                "unknown_state", "This sign-in was finished before, took too long, or began in another browser. Start again."
            )
        return _answered(request, waiting)
    except SignInRefused as refusal:
        return _refused(request, refusal, ends=waiting is not None and waiting["silent"])


def _answered(request: HttpRequest, waiting: dict[str, Any]) -> HttpResponse:
    provider = provider_by_slug(waiting["provider"])
    if request.GET.get("iss", provider.issuer) != provider.issuer:
        raise SignInRefused("mixed_up", "The answer came from another provider than the one asked. Start again.")
    if error := request.GET.get("error", ""):
        if waiting["silent"] and error in WANTS_THE_PERSON:
            auth.logout(request)
            return HttpResponseRedirect(begin_at(provider.slug, after=waiting["next"]))
        log.warning("oidc.error", provider=provider.slug, error=error[:100])
        raise SignInRefused("provider_said_no", f"{provider.name} did not sign you in. Start again, or ask its administrator.")
    backend = OidcBackend(provider)
    user = backend.authenticate(request, nonce=waiting["nonce"], code_verifier=waiting["code_verifier"])
    if user is None:
        raise SignInRefused("nobody", "Nobody was signed in. Start again.")
    confirmed = request.user.is_authenticated and request.user.pk == user.pk and KEY in request.session
    if not confirmed:
        auth.login(request, user, backend=PATH)
        here = next((tenant for tenant in tenants_of(user) if tenant.pk == provider.tenant_id), None)
        if here is not None and SESSION_KEY not in request.session:
            choose_tenant(request, here)
    keep(request, provider, backend)
    return HttpResponseRedirect(waiting["next"])


def _refused(request: HttpRequest, refusal: SignInRefused, *, ends: bool) -> HttpResponse:
    """A page that says why. A session that could not be confirmed (`ends`) is over, but for a provider that is away: it stays, and
    opens nothing."""
    log.warning("oidc.refused", code=refusal.code, status=refusal.status)
    if ends and refusal.status == 403 and request.user.is_authenticated:
        auth.logout(request)
    return render(request, "identity/refused.html", {"words": refusal.detail}, status=refusal.status)


@require_GET
def confirmed(request: HttpRequest) -> HttpResponse:
    """Where the tab ends in which a person was confirmed while a form waits in another one."""
    return render(request, "identity/confirmed.html")


@never_cache
@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """Ends the session here, and at the provider by which it began."""
    known = request.session.get(KEY)
    if known is None:
        return admin.site.logout(request)
    address = ""
    try:
        provider = provider_by_slug(known["provider"])
        address = client.endpoint(provider.issuer, "end_session_endpoint")
        back = request.build_absolute_uri(reverse("admin:login"))
        query = {"id_token_hint": known["id_token"], "client_id": provider.client_id, "post_logout_redirect_uri": back}
        address = f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"
    except SignInRefused as refusal:
        # Here the person is signed out in any case.
        log.warning("oidc.signed_out_here_only", code=refusal.code)
    auth.logout(request)
    return HttpResponseRedirect(address or reverse("admin:login"))
