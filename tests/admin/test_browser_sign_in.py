"""The ways in, and the pages about them, in a real browser: with providers, with a password, refused, locked, held; by keyboard and narrow."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from apps.audit.tasks import export_heads
from apps.identity import services
from apps.identity.models import AgentToken, ApiToken, GroupRole, Membership, OidcProvider, User
from apps.identity.services.oidc import switch_provider
from tests import factories as make
from tests.admin.office import PASSWORD, Office, list_url, url
from tests.admin.test_browser import SHOTS, Tab, acme, browser
from tests.admin.test_browser import pytestmark as _browser_marks

__all__ = ["acme", "browser"]
pytestmark = _browser_marks
WAYS = [(1280, False), (1280, True), (390, False), (390, True)]


def look(tab: Tab, name: str, width: int, dark: bool) -> None:
    assert tab.overflow() <= 0, f"{name} at {width}"
    assert tab.page.locator("main").count() <= 1, name
    tab.shoot(f"{name}-{width}-{'dark' if dark else 'light'}")


@pytest.mark.parametrize(("width", "dark"), WAYS)
def test_the_ways_in(browser: Any, live_server: Any, acme: Office, settings: Any, width: int, dark: bool) -> None:
    tab = Tab(browser, live_server.url, width=width, dark=dark)
    tab.go("/admin/login/")
    look(tab, "login-local", width, dark)
    for slug in ("acme-sso", "a-longer-name-of-a-provider-of-some-organisation-somewhere"):
        make.provider(acme.tenant, slug, f"https://{slug}.example.test")
    tab.go("/admin/login/")
    assert tab.page.locator("a:has-text('Sign in with Acme-Sso')").count() == 1
    look(tab, "login-both", width, dark)
    # By keyboard alone: the first stop on the page is a provider, and one types on from the address to the password.
    tab.page.keyboard.press("Tab")
    seen = [tab.page.evaluate("document.activeElement.innerText || document.activeElement.name")]
    for _ in range(4):
        tab.page.keyboard.press("Tab")
        seen.append(tab.page.evaluate("document.activeElement.innerText || document.activeElement.name"))
    assert any("Sign in with" in each for each in seen) and "password" in seen, seen
    tab.page.fill("input[name=username]", acme.people["admin"].email)
    for number in range(5):
        tab.page.fill("input[name=password]", "wrong")
        with tab.page.expect_navigation(wait_until="networkidle" if SHOTS else "load"):
            tab.page.keyboard.press("Enter")
        if number == 0:
            look(tab, "login-wrong", width, dark)
    assert "Too many wrong passwords. Try again at" in tab.page.content()
    look(tab, "login-locked", width, dark)
    # The browser itself names a status of 429 in its console.
    assert [said for said in tab.complaints if "429" not in said] == []
    tab.complaints.clear()
    settings.LOCAL_LOGIN = False
    tab.go("/admin/login/")
    assert tab.page.locator("input[name=password]").count() == 0
    look(tab, "login-providers", width, dark)
    for provider in OidcProvider.objects.all():
        switch_provider(ctx=make.system(acme.tenant.pk), provider_id=provider.pk, enabled=False)
    tab.go("/admin/login/")
    assert "Nobody can sign in" in tab.page.content()
    look(tab, "login-nobody", width, dark)
    assert tab.complaints == []
    tab.go("/oidc/acme-sso/begin/")
    assert "You are not signed in" in tab.page.content()
    look(tab, "refused", width, dark)
    tab.go("/oidc/confirmed/")
    look(tab, "confirmed", width, dark)


@pytest.mark.parametrize(("width", "dark"), WAYS)
def test_a_form_that_waits_for_the_sign_in_to_be_confirmed(browser: Any, live_server: Any, acme: Office, width: int, dark: bool) -> None:
    make.provider(acme.tenant, "acme-sso")
    client = acme.client("admin")
    tab = Tab(browser, live_server.url, width=width, dark=dark)
    tab.take_over(client)
    tab.go(f"{list_url(GroupRole)}act/add/")
    tab.page.fill("input[name=group]", "staff")
    session = client.session
    session["oidc"] = {"provider": "acme-sso", "until": time.time() - 1, "id_token": ""}
    session.save()
    tab.page.click("main button[type=submit]")
    tab.page.wait_for_selector("text=Confirm your sign-in")
    look(tab, "held", width, dark)
    session["oidc"] = {"provider": "acme-sso", "until": time.time() + 600, "id_token": ""}
    session.save()
    tab.page.focus("button:has-text('Send again')")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("#mc-object")
    assert GroupRole.objects.get().group == "staff"


@pytest.mark.parametrize(("width", "dark"), WAYS)
def test_the_pages_about_them(browser: Any, live_server: Any, acme: Office, settings: Any, tmp_path: Path, width: int, dark: bool) -> None:
    provider = make.provider(acme.tenant, "acme-sso", groups={"mission-managers": "manager", "mission-authors": "author"})
    system = make.system(acme.tenant.pk)
    old = services.issue_agent_token(ctx=system, agent="helpdesk-1", name="gateway")
    services.rotate_token(ctx=system, token_id=old.token.pk)
    ci = services.create_service_account(ctx=system, slug="ci", name="CI", role="author").user
    services.issue_api_token(ctx=system, email=ci.email, name="nightly build")
    settings.AUDIT_HEADS_STORE = str(tmp_path / "heads")
    export_heads()
    tab = Tab(browser, live_server.url, width=width, dark=dark)
    tab.take_over(acme.client("admin"))
    pages = {
        "providers": list_url(OidcProvider),
        "provider": url(provider),
        "provider-off": url(provider, "switch-off"),
        "group-roles": list_url(GroupRole),
        "group-role": url(GroupRole.objects.latest("id")),
        "group-role-add": f"{list_url(GroupRole)}act/add/",
        "group-role-remove": url(GroupRole.objects.latest("id"), "remove"),
        "agent-tokens": list_url(AgentToken),
        "agent-token-replaced": url(old.token),
        "agent-token-rotate": url(AgentToken.objects.exclude(pk=old.token.pk).get(), "rotate"),
        "api-tokens": list_url(ApiToken),
        "people": list_url(User),
        "service-account": url(ci),
        "service-account-add": f"{list_url(Membership)}act/add-service/",
        "audit": "/admin/audit/event/",
        "audit-export": "/admin/audit/event/act/export/",
        "audit-verify": "/admin/audit/event/act/verify/",
    }
    wide = {}
    for name, path in pages.items():
        tab.go(path)
        tab.shoot(f"{name}-{width}-{'dark' if dark else 'light'}")
        if (over := tab.overflow()) > 0:
            wide[name] = over
        assert tab.page.locator("main").count() == 1, name
    tab.page.click("button[type=submit]:has-text('Verify')")
    tab.page.wait_for_selector("text=The chain holds")
    look(tab, "audit-verified", width, dark)
    tab.go(url(AgentToken.objects.exclude(pk=old.token.pk).get(), "rotate"))
    tab.page.fill("input[name=hours]", "48")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector(".mc-secret")
    look(tab, "token-rotated", width, dark)
    assert wide == {} and tab.complaints == []


def test_an_operator_switches_an_account_off_by_clicking(browser: Any, live_server: Any, acme: Office) -> None:
    acme.people["keeper"] = make.user(make.platform(), "tenant_admin", email="keeper@platform.test", password=PASSWORD)
    tab = Tab(browser, live_server.url)
    tab.take_over(acme.client("keeper"))
    tab.go(url(acme.people["author"]))
    tab.page.click("a.mc-button:has-text('Switch off')")
    tab.shoot("switch-off-1280-light")
    tab.page.fill("textarea[name=reason]", "Left the company.")
    tab.page.click("main button[type=submit]")
    tab.page.wait_for_selector("text=The account is switched off, everywhere.")
    assert not User.objects.get(pk=acme.people["author"].pk).is_active and tab.complaints == []
