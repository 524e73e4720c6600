"""What people do in the admin: each act by the person who may, refused to the person who may not, and harmless when sent twice."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from apps.audit.models import Event
from apps.evals.models import EvalRun
from apps.identity.models import Agent, AgentToken, Membership, Team
from apps.packs.models import Layer, Pack, PackVersion, Subscription
from apps.promotions.models import Decision, Promotion, State
from apps.promotions.services.requests import evaluate_promotion
from apps.telemetry.models import Event as TelemetryEvent
from apps.telemetry.models import Run
from tests import factories as make
from tests.admin.office import PASSWORD, Office, list_url, office, url
from tests.telemetry import sending

CONTENT = """\
sections:
  role:
    text: |
      You say hello first.
      Then you answer.
    order: 10
rubric:
  - {id: greets, check: contains, weight: 60, dimension: quality, params: {text: hello}}
  - {id: brief, check: max_length, weight: 20, dimension: format, params: {max_chars: 400}}
  - {id: clean, check: no_secrets, weight: 20, hard: true, dimension: safety}
"""


@pytest.fixture
def acme(db: None) -> Office:
    return office("acme")


def press(client: Client, page: str, **fields: Any) -> Any:
    """Opens an act's page and sends its form as it stands, with these fields changed."""
    shown = client.get(page)
    assert shown.status_code == 200, (page, shown.headers.get("Location"))
    return client.post(page, sent(shown, **fields))


def sent(shown: Any, **fields: Any) -> dict[str, Any]:
    form = shown.context["form"]
    filled = {name: field.initial for name, field in form.fields.items() if field.initial not in (None, False)}
    return {**filled, **form.initial, **fields}


def words(response: Any) -> str:
    """What is written on a page."""
    body = response.content.decode()
    part = re.search(r"<main.*</main>", body, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", part[0] if part else body).split())


def test_the_whole_way_from_a_version_to_a_rollback_by_clicking(acme: Office) -> None:
    layer: Layer = acme.live.layer
    author, manager, operator = acme.client("author"), acme.client("manager"), acme.client("operator")

    written = press(author, url(layer, "write"), content=CONTENT, notes="Greets.")
    assert written.status_code == 302, words(written)
    draft = PackVersion.objects.get(layer=layer, number=2)
    assert written["Location"] == url(draft)
    assert draft.content["sections"]["role"]["text"] == "You say hello first.\nThen you answer.\n" and draft.parent_id == acme.live.pk
    assert draft.created_by_id == acme.people["author"].pk

    edited = press(author, url(draft, "edit"), content=CONTENT.replace("answer", "help"))
    second = PackVersion.objects.get(layer=layer, number=3)
    draft.refresh_from_db()
    assert edited["Location"] == url(second) and (draft.status, draft.archived_reason) == ("archived", "superseded")

    asked = press(author, url(second, "request-promotion"), reason="It greets.")
    promotion = Promotion.objects.get(challenger=second)
    assert asked["Location"] == url(promotion) and promotion.state == State.COLLECTING
    assert "0 of 240 answers are in" in words(author.get(url(promotion)))

    acme.answer()
    press(author, url(promotion, "evaluate"))
    promotion.refresh_from_db()
    assert promotion.state == State.AWAITING_APPROVAL, promotion.verdict
    page = words(author.get(url(promotion)))
    assert "somebody else has to approve" in page and url(promotion, "approve") not in author.get(url(promotion)).content.decode()
    assert "Quality rose from" in page

    press(manager, url(promotion, "approve"), comment="Fine.")
    promotion.refresh_from_db()
    assert promotion.state == State.READY
    started = manager.get(url(promotion, "start"))
    first = manager.post(url(promotion, "start"), sent(started))
    again = manager.post(url(promotion, "start"), sent(started))
    assert first.status_code == again.status_code == 302
    layer.refresh_from_db()
    assert layer.champion_id == second.pk
    assert Decision.objects.filter(layer=layer).count() == 2  # the first version's, and this one

    press(operator, url(layer, "roll-back"), reason="Complaints.")
    layer.refresh_from_db()
    assert layer.champion_id == acme.live.pk
    assert "the layer was rolled back since" in words(operator.get(url(promotion)))
    channels = set(Event.objects.filter(tenant_id=acme.tenant.pk, action__startswith="decision.").values_list("channel", flat=True))
    assert channels == {"task", "admin"}


def test_findings_stand_at_their_field_and_nothing_typed_is_lost(acme: Office) -> None:
    client = acme.client("author")
    typed = "sections:\n  role: {text: Hi., file: NOWHERE}\nsectoins: {}\n"
    refused = press(client, url(acme.live.layer, "write"), content=typed)
    page = words(refused)
    assert refused.status_code == 422 and "/sections/role/file" in page and "/sectoins" in page
    assert "file: NOWHERE" in refused.content.decode()
    unreadable = press(client, url(acme.live.layer, "write"), content="a: [1\nb: 2")
    assert "Not readable as YAML or JSON at line 2" in words(unreadable)
    assert PackVersion.objects.filter(layer=acme.live.layer).count() == 1


def test_a_stale_parent_is_answered_with_the_merged_content(acme: Office) -> None:
    client = acme.client("author")
    page = url(acme.live.layer, "write")
    shown = client.get(page)
    make.champion(acme.tenant, "desk", "tenant:acme", {**acme.live.content, "personality": {"tone": "calm"}})
    refused = client.post(page, sent(shown, content=CONTENT))
    assert refused.status_code == 409 and "version 2 is" in words(refused)
    merged = refused.context["form"].data
    assert "tone: calm" in merged["content"] and "You say hello first." in merged["content"]
    done = client.post(page, {"once": merged["once"], "content": merged["content"], "parent": merged["parent"], "notes": ""})
    assert done.status_code == 302
    assert PackVersion.objects.get(layer=acme.live.layer, number=3).content["personality"] == {"tone": "calm"}


ACTS: list[tuple[str, str]] = [
    ("layer", "write"),
    ("layer", "roll-back"),
    ("layer", "retire"),
    ("draft", "edit"),
    ("draft", "request-promotion"),
    ("draft", "evaluate"),
    ("promotion", "approve"),
    ("promotion", "reject"),
    ("promotion", "start"),
    ("promotion", "force"),
    ("promotion", "abort"),
    ("promotion", "evaluate"),
    ("pack", "write"),
    ("pack", "subscribe"),
    ("pack", "change"),
    ("agent", "suspend"),
    ("agent", "retire"),
    ("agent", "issue-token"),
    ("token", "revoke"),
    ("member", "remove"),
    ("tenant", "delete"),
    ("cases", "add-cases"),
]


def test_a_viewer_sees_no_buttons_and_is_refused_every_act(acme: Office) -> None:
    asked = acme.request(acme.draft())
    acme.answer()
    evaluate_promotion(ctx=make.system(acme.tenant.pk), promotion_id=asked.pk)
    make.agent_token(acme.agent)
    objects: dict[str, Model] = {
        "layer": acme.live.layer,
        "draft": acme.draft("Another."),
        "promotion": asked,
        "pack": Pack.objects.get(slug="desk"),
        "agent": acme.agent,
        "token": AgentToken.objects.get(agent=acme.agent),
        "member": Membership.objects.get(user=acme.people["author"]),
        "tenant": acme.tenant,
        "cases": acme.cases,
    }
    client = acme.client("viewer")
    before = Event.objects.filter(tenant_id=acme.tenant.pk).count()
    for obj in objects.values():
        assert 'class="mc-buttons" aria-label' not in client.get(url(obj)).content.decode(), obj
    for name, act in ACTS:
        response = client.post(
            url(objects[name], act),
            {
                "once": "x",
                "reason": "r",
                "comment": "c",
                "content": CONTENT,
                "scope": "tenant:acme",
                "binding": asked.binding,
                "cases": "[]",
                "aim": "improve",
                "invalid": "wait",
                "title": "T",
                "visibility": "listed",
            },
        )
        assert response.status_code == 302 and response["Location"] == "/admin/", (name, act, response.status_code)
    for model, act in [(Pack, "create"), (Team, "create"), (Agent, "create"), (Membership, "add"), (AgentToken, "issue")]:
        assert client.post(f"{list_url(model)}act/{act}/", {"once": "x"})["Location"] == "/admin/"
        assert f"act/{act}/" not in client.get(list_url(model)).content.decode()
    assert Event.objects.filter(tenant_id=acme.tenant.pk).count() == before
    refused = client.get("/admin/audit/event/")
    assert refused.status_code == 403 and "Not for your role" in words(refused)


def test_another_tenants_objects_cannot_be_acted_on(acme: Office) -> None:
    other = acme.live.layer
    client = office("globex", cases=1).client("admin")
    response = client.post(url(other, "write"), {"once": "x", "content": CONTENT})
    assert response.status_code == 302 and PackVersion.objects.filter(layer=other).count() == 1


def test_a_token_is_shown_once_and_a_page_sent_twice_issues_one(acme: Office) -> None:
    client = acme.client("admin")
    page = url(acme.agent, "issue-token")
    filled = sent(client.get(page), name="ci")
    shown = client.post(page, filled)
    secret = re.search(r"mc_[\w-]{10,}", shown.context["secret"])
    assert shown.status_code == 200 and secret and secret[0] in shown.content.decode() and "no-store" in shown["Cache-Control"]
    again = client.post(page, filled, follow=True)
    token = AgentToken.objects.get(agent=acme.agent)
    assert "nothing was done twice" in again.content.decode()
    for address in (url(token), url(acme.agent), list_url(AgentToken)):
        body = client.get(address).content.decode()
        assert secret[0] not in body and bytes(token.hash).hex() not in body
    press(client, url(token, "revoke"), reason="Lost.")
    token.refresh_from_db()
    assert token.revoked_at is not None


def test_the_tenants_own_things_are_made_and_switched_off(acme: Office) -> None:
    client = acme.client("admin")
    made = press(client, f"{list_url(Team)}act/create/", slug="support", name="Support")
    team = Team.objects.get(slug="support")
    assert made["Location"] == url(team)
    press(client, f"{list_url(Agent)}act/create/", slug="bot", team="support", autonomy="A2", harness_kind="openclaw", domain="hr-ops")
    agent = Agent.objects.get(slug="bot")
    assert (agent.team_id, agent.autonomy) == (team.pk, "A2")
    press(client, url(agent, "suspend"), reason="Noise.")
    agent.refresh_from_db()
    assert agent.status == "suspended" and "act/activate/" in client.get(url(agent)).content.decode()
    press(client, f"{list_url(Membership)}act/add/", email="new@acme.test", role="author", team="support")
    member = Membership.objects.get(user__email="new@acme.test")
    assert member.team_id == team.pk
    press(client, url(member, "change"), role="viewer")
    member.refresh_from_db()
    assert member.role == "viewer"
    press(client, url(member, "remove"))
    assert not Membership.objects.filter(pk=member.pk).exists()
    taken = press(client, f"{list_url(Team)}act/create/", slug="support", name="Again")
    assert taken.status_code == 409 and "already" in words(taken)


def test_shared_packs_are_subscribed_pinned_and_left(acme: Office) -> None:
    platform = make.platform()
    shared = make.own_pack(platform, "shared-desk")
    live = make.champion(platform, "shared-desk", "global")
    client = acme.client("admin")
    press(client, url(shared, "subscribe"))
    row = Subscription.objects.get(tenant=acme.tenant, pack=shared)
    assert row.pinned_id is None and "act/subscribe/" not in client.get(url(shared)).content.decode()
    press(client, url(row, "pin"), pinned=str(live.pk))
    row.refresh_from_db()
    assert row.pinned_id == live.pk
    press(client, url(row, "unsubscribe"))
    assert not Subscription.objects.filter(pk=row.pk).exists()


def test_evaluation_is_set_up_and_begun(acme: Office) -> None:
    client = acme.client("author")
    added = press(client, url(acme.cases, "add-cases"), cases="- input: Hello?\n  tags: [greeting]\n")
    assert added.status_code == 302 and acme.cases.cases.count() == 41
    refused = press(client, url(acme.cases, "add-cases"), cases="- {inputs: x}\n")
    assert refused.status_code == 422 and "/0/inputs" in words(refused)
    draft = acme.draft()
    press(client, url(draft, "evaluate"), eval_set=str(acme.cases.pk), runner="replay")
    assert EvalRun.objects.filter(version=draft, runner="replay").exists()


def test_the_chain_is_verified_from_the_log(acme: Office) -> None:
    client = acme.client("admin")
    assert "The chain holds" in words(press(client, "/admin/audit/event/act/verify/"))


def test_people_change_their_own_password_and_it_is_recorded(acme: Office) -> None:
    client = acme.client("viewer")
    page = reverse("admin:password_change")
    wrong = client.post(page, {"old_password": "no", "new_password1": "a long new one 7", "new_password2": "a long new one 7"})
    assert wrong.status_code == 200
    short = client.post(page, {"old_password": PASSWORD, "new_password1": "short", "new_password2": "short"})
    assert short.status_code == 200
    done = client.post(page, {"old_password": PASSWORD, "new_password1": "a long new one 7", "new_password2": "a long new one 7"})
    assert done.status_code == 302 and client.get("/admin/").status_code == 200
    acme.people["viewer"].refresh_from_db()
    assert acme.people["viewer"].check_password("a long new one 7")
    assert Event.objects.filter(tenant_id=acme.tenant.pk, action="identity.password_changed").count() == 1


def test_nothing_that_comes_from_outside_is_markup(acme: Office) -> None:
    evil = '<script>alert("x")</script><img src=x onerror=alert(1)>{{ 7*7 }}'
    acme.tenant.name = evil
    acme.tenant.save(update_fields=["name"])
    draft = acme.draft(evil, personality={"tone": evil}, contracts={"t": {"type": "object", "description": evil}})
    asked = acme.request(draft, reason=evil)
    harness = sending.Harness(acme.tenant, acme.agent, make.agent_token(acme.agent, name=evil))
    harness.send(sending.run("run-evil", input=evil, output=evil, task_type=evil, metadata={evil: evil}))
    harness.send_events(sending.event("event-evil", message=evil, payload={"a": evil}, run_id="run-evil"))
    client = acme.client("admin")
    run, event = Run.objects.get(run_id="run-evil"), TelemetryEvent.objects.get(event_id="event-evil")
    pages = ["/admin/", *(url(each) for each in (acme.tenant, draft, asked, run, event, acme.agent, acme.live.layer))]
    pages += [f"{url(acme.agent)}?pack=desk&user=%3Cscript%3E", list_url(Run), list_url(TelemetryEvent), list_url(AgentToken)]
    pages += [url(draft, "edit") if draft.status == "draft" else url(acme.live.layer, "write"), f"{list_url(Run)}?q=%3Cscript%3Ealert(9)"]
    for page in pages:
        body = client.get(page).content.decode()
        assert "<script>alert" not in body and "<img src=x" not in body, page
    shown = client.get(url(run)).content.decode()
    assert "&lt;script&gt;alert(&quot;x&quot;)" in shown and "x-ignore" in shown
