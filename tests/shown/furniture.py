"""What telemetry, the fleet and the archive have in a place of the world, made as harnesses and people make it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Model
from django.test import Client
from django.utils import timezone

from apps.core.context import ActionContext, Actor, RoleGrant
from apps.core.ids import new_id
from apps.evals.services.online import score_batch
from apps.fleet.domain.requests import LONGEST_S
from apps.fleet.models import Harness
from apps.fleet.services import order, request_action
from apps.identity.models import Agent, AgentToken, Team, Tenant
from apps.telemetry.models import Archive, ArchivePart, Event, Export, ModelHealth, Producer, RetentionPolicy, Run, RunScore
from apps.telemetry.services import add_pattern, add_price, set_policy
from apps.telemetry.services.erasing import request_erasure
from apps.telemetry.services.exporting import write_export
from apps.telemetry.services.exports import request_export
from apps.telemetry.services.pricing import AMOUNTS
from apps.telemetry.services.rolling import roll_up
from tests import factories as make


@dataclass
class Place:
    """`objects`: what stands here, by kind; `names`: what a path parameter is, by the first part of the path; `values`: what a key of a
    body is."""

    name: str
    tenant: Tenant
    team: Team | None
    scope: str
    objects: dict[str, Model] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


def soon() -> datetime:
    return timezone.now() + timedelta(days=7)


def agent_context(agent: Agent) -> ActionContext:
    role = frozenset({RoleGrant("agent")})
    return ActionContext(Actor("agent", agent.pk, agent.slug), agent.tenant_id, "api", role, agent_id=agent.pk, team_id=agent.team_id)


def add_telemetry(place: Place, mark: str) -> None:
    agent: Any = place.objects["agent"]
    now = datetime.now(UTC).isoformat()
    run = {"run_id": f"run-{mark}", "task_type": "t", "started_at": now, "output": mark, "persona": mark, "pack": f"desk-{place.name}"}
    run["root_task_id"] = f"root-{mark}"
    run |= {"provider": "local", "model_id": mark}
    event = {"event_id": f"event-{mark}", "run_id": f"run-{mark}", "action": "output", "message": mark, "created_at": now}
    token = make.agent_token(agent, name=f"{mark} sender")
    for seq, (kind, item) in enumerate({"runs": run, "events": event}.items(), start=1):
        body = {"producer": f"gw-{place.name}", "seq": seq, kind: [item]}
        sent = Client().post(f"/api/v1/telemetry/{kind}", body, content_type="application/json", headers=make.bearer(token))
        assert sent.status_code == 202 and not sent.json()["rejected"], sent.content
    score_batch(ctx=make.system(place.tenant.pk))
    roll_up(ctx=make.system(place.tenant.pk))
    AgentToken.objects.filter(name=f"{mark} sender").update(revoked_at=timezone.now())
    export = request_export(ctx=make.system(place.tenant.pk), kind="runs", file_format="jsonl", filters={"run_id": f"run-{mark}"})
    write_export(tenant_id=place.tenant.pk, export_id=export.pk)
    _rules(place, mark)
    place.objects |= {
        "export": Export.objects.get(pk=export.pk),
        "run": Run.objects.get(run_id=f"run-{mark}"),
        "event": Event.objects.get(event_id=f"event-{mark}"),
        "score": RunScore.objects.get(run_id=f"run-{mark}"),
        "producer": Producer.objects.get(name=f"gw-{place.name}"),
        "model health": ModelHealth.objects.get(model_id=mark, window="1h"),
    }


def _rules(place: Place, mark: str) -> None:
    """What telemetry is judged by. A tenant has one policy."""
    system = make.system(place.tenant.pk)
    amounts = {name: Decimal(1) for name in AMOUNTS}
    for kind, begins in (("price", datetime(2026, 1, 1, tzinfo=UTC)), ("later price", soon())):
        price = {"provider": f"maker-{place.name}", "model_id": "m*", "effective_from": begins.date(), "note": mark}
        place.objects[kind] = add_price(ctx=system, amounts=amounts, **price)
    place.objects["redaction policy"] = set_policy(ctx=system, changes={"redact_phone": True})
    name = f"marks_{place.name}"
    place.objects["redaction pattern"] = add_pattern(ctx=system, name=name, pattern=f"{mark}-[0-9]+")


def add_fleet(place: Place, mark: str) -> None:
    """A harness that serves something, a command on its way to it, and a request to use a tool."""
    agent: Any = place.objects["agent"]
    token = make.agent_token(agent, name=f"{mark} harness")
    served = [{"pack": f"desk-{place.name}", "digest": "sha256:" + "0" * 64, "arm": "champion"}]
    body = {"instance": f"host-{place.name}", "status": mark, "serving": served}
    sent = Client().post("/api/v1/heartbeat", body, content_type="application/json", headers=make.bearer(token))
    assert sent.status_code == 200, sent.content
    AgentToken.objects.filter(name=f"{mark} harness").update(revoked_at=timezone.now())
    target = f"agent:{place.tenant.slug}/{agent.slug}"
    # The world stands for many minutes.
    asked: dict[str, Any] = {"arguments": {"text": mark}, "reason": mark, "expires_in_s": LONGEST_S}
    place.objects |= {
        "harness": Harness.objects.get(agent=agent),
        "command": order(ctx=make.system(place.tenant.pk), target=target, action="pause", reason=mark, expires_in_s=LONGEST_S),
        "action request": request_action(ctx=agent_context(agent), tool="mail.send", **asked),
    }


def add_archives(place: Place, mark: str) -> None:
    """A day of long ago, that is in the archive only; a policy, and an erasure that waits. A team's things are its tenant's here."""
    tenant, day = place.tenant, date(2025, 12, 31)
    archive, _ = Archive.objects.get_or_create(
        tenant=tenant,
        day=day,
        defaults={
            "state": "dropped",
            "manifest": f"archives/{mark}",
            "manifest_sha256": "0" * 64,
            "verified_at": timezone.now(),
        },
    )
    ArchivePart.objects.get_or_create(
        tenant=tenant,
        archive=archive,
        generation=1,
        kind="run",
        number=1,
        defaults={"after_id": new_id(), "upto_id": new_id(), "path": mark},
    )
    policy, _ = RetentionPolicy.objects.get_or_create(tenant=tenant)
    erasure = request_erasure(ctx=make.system(tenant.pk), user_ref=mark, reason=mark)
    place.objects |= {"archive": archive, "retention policy": policy, "erasure": erasure}
    # One that was asked for and is not written yet: it may be asked for again.
    waiting, _ = Archive.objects.get_or_create(tenant=tenant, day=day - timedelta(days=1))
    place.values |= {"archived_day": day.isoformat(), "unarchived_day": waiting.day.isoformat()}
