"""The page of history: who changed an object, when, why and what it was before; for those who see the object, and to be looked at only."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.audit.models import EventText
from apps.core.domain.differences import lines_of
from apps.core.history import governed, history_model
from apps.identity import services
from apps.identity.models import Agent, Membership, Tenant
from apps.identity.selectors import platform_id
from apps.packs.models import Layer, Pack
from apps.packs.services.packs import update_pack
from tests import factories as make
from tests.admin.office import PASSWORD, Office, fill, office, url


def page_of(obj: Model, key: Any = None) -> str:
    return reverse(f"admin:{obj._meta.app_label}_{obj._meta.model_name}_history", args=[key or obj.pk])


def said(client: Client, obj: Model, query: str = "") -> str:
    """The page's words as they are read aloud."""
    response = client.get(page_of(obj) + query)
    assert response.status_code == 200, (obj, response.status_code)
    main = re.search(r"<main.*</main>", response.content.decode(), re.DOTALL)
    assert main
    read = re.sub(r'<span[^>]* aria-hidden="true">.*?</span>', "", main.group())
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", read)).split())


@pytest.fixture
def acme(db: None) -> Office:
    return office(cases=1)


def as_(acme: Office, who: str, role: str) -> Any:
    return make.context(acme.tenant.pk, role, user=acme.people[who])


def test_it_says_who_when_how_why_and_what_it_was(acme: Office) -> None:
    team = make.team(acme.tenant, "support")
    ctx = as_(acme, "admin", "tenant_admin")
    services.update_agent(ctx=ctx, slug="helpdesk-1", team="support", autonomy="A2", model_policy={"primary": "small"})
    services.suspend_agent(ctx=ctx, slug="helpdesk-1", reason="It talks <b>too</b> much.")
    text = said(acme.client("admin"), acme.agent)
    newest, middle, oldest = re.split(r"(?=\bchanged 20|\bcreated 20)", text)[1:]
    assert "admin@acme.test , over the API Reason: It talks <b>too</b> much." in newest
    assert "Status active suspended" in newest and "The log of this request" in newest
    assert f"Team nothing {team}" in middle and "Autonomy A1: low-risk tools unasked A2: medium-risk with one approval" in middle
    assert 'added: "primary": "small"' in middle
    assert "unknown written outside of a service" in oldest and "Default pack desk" in oldest
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", newest)
    # Erased in the log, gone from here; who may not audit never sees it.
    assert "Reason" not in said(acme.client("viewer"), acme.agent) and "The log of" not in said(acme.client("viewer"), acme.agent)
    text_of = EventText.objects.filter(text__reason="It talks <b>too</b> much.")
    assert text_of.exists()
    text_of.delete()
    assert "Reason: (erased)" in said(acme.client("admin"), acme.agent)


def test_long_texts_are_shown_line_by_line(acme: Office) -> None:
    pack = Pack.objects.get(slug="desk")
    lines = [f"Line {n} of what it is for." for n in range(30)]
    ctx = as_(acme, "author", "author")
    update_pack(ctx=ctx, slug="desk", description="\n".join(lines))
    update_pack(ctx=ctx, slug="desk", description="\n".join([*lines[:20], "Another <i>line</i>.", *lines[21:]]))
    newest = said(acme.client("viewer"), pack).split("changed")[1]
    assert "removed: Line 20 of what it is for. added: Another <i>line</i>." in newest
    assert "Line 19" in newest and "Line 2 " not in newest
    assert lines_of("same", "same") == []


def test_a_promotion_moves_its_layer_visibly(acme: Office) -> None:
    layer = Layer.objects.get(pk=acme.live.layer_id)
    newest = said(acme.client("viewer"), layer).split("created")[0]
    assert "Champion nothing version 1" in newest and "the system ( tests )" in newest


def test_it_is_there_for_every_governed_object_and_costs_the_same_for_many_changes(acme: Office) -> None:
    fill(acme, 1)
    client = acme.client("admin")
    for model in governed():
        rows = history_model(model).objects.all()
        own = rows.filter(tenant_id=acme.tenant.pk) if hasattr(model, "tenant") else rows
        found = (model._default_manager.filter(pk=row.id).first() for row in own.order_by("-history_id"))
        obj = next(obj for obj in found if obj and (hasattr(model, "tenant") or client.get(url(obj)).status_code == 200))
        assert "As it was then" in said(client, obj), model
        assert page_of(obj) in client.get(url(obj)).content.decode(), model

    def cost() -> int:
        said(client, acme.agent)
        with CaptureQueriesContext(connection) as queries:
            said(client, acme.agent)
        return len(queries)

    ctx = as_(acme, "admin", "tenant_admin")
    services.update_agent(ctx=ctx, slug="helpdesk-1", name="0", team=make.team(acme.tenant, "t-0").slug)
    before = cost()
    for n in range(1, 25):
        other = make.context(acme.tenant.pk, "tenant_admin")
        services.update_agent(ctx=other, slug="helpdesk-1", name=str(n), team=make.team(acme.tenant, f"t-{n}").slug)
    assert cost() == before
    # 26 rows: a page of 20, and the rest.
    assert said(client, acme.agent).count("Before After") == 20 and "Older" in said(client, acme.agent)
    second = said(client, acme.agent, "?page=2")
    assert second.count("Before After") == 5 and "As it was then" in second and "Newer" in second and "Older" not in second
    for page in ("0", "-1", "x", "99999999999999999999", "²"):
        assert "Older" in said(client, acme.agent, f"?page={page}")
    assert "Nothing older" in said(client, acme.agent, "?page=99")


def test_it_is_to_be_looked_at_only(acme: Office) -> None:
    client = acme.client("admin")
    for obj in (acme.agent, acme.live, acme.tenant):
        for method in ("post", "put", "patch", "delete", "options"):
            assert getattr(client, method)(page_of(obj)).status_code == 405, (obj, method)
        assert client.head(page_of(obj)).status_code == 200
    row = history_model(Agent).objects.filter(id=acme.agent.pk).latest()
    # The library's own page for restoring a row does not exist.
    assert client.get(f"{page_of(acme.agent)}{row.history_id}/").status_code in (302, 404)
    assert Client().get(page_of(acme.agent)).status_code == 302


def test_nobody_sees_the_history_of_what_they_do_not_see(acme: Office) -> None:
    other = office("globex", cases=1)
    fill(other, 1)
    client = acme.client("admin")
    member = Membership.objects.get(user=other.people["viewer"])
    services.remove_member(ctx=make.system(other.tenant.pk), membership_id=member.pk)
    for obj in (other.agent, other.live, other.tenant, other.people["admin"], member):
        response = client.get(page_of(obj))
        assert response.status_code == 302 and response["Location"] == "/admin/", obj
    # A shared pack is seen by all; who changed it is for the people of `platform`.
    shared = Pack.objects.get(slug="presets")
    update_pack(ctx=make.context(platform_id(), "author"), slug="presets", title="Presets of tiers")
    assert "It belongs to another tenant, whose people see its history." in said(client, shared)
    keeper = make.user(make.platform(), "tenant_admin", email="keeper@platform.test", password=PASSWORD)
    acme.people["keeper"] = keeper
    assert "Title Presets Presets of tiers" in said(acme.client("keeper"), shared)
    # They see each tenant's own state, too, and nothing below it.
    assert "Tier enterprise" in said(acme.client("keeper"), Tenant.objects.get(pk=acme.tenant.pk))
    assert acme.client("keeper").get(page_of(acme.agent)).status_code == 302


def test_what_is_removed_leads_to_what_is_left_of_it(acme: Office) -> None:
    member = Membership.objects.get(user=acme.people["viewer"])
    services.remove_member(ctx=as_(acme, "admin", "tenant_admin"), membership_id=member.pk, reason="Moved on.")
    client = acme.client("admin")
    assert client.get(url(member))["Location"] == page_of(member)
    text = said(client, member)
    assert "It is no more" in text and "removed" in text and "Reason: Moved on." in text and "User viewer@acme.test Role viewer" in text
    assert client.post(page_of(member)).status_code == 405
    # Never there: no page.
    assert client.get(page_of(member, platform_id()))["Location"] == "/admin/"
    assert client.get(page_of(member, "x"))["Location"] == "/admin/"


def test_people_from_elsewhere_are_not_named(acme: Office) -> None:
    stranger = make.user(make.platform(), "tenant_admin", email="operator@platform.test")
    ctx = make.context(platform_id(), "tenant_admin", user=stranger)
    services.suspend_tenant(ctx=ctx, slug="acme")
    services.activate_tenant(ctx=ctx, slug="acme")
    text = said(acme.client("admin"), acme.tenant)
    assert "somebody who is not, or no longer, of this tenant" in text and "operator@platform.test" not in text
