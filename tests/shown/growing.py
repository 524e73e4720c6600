"""More rows of every kind that a list shows, each with relatives of its own, so that a query for each row would be seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from django.contrib.auth.models import Group
from django.db.models import Model
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from apps.core.ids import new_id
from apps.evals.models import EvalCase, EvalItem, EvalResult, EvalRun, EvalSet
from apps.evals.services.online import score_batch
from apps.fleet.models import ActionRequest, Command, Harness, Serving
from apps.fleet.models import Delivery as CommandDelivery
from apps.identity.groups import GroupMember, TenantGroup
from apps.identity.models import (
    Agent,
    AgentToken,
    ApiToken,
    Delegation,
    GroupRole,
    Membership,
    OidcProvider,
    Organisation,
    Team,
    Tenant,
    User,
)
from apps.identity.services import update_team
from apps.notices.models import Delivery, Notice, Webhook
from apps.packs.models import Layer, Pack, PackVersion, PointerChange, Subscription
from apps.promotions.models import Approval, Decision, Promotion
from apps.telemetry.models import Price, RedactionPattern
from apps.telemetry.services.exporting import write_export
from apps.telemetry.services.exports import request_export
from apps.telemetry.services.rolling import roll_up
from tests import factories as make
from tests.shown.world import World

_numbers = count(1)


def copy_of(obj: Model, **fields: Any) -> Any:
    """A new row like this one but for these fields, not saved."""
    values = {field.attname: getattr(obj, field.attname) for field in obj._meta.concrete_fields if field.attname != "id"}
    for name in fields:
        values.pop(f"{name}_id", None)
    return type(obj)(**{**values, "id": new_id(), **fields})


def grow(world: World, rows: int) -> None:
    """So many more rows of each kind, in acme and for the one who governs."""
    place = world.places["own"]
    things: dict[str, Any] = place.objects
    numbers = [next(_numbers) for _ in range(rows)]
    people = _people(place.tenant, things, numbers)
    versions = _packs(place.tenant, things, people, world.places["shared"].tenant)
    _evals(things, people, versions)
    _promotions(things, people, versions)
    _access(place.tenant, things, people)
    _notices(things, people)
    _telemetry(place.tenant, numbers)
    Price.objects.bulk_create([copy_of(things["price"], model_id=f"m-{number}") for number in numbers])
    names = ["grown_" + "".join(chr(ord("a") + int(digit)) for digit in str(number)) for number in numbers]
    RedactionPattern.objects.bulk_create([copy_of(things["redaction pattern"], name=name, enabled=False) for name in names])
    _fleet(things, people)
    every = IntervalSchedule.objects.bulk_create([IntervalSchedule(every=1000 + number, period="minutes") for number in numbers])
    PeriodicTask.objects.bulk_create(
        [PeriodicTask(name=f"grown {each.pk}", task="core.sweep", interval=each, enabled=False) for each in every]
    )
    # Each leaves an event in the log.
    for number in numbers:
        update_team(ctx=make.system(place.tenant.pk), slug=things["team"].slug, name=f"Renamed {number}")


def _people(tenant: Tenant, things: dict[str, Any], numbers: list[int]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"number": number, "slug": f"grown-{number}"} for number in numbers]

    def made(kind: str, rows: list[Any]) -> None:
        for each, row in zip(found, type(rows[0])._default_manager.bulk_create(rows), strict=True):
            each[kind] = row

    made("organisation", [Organisation(slug=each["slug"], name=each["slug"]) for each in found])
    made("tenant", [Tenant(organisation=each["organisation"], slug=each["slug"], name=each["slug"], tier="team") for each in found])
    made("team", [Team(tenant=tenant, slug=each["slug"], name=each["slug"]) for each in found])
    made("user", [User(email=f"{each['slug']}@acme.test", password="!") for each in found])
    made("provider", [copy_of(things["provider"], slug=each["slug"], client_id=each["slug"]) for each in found])
    made("agent", [Agent(tenant=tenant, slug=each["slug"], team=each["team"], domain="hr-ops") for each in found])
    rows = [Membership(tenant=tenant, user=each["user"], role="author", team=each["team"], source=each["provider"]) for each in found]
    made("member", rows)
    made(
        "group role",
        [GroupRole(tenant=tenant, provider=each["provider"], group=each["slug"], role="viewer", team=each["team"]) for each in found],
    )
    token: dict[str, Any] = {"tenant": tenant, "hash": b"1" * 32, "expires_at": timezone.now() + timedelta(days=9)}
    made("agent token", [AgentToken(agent=each["agent"], prefix=f"a{each['number']}", **token) for each in found])
    made("person's token", [ApiToken(user=each["user"], prefix=f"p{each['number']}", **token) for each in found])
    assert all(isinstance(each["provider"], OidcProvider) for each in found)
    return found


def _fleet(things: dict[str, Any], people: list[dict[str, Any]]) -> None:
    """A harness of each agent, a command to it, and what it asks for."""
    harnesses = Harness.objects.bulk_create([copy_of(things["harness"], agent=each["agent"], instance="") for each in people])
    served = things["harness"].serving.get()
    Serving.objects.bulk_create([copy_of(served, harness=harness) for harness in harnesses])
    commands = [copy_of(things["command"], agent=each["agent"], name=f"acme/{each['slug']}") for each in people]
    sent = things["command"].deliveries.get()
    made = Command.objects.bulk_create(commands)
    CommandDelivery.objects.bulk_create(
        [copy_of(sent, command=command, agent=each["agent"]) for command, each in zip(made, people, strict=True)]
    )
    ActionRequest.objects.bulk_create([copy_of(things["action request"], agent=each["agent"]) for each in people])


def _packs(tenant: Tenant, things: dict[str, Any], people: list[dict[str, Any]], house: Tenant) -> list[PackVersion]:
    """Packs; and in the world's pack a layer for each agent, with a champion."""
    for each, pack in zip(people, Pack.objects.bulk_create([copy_of(things["pack"], slug=each["slug"]) for each in people]), strict=True):
        each["pack"] = pack
    shared = Pack.objects.bulk_create([copy_of(things["pack"], slug=f"shared-{each['slug']}", tenant=house) for each in people])
    Subscription.objects.bulk_create([Subscription(tenant=tenant, pack=pack) for pack in shared])
    layers = Layer.objects.bulk_create(
        [
            Layer(tenant=tenant, pack=things["pack"], scope_type="agent", scope=f"agent:acme/{each['slug']}", agent=each["agent"])
            for each in people
        ]
    )
    versions: list[PackVersion] = PackVersion.objects.bulk_create(
        [
            copy_of(things["live"], layer=layer, number=1, created_by=each["user"], parent=None)
            for layer, each in zip(layers, people, strict=True)
        ]
    )
    for layer, version in zip(layers, versions, strict=True):
        Layer.objects.filter(pk=layer.pk).update(champion=version)
    PointerChange.objects.bulk_create([PointerChange(tenant=tenant, layer=version.layer, version=version) for version in versions])
    last = PackVersion.objects.filter(layer=things["layer"]).count()
    PackVersion.objects.bulk_create(
        [
            copy_of(things["draft"], number=last + index, created_by=each["user"], parent=things["live"], status="archived")
            for index, each in enumerate(people, start=1)
        ]
    )
    return versions


def _evals(things: dict[str, Any], people: list[dict[str, Any]], versions: list[PackVersion]) -> None:
    for each, made in zip(
        people, EvalSet.objects.bulk_create([copy_of(things["eval set"], slug=each["slug"]) for each in people]), strict=True
    ):
        each["eval set"] = made
    last = EvalCase.objects.filter(eval_set=things["eval set"]).count()
    cases = EvalCase.objects.bulk_create([copy_of(things["case"], number=last + index) for index, _ in enumerate(people, start=1)])
    runs = EvalRun.objects.bulk_create(
        [
            copy_of(things["answered run"], layer=version.layer, version=version, created_by=each["user"])
            for version, each in zip(versions, people, strict=True)
        ]
    )
    for run, case in ((things["answered run"], None), (things["harness run"], None), *zip(runs, cases, strict=True)):
        for each_case in [case] if case else cases:
            agent = people[0]["agent"]
            item = copy_of(things["item"], eval_run=run, case=each_case, repeat=1, leased_to=agent)
            item.save(force_insert=True)
            if run is not things["harness run"]:
                copy_of(things["result"], eval_run=run, item=item, case=each_case, agent=agent).save(force_insert=True)
    assert EvalItem.objects.exists() and EvalResult.objects.exists()


def _access(tenant: Tenant, things: dict[str, Any], people: list[dict[str, Any]]) -> None:
    """Groups with a member and a grant of each kind; the world's group with many of all, its objects granted on to many groups."""
    keys = Group.objects.bulk_create([Group(name=each["slug"]) for each in people])
    groups = TenantGroup.objects.bulk_create(
        [TenantGroup(tenant=tenant, name=each["slug"], group=key) for each, key in zip(people, keys, strict=True)]
    )
    for each, group, key in zip(people, groups, keys, strict=True):
        for into in (group, things["group"]):
            GroupMember.objects.bulk_create([GroupMember(tenant=tenant, group=into, user=each["user"])])
        for kind in ("team", "agent", "pack", "eval set"):
            grant = things[f"{kind} grant"]
            for to, on in ((things["group"].group, each[kind]), (key, things[kind])):
                copy_of(grant, group=to, content_object=on, granted_by=each["user"]).save(force_insert=True)
    until = timezone.now() + timedelta(days=9)
    for each in people:
        for lender, to in ((each["user"], things["stand-in"]), (things["person"], each["user"])):
            Delegation.objects.create(tenant=tenant, from_user=lender, to_user=to, role="author", team=each["team"], until=until)
    User.objects.bulk_create(
        [User(email=f"{each['slug']}@acme.service.invalid", name=each["slug"], password="!", service_of=tenant) for each in people]
    )


def _notices(things: dict[str, Any], people: list[dict[str, Any]]) -> None:
    """Notices with many deliveries, to webhooks and people."""
    hooks = Webhook.objects.bulk_create([copy_of(things["webhook"], name=each["slug"]) for each in people])
    notices = Notice.objects.bulk_create([copy_of(things["notice"], title=each["slug"]) for each in people])
    for each, hook, notice in zip(people, hooks, notices, strict=True):
        rows = [
            copy_of(things["delivery"], notice=notice, webhook=hook),
            copy_of(things["delivery"], notice=things["notice"], webhook=hook),
            copy_of(things["delivery"], notice=notice, webhook=things["webhook"]),
            copy_of(things["delivery"], notice=notice, webhook=None, user=each["user"], channel="email"),
        ]
        Delivery.objects.bulk_create(rows)


def _promotions(things: dict[str, Any], people: list[dict[str, Any]], versions: list[PackVersion]) -> None:
    promotion = things["promotion"]
    rows = [
        copy_of(promotion, layer=version.layer, challenger=version, champion=None, requested_by=each["user"], state="promoted")
        for version, each in zip(versions, people, strict=True)
    ]
    promotions = Promotion.objects.bulk_create(rows)
    # Those that wait: for the inbox.
    waiting = zip(versions, people, strict=True)
    Promotion.objects.bulk_create(
        [copy_of(promotion, layer=version.layer, challenger=version, champion=None, requested_by=each["user"]) for version, each in waiting]
    )
    for each, made, version in zip(people, promotions, versions, strict=True):
        copy_of(things["approval"], promotion=made, user=each["user"]).save(force_insert=True)
        # And one more for the world's own, so that its page has many.
        copy_of(things["approval"], promotion=promotion, user=each["user"]).save(force_insert=True)
        fields = {
            "layer": version.layer,
            "promotion": made,
            "challenger_version": version,
            "champion_version": None,
            "decided_by": each["user"],
        }
        copy_of(things["decision"], **fields).save(force_insert=True)
    assert Approval.objects.exists() and Decision.objects.exists()


def _telemetry(tenant: Tenant, numbers: list[int]) -> None:
    agent = make.agent(tenant)
    token, now = make.agent_token(agent), datetime.now(UTC).isoformat()
    for number in numbers:
        runs = [{"run_id": f"grown-{number}", "started_at": now, "success": True, "latency_ms": 9, "pack": "desk-own"}]
        runs[0] |= {"provider": "local", "model_id": f"grown-{number}"}
        runs[0]["root_task_id"] = f"root-{number}"
        events = [{"event_id": f"grown-{number}", "action": "output", "run_id": "run-quetzal-own", "created_at": now}]
        for kind, items, seq in (("runs", runs, 1), ("events", events, 2)):
            body = {"producer": f"grown-{number}", "seq": seq, kind: items}
            sent = _client().post(f"/api/v1/telemetry/{kind}", body, content_type="application/json", headers=make.bearer(token))
            assert sent.status_code == 202 and not sent.json()["rejected"], sent.content
        export = request_export(ctx=make.system(tenant.pk), kind="runs", file_format="csv", filters={"run_id": f"grown-{number}"})
        write_export(tenant_id=tenant.pk, export_id=export.pk)
    score_batch(ctx=make.system(tenant.pk))
    roll_up(ctx=make.system(tenant.pk))


def _client() -> Client:
    from tests.shown.calls import plain_client

    return plain_client()
