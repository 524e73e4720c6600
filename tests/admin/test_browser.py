"""The admin in a real browser: sign in, switch tenant, approve by clicking; nothing overflows a phone, nothing complains in the console.

With MC_SHOTS=<folder> every page visited is also photographed, light and dark, wide and narrow.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from apps.audit.exports import verify_file
from apps.audit.models import Event as AuditEvent
from apps.evals.models import EvalCase, EvalResult, EvalRun
from apps.fleet.models import Command, Harness
from apps.identity.models import AgentToken, Delegation, Membership, Tenant, TenantGroup
from apps.identity.services import suspend_agent, update_agent
from apps.packs.models import Layer, Pack, PackGroupPermission, PackVersion, PointerChange, Subscription
from apps.packs.services.packs import update_pack
from apps.promotions.models import Approval, Awaited, Decision, Promotion, State
from apps.promotions.services.requests import evaluate_promotion
from apps.telemetry.models import Producer, Run
from tests import factories as make
from tests.admin.office import PASSWORD, Office, fill, list_url, office, url

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--no-first-run", "--disable-default-apps", "--disable-dev-shm-usage", "--metrics-recording-only"),
]
SHOTS = os.environ.get("MC_SHOTS", "")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not CHROMIUM.exists() and not os.environ.get("CI"), reason=f"there is no browser at {CHROMIUM}; set CHROMIUM"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    # Playwright runs a loop of its own in this thread, which Django would take for an async view.
    patch = pytest.MonkeyPatch()
    patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield found
        found.close()
    patch.undo()


class Tab:
    """A browser tab that remembers what its console complained of."""

    def __init__(self, browser: Any, address: str, *, width: int = 1280, dark: bool = False) -> None:
        self.address = address
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
        self.page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text) if message.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def go(self, path: str) -> None:
        self.page.goto(self.address + path, wait_until="networkidle" if SHOTS else "load")

    def sign_in(self, email: str) -> None:
        self.go("/admin/")
        self.page.fill("input[name=username]", email)
        self.page.fill("input[name=password]", PASSWORD)
        self.page.click("button[type=submit]")
        self.page.wait_for_selector("#mc-object, main.mc-page")

    def take_over(self, client: Client) -> None:
        """The session of Django's test client, for pages where signing in is not what is looked at."""
        self.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": self.address}])

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        found: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return found

    def shoot(self, name: str) -> None:
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)


@pytest.fixture
def acme(transactional_db: None) -> Office:
    return office("acme")


def judged(acme: Office) -> Promotion:
    """A promotion whose evidence is in and which waits for a manager."""
    asked = acme.request(acme.draft(), reason="It greets.")
    acme.answer()
    return evaluate_promotion(ctx=make.system(acme.tenant.pk), promotion_id=asked.pk)


def test_a_manager_signs_in_switches_tenant_and_approves_by_clicking(browser: Any, live_server: Any, acme: Office) -> None:
    other = make.tenant("aaa-other")
    Membership.objects.create(tenant=other, user=acme.people["manager"], role="viewer")
    asked = judged(acme)
    tab = Tab(browser, live_server.url)
    tab.go("/admin/")
    tab.shoot("login")
    tab.sign_in("manager@acme.test")
    page = tab.page
    assert page.inner_text(".mc-kind").lower() == "aaa-other"
    # The tenant switch, by keyboard.
    page.locator("#nav-sidebar [role=button]").first.focus()
    page.keyboard.press("Enter")
    page.click("text=Acme")
    page.wait_for_load_state("networkidle")
    assert page.inner_text(".mc-kind").lower() == "acme"
    page.click(f"a[href$='{url(asked)}']")
    page.wait_for_selector("#mc-object")
    assert "One manager who is not an author has to approve." in page.inner_text("#mc-object")
    page.click("a.mc-button:has-text('Approve')")
    page.fill("textarea[name=comment]", "Read it, fine.")
    tab.shoot("approve")
    page.click("button[type=submit]:has-text('Approve')")
    page.wait_for_selector("text=it is ready to start")
    page.click("a.mc-button:has-text('Start')")
    page.click("button[type=submit]:has-text('Start')")
    page.wait_for_selector("text=It is live")
    assert Promotion.objects.get(pk=asked.pk).state == State.PROMOTED
    assert Layer.objects.get(pk=asked.layer_id).champion_id == asked.challenger_id
    assert tab.complaints == []


def test_a_manager_empties_the_inbox_by_keyboard(browser: Any, live_server: Any, acme: Office) -> None:
    """Two are approved together, one is rejected; nothing but the keyboard is used."""
    asked = [acme.request(acme.draft(f"You say hello, {n}."), reason="It greets.") for n in range(2)]
    asked.append(acme.request(acme.draft("You say hello, and boldly."), aim="non_inferior"))
    acme.answer()
    asked = [evaluate_promotion(ctx=make.system(acme.tenant.pk), promotion_id=each.pk) for each in asked]
    assert [each.risk_level for each in asked] == ["medium", "medium", "high"]
    tab = Tab(browser, live_server.url)
    tab.take_over(acme.client("manager"))
    tab.go("/admin/")
    page = tab.page
    assert page.inner_text("#nav-sidebar a[href='/admin/promotions/awaited/']").split() == ["inbox", "Waiting", "for", "me", "3"]
    tab.go("/admin/promotions/awaited/")
    for each in asked[:2]:
        page.locator(f"input.mc-select[value='{each.pk}']").focus()
        page.keyboard.press("Space")
    assert page.inner_text("#mc-selected") == "2 selected"
    page.locator("button[value=approve]").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("h2:has-text('Approve 2 promotions')")
    assert Approval.objects.count() == 0
    page.locator("textarea[name=comment]").focus()
    page.keyboard.type("Read both.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("h2:has-text('2 of 2 approved')")
    tab.shoot("inbox-answered")
    page.keyboard.press("Tab")
    page.locator("a.mc-button:has-text('One more waits')").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("input.mc-select")
    # Of high risk: what is not read is not approved.
    page.locator(f"a[aria-label='Approve {asked[2]}']").focus()
    page.keyboard.press("Enter")
    page.locator("main button[type=submit]").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Confirm that you have read")
    assert page.evaluate("document.activeElement.id") == "mc-errors"
    page.locator("main a:has-text('Cancel')").focus()
    page.keyboard.press("Enter")
    page.locator(f"a[aria-label='Reject {asked[2]}']").focus()
    page.keyboard.press("Enter")
    page.locator("textarea[name=comment]").focus()
    page.keyboard.type("Too bold.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("h2:has-text('1 of 1 rejected')")
    states = {row.pk: row.state for row in Promotion.objects.filter(pk__in=[each.pk for each in asked])}
    assert [states[each.pk] for each in asked] == [State.READY, State.READY, State.REJECTED]
    assert list(Approval.objects.order_by("created_at").values_list("comment", flat=True)) == ["Read both.", "Read both.", "Too bold."]
    # The one page that was refused for a missing tick says so by its status.
    assert [said for said in tab.complaints if "422" not in said] == []


def test_a_promotion_page_follows_its_evaluation_by_itself(browser: Any, live_server: Any, acme: Office) -> None:
    asked = acme.request(acme.draft())
    tab = Tab(browser, live_server.url)
    tab.take_over(acme.client("viewer"))
    tab.go(url(asked))
    assert "0 of 240 answers" in tab.page.inner_text("#mc-progress")
    acme.answer()
    connection.close()
    tab.page.wait_for_selector("#mc-progress:not([hx-get])")
    assert tab.page.inner_text("#mc-progress").count("completed") == 2
    assert tab.complaints == []


def changed(acme: Office) -> None:
    """A few changes, short ones and long ones."""
    ctx = make.context(acme.tenant.pk, "tenant_admin", user=acme.people["admin"])
    policy = {"primary": "large-model", "fallbacks": ["small-model", "tiny-model"], "locked": True}
    update_agent(ctx=ctx, slug="helpdesk-1", autonomy="A2", name="The helpdesk of the whole of Acme", model_policy=policy)
    suspend_agent(ctx=ctx, slug="helpdesk-1", reason="It promised refunds that nobody had approved; held until the wording is mended.")
    lines = [f"Paragraph {n} of what this pack is for and whom it serves, at some length so that it wraps." for n in range(12)]
    update_pack(ctx=ctx, slug="desk", description="\n".join(lines))
    update_pack(ctx=ctx, slug="desk", title="Helpdesk", description="\n".join([*lines[:5], "A line that is new.", *lines[6:]]))


@pytest.fixture
def pages(acme: Office) -> dict[str, str]:
    """The main pages by name."""
    fill(acme, 2)
    judged(acme)
    bold = acme.request(acme.draft("You say hello, boldly."), aim="non_inferior")
    acme.answer()
    bold = evaluate_promotion(ctx=make.system(acme.tenant.pk), promotion_id=bold.pk)
    objects: dict[str, Any] = {
        "pack": Pack.objects.get(slug="desk"),
        "layer": Layer.objects.get(pk=acme.live.layer_id),
        "version": PackVersion.objects.filter(layer=acme.live.layer).order_by("-number").first(),
        "promotion": Promotion.objects.filter(layer=acme.live.layer).first(),
        "decision": Decision.objects.filter(layer=acme.live.layer).first(),
        "approval": Approval.objects.first(),
        "agent": acme.agent,
        "token": AgentToken.objects.first(),
        "tenant": acme.tenant,
        "member": Membership.objects.filter(tenant=acme.tenant).first(),
        "eval-set": acme.cases,
        "eval-case": EvalCase.objects.filter(eval_set=acme.cases).first(),
        "eval-run": EvalRun.objects.filter(layer=acme.live.layer).order_by("-id").first(),
        "result": EvalResult.objects.first(),
        "run": Run.objects.first(),
        "producer": Producer.objects.first(),
        "subscription": Subscription.objects.first(),
    }
    found = {"index": "/admin/", **{name: url(obj) for name, obj in objects.items()}}
    changed(acme)
    for name in ("pack", "layer", "promotion", "agent", "version"):
        found[f"history-{name}"] = url(objects[name]).replace("/change/", "/history/")
    for model in (Pack, Layer, PackVersion, PointerChange, Promotion, Decision, EvalRun, EvalResult, Run, Membership, AgentToken, Tenant):
        found[f"list-{model._meta.model_name}"] = list_url(model)
    found["list-audit"] = "/admin/audit/event/"
    found["list-inbox"] = list_url(Awaited)
    found["inbox-answer"] = f"{list_url(Awaited)}answer/?act=approve&ids={bold.pk}"
    found["list-delegations"] = list_url(Delegation)
    found["delegation"] = url(Delegation.objects.earliest("id"))
    found["hand-over"] = list_url(Delegation) + "act/hand-over/"
    found["person"] = url(acme.people["admin"])
    found["list-empty"] = list_url(Pack) + "?q=nothing-like-it"
    found["audit-event"] = url(AuditEvent.objects.filter(tenant_id=acme.tenant.pk).order_by("-seq")[1])
    found["write"] = url(objects["layer"], "write")
    found["roll-back"] = url(objects["layer"], "roll-back")
    found["request"] = url(PackVersion.objects.get(pk=acme.draft("Another.").pk), "request-promotion")
    found["reject"] = url(objects["promotion"], "reject")
    found["issue"] = url(objects["agent"], "issue-token")
    found["new-pack"] = list_url(Pack) + "act/create/"
    found["list-harness"], found["order"] = list_url(Harness), list_url(Command) + "act/order/"
    group = TenantGroup.objects.filter(tenant=acme.tenant).first()
    found["group"], found["group-grant"] = url(group), url(group, "grant")
    found["grant"], found["grant-here"] = url(PackGroupPermission.objects.first()), url(objects["pack"], "grant")
    found["access"] = "/admin/access/?object=pack:desk"
    found["access-of-one"] = f"/admin/access/?object=agent:helpdesk-1&user={acme.people['operator'].email}"
    found["verify"] = "/admin/audit/event/act/verify/"
    found["export"] = "/admin/audit/event/act/export/"
    return found


# Colours change no widths: one theme is enough, unless both are to be photographed.
@pytest.mark.parametrize("dark", [False, True] if SHOTS else [True], ids=lambda dark: "dark" if dark else "light")
def test_no_page_is_wider_than_its_window_or_complains(
    browser: Any, live_server: Any, acme: Office, pages: dict[str, str], dark: bool
) -> None:
    client = acme.client("admin")
    wide: dict[str, int] = {}
    for width in (390, 1280):
        tab = Tab(browser, live_server.url, width=width, dark=dark)
        tab.take_over(client)
        for name, path in pages.items():
            tab.go(path)
            tab.shoot(f"{name}-{width}-{'dark' if dark else 'light'}")
            if (over := tab.overflow()) > 0:
                wide[f"{name} at {width}"] = over
            assert tab.page.locator("main").count() == 1, name
            assert re.search(r"\S", tab.page.title()), name
        tab.go(list_url(Promotion))
        tab.page.click("text=Filters")
        tab.page.wait_for_timeout(300)
        tab.shoot(f"filters-{width}-{'dark' if dark else 'light'}")
        assert tab.complaints == []
    assert wide == {}


OUTSIDE = ("/nowhere", "/api/v1/nowhere", "/api/v1/packs/", "/api/v1/schema/", "/healthz", "/readyz", "/static/src/favicon.svg")


def test_the_browser_holds_every_kind_of_page_to_its_policy(browser: Any, live_server: Any, acme: Office) -> None:
    tab = Tab(browser, live_server.url)
    tab.take_over(acme.client("admin"))
    for path in (*OUTSIDE, "/admin/login/", "/admin/password_change/", "/admin/packs/pack/no-such/", "/admin/audit/event/"):
        tab.go(path)
        assert [said for said in tab.complaints if "Content Security Policy" in said] == [], path
        if path == "/nowhere":
            # Its one style is known by its hash.
            assert tab.page.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") == "544px"
    tab.complaints.clear()
    tab.page.evaluate("document.body.appendChild(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))")
    tab.page.evaluate("document.body.setAttribute('onclick', 'window.ran = 1')")
    tab.page.evaluate("document.body.click()")
    assert tab.page.evaluate("window.ran") is None
    assert [said for said in tab.complaints if "Content Security Policy" in said]


def test_an_auditor_downloads_a_range_with_its_proof(browser: Any, live_server: Any, acme: Office) -> None:
    tab = Tab(browser, live_server.url)
    tab.take_over(acme.client("admin"))
    tab.go("/admin/audit/event/")
    tab.page.click("a.mc-button:has-text('Export')")
    with tab.page.expect_download() as started:
        tab.page.click("button[type=submit]:has-text('Export')")
    with Path(started.value.path()).open("rb") as lines:
        proof = verify_file(lines)
    assert proof["count"] == AuditEvent.objects.filter(tenant_id=acme.tenant.pk).count() - 1
    assert AuditEvent.objects.filter(tenant_id=acme.tenant.pk).latest("seq").action == "audit.exported"
    assert tab.complaints == []
