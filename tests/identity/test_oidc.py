"""Sign-in by OpenID Connect, at a real provider and with forged answers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.test import Client

from apps.audit.models import Event
from apps.identity.models import GroupRole, Membership, OidcProvider, Tenant, User
from apps.identity.oidc import client as oidc_client
from apps.identity.services.oidc import switch_provider
from tests import factories as make
from tests import oidc

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OIDC_SECRET_TEST", oidc.SECRET)
    oidc_client.forget()


@pytest.fixture
def acme() -> Tenant:
    return make.tenant("acme")


@pytest.fixture(scope="module")
def real() -> Iterator[oidc.Provider]:
    with oidc.real_provider() as running:
        yield running


@pytest.fixture
def forger(acme: Tenant) -> Iterator[oidc.Forger]:
    with oidc.forger() as running:
        make.provider(acme, "acme-sso", running.issuer, groups={"staff": "author", "bosses": "manager"})
        yield running


def signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def roles(email: str = "ann@acme.test") -> set[str]:
    return set(Membership.objects.filter(user__email=email).values_list("role", flat=True))


def actions(tenant: Tenant) -> list[str]:
    return list(Event.objects.filter(tenant_id=tenant.pk, action__startswith="identity.").order_by("seq").values_list("action", flat=True))


def age(client: Client) -> None:
    """The provider's word is over."""
    session = client.session
    session["oidc"] = {**session["oidc"], "until": time.time() - 1}
    session.save()


def test_a_person_signs_in_loses_a_group_on_refresh_and_signs_out_at_a_real_provider(acme: Tenant, real: oidc.Provider) -> None:
    make.provider(acme, "acme-sso", real.issuer, groups={"staff": "author", "bosses": "manager"})
    real.says("ann", email="Ann@acme.test", email_verified=True, name="Ann", groups=["staff", "bosses", "unknown"])
    client, browser = Client(), real.person("ann")
    page = client.get("/admin/login/?next=/admin/packs/pack/").content.decode()
    assert "Sign in with Acme-Sso" in page and 'name="password"' in page
    back = oidc.visit(browser, client.get("/oidc/acme-sso/begin/?next=/admin/packs/pack/")["Location"])
    assert client.get(back)["Location"] == "/admin/packs/pack/"
    assert client.get("/admin/packs/pack/").status_code == 200
    ann = User.objects.get(email="ann@acme.test")
    assert (ann.issuer, ann.subject, ann.name, roles()) == (real.issuer, "ann", "Ann", {"author", "manager"})
    assert "identity.signed_in" in actions(acme)
    # The same answer a second time is none.
    assert client.get(back).status_code == 403
    client = Client()
    assert client.get(oidc.visit(browser, client.get("/oidc/acme-sso/begin/")["Location"])).status_code == 302

    real.says("ann", email="ann@acme.test", email_verified=True, groups=["staff"])
    age(client)
    sent = client.get("/admin/packs/pack/?q=x")
    there = client.get(sent["Location"])["Location"]
    assert "prompt=none" in there
    assert client.get(oidc.visit(browser, there))["Location"] == "/admin/packs/pack/?q=x"
    assert client.get("/admin/packs/pack/").status_code == 200 and roles() == {"author"}
    assert "identity.member_removed" in actions(acme)

    out = client.post("/admin/logout/")["Location"]
    assert out.startswith(f"{real.issuer}/session/end?id_token_hint=") and not signed_in(client)
    page = browser.get(out).text
    assert "sign-out" in page.lower() or "logout" in page.lower()


def test_who_is_not_signed_in_at_the_provider_any_more_is_asked(acme: Tenant, real: oidc.Provider) -> None:
    make.provider(acme, "acme-sso", real.issuer)
    real.says("bob", email="bob@acme.test", email_verified=True)
    client = Client()
    client.get(oidc.visit(real.person("bob"), client.get("/oidc/acme-sso/begin/")["Location"]))
    assert signed_in(client)
    age(client)
    silent = client.get(client.get("/admin/")["Location"])["Location"]
    again = client.get(oidc.visit(real.person("bob"), silent))
    assert again["Location"].startswith("/oidc/acme-sso/begin/?next=") and "silent" not in again["Location"] and not signed_in(client)


def test_what_the_portal_asks_for_is_bound_to_the_browser(forger: oidc.Forger) -> None:
    client = Client()
    sent = client.get("/oidc/acme-sso/begin/?next=https://evil.test/")["Location"]
    state, verifier = next(iter(client.session["oidc_states"].items()))
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier["code_verifier"].encode()).digest()).rstrip(b"=").decode()
    assert f"code_challenge={challenge}" in sent and "code_challenge_method=S256" in sent
    assert Client().get("/oidc/callback/", {"state": state, "code": "c"}).status_code == 403
    forger.nonce = verifier["nonce"]
    done = client.get("/oidc/callback/", {"state": state, "code": "c"})
    assert done["Location"] == "/admin/" and forger.form["code_verifier"] == [verifier["code_verifier"]]


WRONG: dict[str, dict[str, Any]] = {
    "foreign audience": {"aud": "another-client"},
    "another client's, for several": {"aud": ["mission-control", "another-client"], "azp": "another-client"},
    "for several, and nobody's": {"aud": ["mission-control", "another-client"]},
    "foreign party": {"azp": "another-client"},
    "foreign issuer": {"iss": "https://id.example.test"},
    "expired": {"exp": int(time.time()) - 120},
    "of the future": {"iat": int(time.time()) + 7200},
    "not yet": {"nbf": int(time.time()) + 7200},
    "without an end": {"exp": None},
    "another sign-in's nonce": {"nonce": "replayed"},
    "without nonce": {"nonce": None},
    "nonce of another type": {"nonce": ["x"]},
    "without subject": {"sub": None},
    "address not verified": {"email_verified": False},
    "address verified by nobody": {"email_verified": None},
    "without address": {"email": None},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_token_that_is_not_for_us_now_signs_nobody_in(forger: oidc.Forger, name: str) -> None:
    forger.claims = WRONG[name]
    client = Client()
    response = forger.back(client)
    assert response.status_code == 403 and b"You are not signed in" in response.content
    assert not signed_in(client) and not User.objects.filter(email="ann@acme.test").exists()


def _sealed(forger: oidc.Forger) -> str:
    """HS256 with the public key as the secret, which whoever verifies by the header's word takes."""
    body = forger.unsigned({"alg": "HS256", "kid": "one", "typ": "JWT"})
    public = forger.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return f"{body}.{base64.urlsafe_b64encode(hmac.digest(public, body.encode(), 'sha256')).rstrip(b'=').decode()}"


@pytest.mark.parametrize("how", ["none", "HS256", "foreign key", "garbage"])
def test_a_forged_signature_signs_nobody_in(forger: oidc.Forger, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    published = forger.published
    if how == "foreign key":
        forger.new_key("one")
    answer = forger.answer
    made = {
        "none": lambda: forger.unsigned({"alg": "none", "kid": "one"}) + ".",
        "HS256": lambda: _sealed(forger),
        "garbage": lambda: "a.b.c",
    }

    def forged(path: str) -> dict[str, Any]:
        found = answer(path)
        return {**found, "id_token": made[how]()} if how in made and "id_token" in found else found

    forger.answer = forged  # type: ignore[method-assign]
    client = Client()
    assert forger.back(client).status_code == 403 and not signed_in(client)
    assert forger.published == published


def test_new_keys_are_fetched_once_for_an_unknown_name_and_remembered_otherwise(forger: oidc.Forger) -> None:
    assert forger.back(Client()).status_code == 302 and forger.back(Client()).status_code == 302
    assert forger.asked.count("/jwks") == 1
    forger.new_key("two", "ES256")
    forger.published = [forger.jwk()]
    assert forger.back(Client()).status_code == 302 and forger.asked.count("/jwks") == 2
    forger.new_key("three")
    assert forger.back(Client()).status_code == 403 and forger.asked.count("/jwks") == 3


@pytest.mark.django_db
def test_a_mapping_is_removed_in_the_admin_and_gives_the_role_no_more(forger: oidc.Forger, acme: Tenant) -> None:
    client = Client()
    forger.claims = {"groups": ["staff", "bosses"]}
    forger.back(client)
    assert roles() == {"author", "manager"}
    row = GroupRole.objects.get(tenant=acme, group="bosses")
    admin = Client()
    admin.force_login(make.user(acme, "tenant_admin"), backend="apps.identity.backends.RoleBackend")
    done = admin.post(f"/admin/identity/grouprole/{row.pk}/act/remove/", {"reason": "left", "once": "1"})
    assert done.status_code == 302 and not GroupRole.objects.filter(pk=row.pk).exists(), done.content
    assert "identity.group_unmapped" in actions(acme)
    forger.back(client)
    assert roles() == {"author"}


@pytest.mark.parametrize("groups", [None, [], {}, 7, ["others"]])
def test_an_absent_claim_keeps_nothing_and_a_role_given_by_hand_stays(forger: oidc.Forger, acme: Tenant, groups: Any) -> None:
    client = Client()
    forger.claims = {"groups": ["staff", "bosses"]}
    assert forger.back(client).status_code == 302 and roles() == {"author", "manager"}
    Membership.objects.create(tenant=acme, user=User.objects.get(email="ann@acme.test"), role="viewer")
    forger.claims = {"groups": groups}
    forger.back(client)
    assert roles() == {"viewer"} and actions(acme).count("identity.member_removed") == 2


def test_the_last_admin_by_a_group_goes_with_the_group(forger: oidc.Forger, acme: Tenant) -> None:
    provider = OidcProvider.objects.get()
    GroupRole.objects.create(tenant=acme, provider=provider, group="admins", role="tenant_admin")
    forger.claims = {"groups": ["admins"]}
    forger.back(Client())
    assert roles() == {"tenant_admin"}
    forger.claims = {"groups": []}
    forger.back(Client())
    assert roles() == set()


def test_an_inactive_person_is_nobody_and_loses_what_the_map_gave(forger: oidc.Forger) -> None:
    client = Client()
    forger.back(client)
    User.objects.update(is_active=False)
    assert client.get("/admin/packs/pack/")["Location"].startswith("/admin/login/")
    client = Client()
    response = forger.back(client)
    assert response.status_code == 403 and b"switched off" in response.content and not signed_in(client) and roles() == set()


def test_an_address_is_not_a_key_to_somebody_elses_account(forger: oidc.Forger, acme: Tenant) -> None:
    other = make.tenant("other")
    make.user(acme, "viewer", email="local@acme.test", password="correct horse battery staple")
    make.user(other, "tenant_admin", email="invited@other.test")
    make.user(acme, "viewer", email="invited@acme.test")
    for email in ("local@acme.test", "invited@other.test"):
        forger.claims = {"email": email, "sub": email}
        response = forger.back(Client())
        assert response.status_code == 403 and b"belongs to another account" in response.content
        assert User.objects.get(email=email).issuer is None
    forger.claims = {"email": "invited@acme.test", "sub": "s-2"}
    assert forger.back(Client()).status_code == 302 and roles("invited@acme.test") == {"viewer", "author"}
    # Another subject with the same address is another person; the same subject with a new address is the same one.
    forger.claims = {"email": "invited@acme.test", "sub": "s-3"}
    assert forger.back(Client()).status_code == 403
    forger.claims = {"email": "married@acme.test", "sub": "s-2"}
    client = Client()
    assert forger.back(client).status_code == 302 and client.session["_auth_user_id"] == str(User.objects.get(subject="s-2").pk)


@pytest.mark.parametrize("trouble", [500, 404, 302, 401])
@pytest.mark.parametrize("path", ["/token", "/jwks", "/.well-known/openid-configuration"])
def test_a_provider_in_trouble_is_a_page_that_says_so(forger: oidc.Forger, path: str, trouble: int) -> None:
    client = Client()
    if path.endswith("configuration"):
        forger.broken = {path: trouble}
        response = client.get("/oidc/acme-sso/begin/")
    else:
        client.get("/oidc/acme-sso/begin/")
        forger.broken = {path: trouble}
        response = forger.back(client)
    assert response.status_code in (403, 502) and b"You are not signed in" in response.content


def test_a_provider_that_is_slow_or_refuses_or_is_not_set_up(forger: oidc.Forger, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    client.get("/oidc/acme-sso/begin/")
    state = next(iter(client.session["oidc_states"]))
    response = client.get("/oidc/callback/", {"state": state, "error": "access_denied", "error_description": "<b>no"})
    assert response.status_code == 403 and b"<b>" not in response.content
    assert client.get("/oidc/callback/", {"error": "x"}).status_code == 403
    settings.OIDC_TIMEOUT_S = 0.2
    forger.broken = {"/token": 1.0}
    assert forger.back(Client()).status_code == 502
    forger.broken = {}
    monkeypatch.delenv("OIDC_SECRET_TEST")
    assert forger.back(Client()).status_code == 502
    monkeypatch.setenv("OIDC_SECRET_TEST", oidc.SECRET)
    provider = OidcProvider.objects.get()
    switch_provider(ctx=make.system(provider.tenant_id), provider_id=provider.pk, enabled=False)
    assert client.get("/oidc/acme-sso/begin/").status_code == 403
    settings.OIDC_ALLOW_HTTP = False
    assert Client().get("/oidc/nothing/begin/").status_code == 403


def test_a_providers_addresses_are_called_only_where_the_installation_allows_it(forger: oidc.Forger, settings: Any) -> None:
    """Also those that its configuration names, by which a provider could send the portal into its own network."""
    usual = forger.answer

    def inside(path: str) -> dict[str, Any]:
        found = usual(path)
        return {**found, "jwks_uri": "http://169.254.169.254/keys"} if path.endswith("openid-configuration") else found

    forger.answer = inside  # type: ignore[method-assign]
    refused = forger.back(Client())
    assert refused.status_code == 502 and b"has not allowed its address" in refused.content and "/token" in forger.asked
    forger.answer = usual  # type: ignore[method-assign]
    oidc_client.forget()
    settings.EGRESS_ALLOWED_HOSTS, asked = ["id.example.test"], len(forger.asked)
    refused = Client().get("/oidc/acme-sso/begin/")
    assert refused.status_code == 502 and b"has not allowed its address" in refused.content and len(forger.asked) == asked


def test_a_form_is_held_and_parts_of_pages_and_the_api_are_told_when_the_sign_in_is_due(forger: oidc.Forger) -> None:
    client = Client(enforce_csrf_checks=True)
    forger.back(client)
    client.get("/admin/")
    age(client)
    address = "/admin/packs/pack/act/create/"
    assert client.post(address, {"title": "typed"}).status_code == 403
    client.get("/admin/login/")
    token = client.cookies["csrftoken"].value
    held = client.post(address, {"title": 'typed "this"', "tags": ["a", "b"], "csrfmiddlewaretoken": token})
    page = held.content.decode()
    assert held.status_code == 401 and 'name="title" value="typed &quot;this&quot;"' in page and page.count('name="tags"') == 2
    part = client.get("/admin/", headers={"HX-Request": "true"})
    assert part.status_code == 401 and part["HX-Refresh"] == "true"
    assert client.get("/api/v1/packs/").json()["code"] == "not_authenticated"
    assert forger.back(client, query="?silent=1&next=/oidc/confirmed/")["Location"] == "/oidc/confirmed/"
    assert client.get("/api/v1/packs/").status_code == 200
    assert client.get("/oidc/confirmed/").status_code == 200


def test_a_refused_confirmation_ends_the_session_and_a_link_from_elsewhere_does_not(forger: oidc.Forger) -> None:
    client = Client()
    forger.back(client)
    for address in ("/oidc/callback/?state=x&code=y", "/oidc/nothing/begin/?silent=1"):
        assert client.get(address).status_code == 403 and signed_in(client)
    age(client)
    forger.broken = {"/token": 500}
    assert forger.back(client, query="?silent=1").status_code == 502 and signed_in(client)
    assert client.get("/admin/")["Location"].startswith("/oidc/acme-sso/begin/")
    forger.broken, forger.claims = {}, {"email_verified": False}
    assert forger.back(client, query="?silent=1").status_code == 403 and not signed_in(client)


def test_a_secret_is_named_and_never_stored(acme: Tenant) -> None:
    made = make.provider(acme, "named")
    assert oidc.SECRET not in json.dumps(list(OidcProvider.objects.values()), default=str) and made.secret_env == "OIDC_SECRET_TEST"
    from apps.core.errors import Problem
    from apps.identity.services.oidc import add_provider, map_group

    for wrong in ({"secret_env": "SECRET_KEY"}, {"issuer": "ftp://x.test"}, {"scopes": "email"}):
        with pytest.raises(Problem, match="invalid"):
            add_provider(ctx=make.system(acme.pk), **{"slug": "wrong", "name": "W", "issuer": "https://x.test", "client_id": "c", **wrong})
    with pytest.raises(Problem, match="permission_denied"):
        add_provider(ctx=make.context(acme.pk, "tenant_admin"), slug="w", name="W", issuer="https://x.test", client_id="c")
    with pytest.raises(Problem, match="not_found"):
        map_group(ctx=make.context(make.tenant("other").pk, "tenant_admin"), provider_id=made.pk, group="g", role="viewer")
