"""A tenant at work, seen through the admin: a pack that is live, people who sign in, an agent that answers, and rows of every kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from django.db.models import Model
from django.test import Client
from django.urls import reverse

from apps.core.context import ActionContext, Actor, RoleGrant
from apps.evals.models import EvalRun, EvalSet
from apps.evals.services.answers import lease_cases, submit_outputs
from apps.evals.services.online import score_batch
from apps.fleet.services.control import order
from apps.fleet.services.requests import request_action
from apps.identity.models import Agent, Membership, Tenant, User
from apps.identity.services import grant
from apps.notices.services import create_webhook
from apps.notices.services.notifying import spread_waiting
from apps.packs.models import PackVersion
from apps.packs.services.versions import create_version
from apps.promotions.models import Approval, Promotion
from apps.promotions.services.going_live import bootstrap
from apps.promotions.services.requests import request_promotion
from apps.telemetry.models import Archive
from apps.telemetry.services import add_pattern, add_price, set_policy, update_pattern
from apps.telemetry.services.erasing import request_erasure
from apps.telemetry.services.exporting import write_export
from apps.telemetry.services.exports import request_export
from apps.telemetry.services.pricing import AMOUNTS
from apps.telemetry.services.retention import set_retention
from apps.telemetry.services.rolling import roll_up
from tests import factories as make
from tests.notices.telling import told
from tests.telemetry import sending

_numbers = count(1)
PASSWORD = "correct horse battery staple"
RUBRIC = [
    {"id": "greets", "check": "contains", "weight": 60, "dimension": "quality", "params": {"text": "hello"}},
    {"id": "brief", "check": "max_length", "weight": 20, "dimension": "format", "params": {"max_chars": 400}},
    {"id": "clean", "check": "no_secrets", "weight": 20, "hard": True, "dimension": "safety"},
]
ROLES = {"author": "author", "manager": "manager", "second": "manager", "admin": "tenant_admin", "viewer": "viewer", "operator": "operator"}


def url(obj: Model, act: str = "") -> str:
    name = f"admin:{obj._meta.app_label}_{obj._meta.model_name}_{'act' if act else 'change'}"
    return reverse(name, args=[obj.pk, act] if act else [obj.pk])


def list_url(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


@dataclass
class Office:
    tenant: Tenant
    live: PackVersion
    agent: Agent
    cases: EvalSet
    people: dict[str, User] = field(default_factory=dict)

    def client(self, who: str) -> Client:
        client = Client()
        assert client.login(username=self.people[who].email, password=PASSWORD)
        return client

    def draft(self, text: str = "You say hello first.", who: str = "author", **blocks: Any) -> PackVersion:
        content = make.content(text, rubric=RUBRIC, **blocks)
        ctx = make.context(self.tenant.pk, ROLES[who], user=self.people[who])
        return create_version(ctx=ctx, pack_slug="desk", scope=f"tenant:{self.tenant.slug}", content=content)

    def request(self, version: PackVersion, who: str = "author", **more: Any) -> Promotion:
        return request_promotion(ctx=make.context(self.tenant.pk, ROLES[who], user=self.people[who]), version_id=version.pk, **more)

    def answer(self, says: Callable[[EvalRun, int], str] | None = None) -> None:
        """Every open evaluation is answered by the agent; unless told otherwise the champion greets in three of four cases only."""
        says = says or (lambda run, number: "hello" if run.version_id != self.live.pk or number % 4 else "good day")
        for run in EvalRun.objects.filter(tenant=self.tenant, state__in=["pending", "running"]).select_related("layer").order_by("id"):
            agent = Agent.objects.filter(team=run.layer.team).first() if run.layer.team_id else self.agent
            role = frozenset({RoleGrant("agent")})
            actor = Actor("agent", agent.pk, str(agent))
            ctx = ActionContext(actor, self.tenant.pk, "api", role, agent_id=agent.pk, team_id=agent.team_id)
            while (leased := lease_cases(ctx=ctx, eval_run_id=run.pk, limit=100)).items:
                outputs = [
                    {
                        "case": str(item.case_id),
                        "repeat": item.repeat,
                        "output": says(run, item.case.number),
                        "latency_ms": 900 + index,
                        "cost_usd": "0.001",
                    }
                    for index, item in enumerate(leased.items)
                ]
                submit_outputs(ctx=ctx, eval_run_id=run.pk, lease_id=leased.lease_id, outputs=outputs)


def office(slug: str = "acme", *, cases: int = 40, **blocks: Any) -> Office:
    tenant = make.tenant(slug)
    pack = make.own_pack(tenant, "desk")
    live = make.version(tenant, "desk", f"tenant:{slug}", make.content("You answer.", rubric=RUBRIC, **blocks))
    bootstrap(ctx=make.system(tenant.pk), version_id=live.pk)
    live.refresh_from_db()
    agent = make.agent(tenant, "helpdesk-1", default_pack="desk")
    made = Office(tenant, live, agent, make.eval_set(tenant, pack, [{"input": f"Question {n}"} for n in range(1, cases + 1)]))
    for who, role in ROLES.items():
        made.people[who] = make.user(tenant, role, email=f"{who}@{slug}.test", password=PASSWORD)
    return made


def fill(made: Office, rows: int) -> None:
    """So many more rows of every kind that the admin lists, made as users make them."""
    tenant, system = made.tenant, make.system(made.tenant.pk)
    for _ in range(rows):
        n = next(_numbers)
        team = make.team(tenant, f"team-{n}")
        agent = make.agent(tenant, f"agent-{n}", team=team, autonomy="A2", default_pack="desk")
        make.agent_token(agent, name=f"token {n}")
        person = make.user(tenant, "manager", email=f"person-{n}@filled.test", team=team)
        make.api_token(person, tenant, name=f"token {n}")
        make.delegation(tenant, person, team=team)
        provider = make.provider(tenant, f"sso-{n}", groups={f"group-{n}": "viewer"})
        Membership.objects.create(tenant=tenant, user=person, role="viewer", source=provider)
        shared = make.own_pack(make.platform(), f"shared-{n}")
        make.subscription(tenant, shared)
        pack = make.own_pack(tenant, f"pack-{n}")
        first = make.version(tenant, pack.slug, f"team:{tenant.slug}/{team.slug}", make.content("First.", rubric=RUBRIC))
        bootstrap(ctx=system, version_id=first.pk)
        group = make.group(tenant, person, name=f"group-{n}")
        for obj in (pack, team, agent, make.eval_set(tenant, pack, 1)):
            grant(ctx=system, group_id=group.pk, obj=obj, actions=["view"])
        asked = request_promotion(ctx=system, version_id=_second(tenant, first, person).pk)
        Approval.objects.create(tenant=tenant, promotion=asked, user=person, roles=["manager"], approved=True, binding=asked.binding)
        create_webhook(ctx=system, name=f"hook {n}", url="http://127.0.0.1:9/in", events=["promotions.decided"])
        told(tenant, person, kind="promotions.decided")
        spread_waiting(ctx=system)
        harness = sending.Harness(tenant, agent, make.agent_token(agent))
        run = sending.run(f"run-{n}", pack=pack.slug, provider="maker", model_id=f"m-{n}")
        harness.send(run, producer=f"gw-{n}", seq=1)
        harness.send_events(sending.event(f"event-{n}", run_id=f"run-{n}"))
        export = request_export(ctx=system, kind="runs", file_format="csv", filters={"run_id": f"run-{n}"})
        write_export(tenant_id=tenant.pk, export_id=export.pk)
        _telemetry(tenant, n)
        _fleet(tenant, agent, n)
    score_batch(ctx=system)
    roll_up(ctx=system)
    made.answer()


def _telemetry(tenant: Tenant, n: int) -> None:
    """What telemetry is judged by, and how long it is kept."""
    system = make.system(tenant.pk)
    add_price(ctx=system, provider="maker", model_id=f"m-{n}", effective_from=date(2026, 1, 1), amounts=dict.fromkeys(AMOUNTS, Decimal(1)))
    set_policy(ctx=system, changes={"redact_email": True, "redact_phone": n % 2 == 0})
    # Names are words, and few may be switched on.
    name = "staff_" + "".join(chr(ord("a") + int(digit)) for digit in str(n))
    update_pattern(ctx=system, pattern_id=add_pattern(ctx=system, name=name, pattern="EMP-[0-9]{6}").pk, changes={"enabled": False})
    set_retention(ctx=system, changes={"hot_days": 8 + n % 2})
    Archive.objects.create(tenant=tenant, day=date(2025, 1, 1) + timedelta(days=n))
    request_erasure(ctx=system, user_ref=f"u-{n}", reason="asked")


def _fleet(tenant: Tenant, agent: Agent, n: int) -> None:
    """A harness that serves something, a command on its way to it, and a request to use a tool."""
    served = [{"pack": "desk", "digest": "sha256:" + "0" * 64, "arm": "champion"}]
    token = make.bearer(make.agent_token(agent, name=f"harness {n}"))
    sent = Client().post("/api/v1/heartbeat", {"serving": served}, content_type="application/json", headers=token)
    assert sent.status_code == 200, sent.content
    order(ctx=make.system(tenant.pk), target=f"agent:{tenant.slug}/{agent.slug}", action="pause", reason="asked")
    ctx = ActionContext(
        Actor("agent", agent.pk, agent.slug), tenant.pk, "api", frozenset({RoleGrant("agent")}), agent_id=agent.pk, team_id=agent.team_id
    )
    request_action(ctx=ctx, tool="mail.send", arguments={}, reason="asked")


def _second(tenant: Tenant, first: PackVersion, person: User) -> PackVersion:
    ctx = make.context(tenant.pk, "author", user=person)
    content = make.content("Second.", rubric=RUBRIC)
    return create_version(ctx=ctx, pack_slug=first.layer.pack.slug, scope=first.layer.scope, content=content)
