"""Providers and group roles as people manage them: by clicking, and by the operator's command."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from apps.audit.models import Event
from apps.identity.models import GroupRole, OidcProvider
from tests import factories as make
from tests.admin.office import Office, list_url, office, url
from tests.admin.test_acts import press, words

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> Office:
    return office("acme", cases=1)


def done(acme: Office) -> list[tuple[str, str]]:
    """What the log says of providers and groups: act and channel."""
    rows = Event.objects.filter(tenant_id=acme.tenant.pk, action__regex=r"identity\.(provider|group)_").order_by("seq")
    return [(action.removeprefix("identity."), channel) for action, channel in rows.values_list("action", "channel")]


def test_a_provider_is_switched_off_with_a_reason_and_on_again(acme: Office) -> None:
    provider = make.provider(acme.tenant, "acme-sso")
    client = acme.client("admin")
    assert "Sign in with Acme-Sso" in Client().get("/admin/login/").content.decode()
    assert url(provider, "switch-on") not in client.get(url(provider)).content.decode()
    refused = press(client, url(provider, "switch-off"), reason="")
    assert refused.status_code == 422 and OidcProvider.objects.get().enabled
    assert "when their sign-in is to be confirmed" in words(client.get(url(provider, "switch-off")))
    page = client.get(url(provider, "switch-off"))
    fields = {**page.context["form"].initial, "reason": "The contract ended."}
    assert (
        client.post(url(provider, "switch-off"), fields).status_code == client.post(url(provider, "switch-off"), fields).status_code == 302
    )
    assert not OidcProvider.objects.get().enabled and Client().get("/oidc/acme-sso/begin/").status_code == 403
    assert "Sign in with" not in Client().get("/admin/login/").content.decode()
    event = Event.objects.get(tenant_id=acme.tenant.pk, action="identity.provider_disabled")
    assert event.text.text["reason"] == "The contract ended."
    assert url(provider, "switch-off") not in client.get(url(provider)).content.decode()
    press(client, url(provider, "switch-on"))
    assert OidcProvider.objects.get().enabled
    assert done(acme) == [("provider_added", "task"), ("provider_disabled", "admin"), ("provider_enabled", "admin")]


def test_a_group_is_mapped_to_a_role_and_removed(acme: Office) -> None:
    provider = make.provider(acme.tenant, "acme-sso")
    make.provider(make.tenant("other"), "other-sso", "https://other.example.test")
    team = make.team(acme.tenant, "support")
    client = acme.client("admin")
    add = list_url(GroupRole) + "act/add/"
    shown = client.get(add)
    assert [name for _, name in shown.context["form"].fields["provider_id"].choices] == ["Acme-Sso"]
    assert press(client, add, provider_id=str(provider.pk), group="staff", role="author", team="support").status_code == 302
    row = GroupRole.objects.get()
    assert (row.group, row.role, row.team, row.provider) == ("staff", "author", team, provider)
    twice = press(client, add, provider_id=str(provider.pk), group="staff", role="author", team="support")
    assert twice.status_code == 409 and "gives this role already" in words(twice)
    assert press(client, add, provider_id=str(provider.pk), group=" ", role="author").status_code == 422
    foreign = OidcProvider.objects.get(slug="other-sso")
    assert press(client, add, provider_id=str(foreign.pk), group="staff", role="viewer").status_code == 422
    assert "staff" in words(client.get(url(provider))) and "staff" in words(client.get(list_url(GroupRole)))
    assert "loses it when the provider confirms them next" in words(client.get(url(row, "remove")))
    press(client, url(row, "remove"), reason="Not any more.")
    assert not GroupRole.objects.exists() and done(acme)[1:] == [("group_mapped", "admin"), ("group_unmapped", "admin")]


@pytest.mark.parametrize("who", ["viewer", "author", "manager", "operator"])
def test_others_look_and_are_refused(acme: Office, who: str) -> None:
    provider = make.provider(acme.tenant, "acme-sso", groups={"staff": "author"})
    row = GroupRole.objects.get()
    client = acme.client(who)
    before = done(acme)
    for obj in (provider, row):
        page = client.get(url(obj)).content.decode()
        assert 'class="mc-buttons" aria-label' not in page
    fields: dict[str, Any] = {"once": "1", "reason": "r", "provider_id": str(provider.pk), "group": "g", "role": "viewer"}
    for address in (url(provider, "switch-off"), url(row, "remove"), list_url(GroupRole) + "act/add/"):
        assert client.post(address, fields)["Location"] == "/admin/"
    assert OidcProvider.objects.get().enabled and GroupRole.objects.count() == 1 and done(acme) == before


def test_another_tenants_providers_and_groups_do_not_exist(acme: Office) -> None:
    foreign = make.provider(make.tenant("other"), "other-sso", groups={"staff": "author"})
    row = GroupRole.objects.get(provider=foreign)
    client = acme.client("admin")
    for address in (url(foreign), url(row), url(foreign, "switch-off"), url(row, "remove")):
        assert client.post(address, {"once": "1", "reason": "r"}).status_code in (302, 405)
        assert client.get(address)["Location"] == "/admin/"
    assert OidcProvider.objects.get().enabled and GroupRole.objects.exists()
    assert "other-sso" not in client.get(list_url(OidcProvider)).content.decode()


def add(*more: str) -> str:
    out = StringIO()
    usual = ("acme-sso", "--tenant", "acme", "--name", "Acme", "--issuer", "https://id.acme.test", "--client-id", "mission-control")
    call_command("oidc_provider", *usual, "--secret-env", "OIDC_SECRET_ACME", *more, stdout=out)
    return out.getvalue()


def test_the_operator_adds_a_provider_with_its_groups(acme: Office) -> None:
    said = add("--group", "bosses", "manager", "--group", "staff", "author", "--verified-claim", "xms_edov")
    assert "/oidc/callback/" in said
    provider = OidcProvider.objects.get()
    assert (provider.tenant, provider.secret_env, provider.verified_claim) == (acme.tenant, "OIDC_SECRET_ACME", "xms_edov")
    assert set(GroupRole.objects.values_list("group", "role")) == {("bosses", "manager"), ("staff", "author")}
    assert done(acme) == [("provider_added", "cli"), ("group_mapped", "cli"), ("group_mapped", "cli")]
    assert "Sign in with Acme" in Client().get("/admin/login/").content.decode()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--group", "staff", "owner"), "role"),
        (("--issuer", "http://id.acme.test/?x=1"), "issuer"),
        (("--secret-env", "SECRET_KEY"), "OIDC_SECRET_"),
        (("--scopes", "email"), "openid"),
        (("--tenant", "nobody"), "no tenant"),
    ],
)
def test_what_the_operator_gets_wrong_changes_nothing(acme: Office, wrong: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        add(*wrong)
    assert not OidcProvider.objects.exists() and not GroupRole.objects.exists() and done(acme) == []


def test_a_provider_is_added_once(acme: Office) -> None:
    add()
    with pytest.raises(CommandError, match="already"):
        add()
    assert OidcProvider.objects.count() == 1
