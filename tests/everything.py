"""A tenant with a row in every table of tenants."""

from __future__ import annotations

from decimal import Decimal

from django.utils import timezone

from apps.audit.models import ExportedHead
from apps.core.ids import new_id
from apps.core.models import IdempotencyRecord
from apps.evals.models import EvalSet
from apps.evals.tasks import score_runs
from apps.identity.models import Agent
from apps.identity.services import grant
from apps.notices.services import choose_emails, create_webhook
from apps.notices.services.notifying import spread_waiting
from apps.promotions.models import ApprovalReminder, Promotion
from apps.promotions.tasks import reassess_due
from apps.telemetry.models import Archive, ArchivePart, OpenTraces
from apps.telemetry.services import add_pattern, add_price, set_policy
from apps.telemetry.services.erasing import request_erasure
from apps.telemetry.services.exports import request_export
from apps.telemetry.services.pricing import AMOUNTS
from apps.telemetry.services.retention import set_retention
from apps.telemetry.tasks import roll_up_task
from tests import factories as make
from tests.notices.telling import told
from tests.promotions.test_loop import World, better
from tests.telemetry import sending


def everything(world: World) -> None:
    """Rows in every table of the world's tenant; what is governed leaves its own in the tables of history."""
    team = make.team(world.tenant)
    make.provider(world.tenant, "sso", groups={"staff": "viewer"})
    make.subscription(world.tenant, make.own_pack(make.platform(), "followed"))
    asked = world.request(world.draft()["id"])
    world.answer(better(world.live))
    harness = sending.harness(world.tenant)
    harness.send(sending.run(provider="openai", model_id="gpt-5-mini"), producer="p", seq=1)
    score_runs()
    roll_up_task()
    harness.send(sending.run())
    harness.send_events(sending.event())
    request_export(ctx=make.system(world.tenant.pk), kind="runs", file_format="csv", filters={})
    OpenTraces.objects.create(tenant=world.tenant, roots=["a" * 32], due_at=timezone.now())
    reassess_due()
    waiting = Promotion.objects.get(pk=asked["id"])
    ApprovalReminder.objects.create(tenant=world.tenant, promotion=waiting, kind="first", since=waiting.awaiting_since)
    world.call("manager", "post", f"promotions/{asked['id']}/approve/", {}, 200)
    world.call("manager", "post", f"promotions/{asked['id']}/start/", {}, 200)
    make.delegation(world.tenant, world.people["manager"])
    IdempotencyRecord.objects.create(tenant_id=world.tenant.pk, actor="a", route="r", key="k", body_hash=b"1" * 32)
    digest = world.call("agent", "get", "resolve?pack=desk", None, 200)["digest"]
    world.call("agent", "post", "heartbeat", {"serving": [{"pack": "desk", "digest": digest}]}, 200)
    world.call("operator", "post", "control/", {"target": "agent:acme/helpdesk-1", "action": "pause"}, 201)
    world.call("agent", "post", "suggestions/", {"pack": "desk", "content": make.content("You answer kindly.")}, 201)
    Agent.objects.filter(tenant=world.tenant, slug="helpdesk-1").update(autonomy="A2")
    world.call("agent", "post", "actions/", {"tool": "mail.send", "pack": "desk"}, 201)
    system = make.system(world.tenant.pk)
    create_webhook(ctx=system, name="chat", url="http://127.0.0.1:9/in", events=["promotions.decided"])
    told(world.tenant, kind="promotions.decided")
    spread_waiting(ctx=system)
    choose_emails(ctx=make.member(world.tenant, "viewer"), wanted={"promotions.decided": False})
    ExportedHead.objects.create(tenant_id=world.tenant.pk, store="s", seq=1, hash=b"1" * 32, at=timezone.now())
    amounts = {name: Decimal(1) for name in AMOUNTS}
    add_price(ctx=system, provider="maker", model_id="m*", effective_from=timezone.now().date(), amounts=amounts)
    set_policy(ctx=system, changes={"redact_email": True})
    add_pattern(ctx=system, name="staff_number", pattern="EMP-[0-9]{6}")
    archive = Archive.objects.create(tenant=world.tenant, day=timezone.now().date())
    ArchivePart.objects.create(
        tenant=world.tenant, archive=archive, generation=1, kind="run", number=1, after_id=new_id(), upto_id=new_id()
    )
    set_retention(ctx=system, changes={"hot_days": 9})
    request_erasure(ctx=system, user_ref="u-1", reason="asked")
    group = make.group(world.tenant, make.user())
    for obj in (world.live.layer.pack, team, make.agent(world.tenant, team=team), EvalSet.objects.filter(tenant=world.tenant).first()):
        grant(ctx=system, group_id=group.pk, obj=obj, actions=["view"])
