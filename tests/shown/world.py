"""A world in which every route and every act leads somewhere: two tenants and the shared library, furnished alike, and people of all kinds.

A `Place` is where an object stands: in acme as a whole (`own`), with acme's team support (`team`), in another tenant (`other`), in the
shared library (`shared`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Model
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from apps.audit.models import Event as AuditEvent
from apps.core.generations import watcher
from apps.evals.models import EvalCase, EvalItem, EvalResult, EvalRun
from apps.evals.services.answers import lease_cases, submit_outputs
from apps.evals.services.runs import start_eval_run
from apps.identity.models import AgentToken, ApiToken, GroupRole, Membership, Team, Tenant, User
from apps.identity.services import add_group_member, create_group, create_service_account, delegate, grant
from apps.identity.services.oidc import map_group
from apps.notices.models import Delivery, DeliveryState, Notice
from apps.notices.services import create_webhook, switch_webhook
from apps.notices.services.notifying import spread_waiting
from apps.packs.models import PackVersion, PointerChange
from apps.promotions.models import Aim, Approval, Decision, Promotion, State
from apps.promotions.services.approving import approve_promotion
from apps.promotions.services.going_live import bootstrap, start_promotion
from apps.promotions.services.requests import request_promotion
from tests import factories as make
from tests.shown.api_table import OBJECTS
from tests.shown.furniture import Place, add_archives, add_fleet, add_telemetry, agent_context, soon
from tests.shown.people import PEOPLE, Person

# Stands in everything that was written in a place, and in nothing that a test sends.
MARK = {place: f"quetzal-{place}" for place in ("own", "team", "other", "shared")}
RUBRIC = [{"id": "greets", "check": "contains", "weight": 100, "dimension": "quality", "params": {"text": "hello"}}]
PASSWORD = "correct horse battery staple"
# Where nobody listens.
HOOK = "http://127.0.0.1:9/in"


@dataclass
class World:
    places: dict[str, Place] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def acme(self) -> Tenant:
        return self.places["own"].tenant


@contextmanager
def undone(*, unless: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """What happens within is taken back, and the process forgets it where it has heard of it."""
    seen, hashes = watcher.seen, dict(_hashes)
    with transaction.atomic():
        yield
        taken_back = not unless()
        transaction.set_rollback(taken_back)
    if taken_back:
        # Taking back is no write.
        _hashes.clear()
        _hashes.update(hashes)
    if watcher.seen != seen:
        watcher.seen = -1
        watcher.forget()


def build() -> World:
    world = World()
    acme, globex, house = make.tenant("acme"), make.tenant("globex"), make.platform()
    shared = furnish("shared", house, None, "global")
    world.places = {
        "own": furnish("own", acme, None, "tenant:acme", shared),
        "team": furnish("team", acme, make.team(acme, "support"), "team:acme/support", shared),
        "other": furnish("other", globex, None, "tenant:globex", shared),
        "shared": shared,
    }
    shut = make.tenant("shut")
    tenants = {"acme": acme, "globex": globex, "platform": house, "shut": shut}
    for name, person in PEOPLE.items():
        _come_in(world, name, person, tenants[person.tenant])
    for place in world.places.values():
        place.objects["audit event"] = AuditEvent.objects.filter(tenant_id=place.tenant.pk).latest("seq")
    type(shut)._default_manager.filter(pk=shut.pk).update(status="suspended")
    return world


def _come_in(world: World, name: str, person: Person, tenant: Tenant) -> None:
    past = timezone.now() - timedelta(hours=1)
    ended = {"expired": {"expires_at": past}, "revoked": {"revoked_at": past}}.get(person.dead, {})
    if person.role == "agent":
        team = world.places["team"].team if person.team else None
        agent = make.agent(tenant, team=team, autonomy="A2", status="suspended" if person.dead == "suspended" else "active")
        world.tokens[name] = make.agent_token(agent, scopes=[*person.scopes], **ended)
        return
    if person.service:
        user = create_service_account(ctx=make.system(tenant.pk), slug=name, name=name, role=person.role).user
    else:
        user = make.user(email=f"{name.replace(' ', '-')}@{tenant.slug}.test", password=PASSWORD)
    if person.role and not person.service:
        team = world.places["team"].team if person.team else None
        until = past if person.dead == "membership" else None
        Membership.objects.create(tenant=tenant, user=user, role=person.role, team=team, until=until)
    if person.lent:
        _lend(tenant, make.user(tenant, person.lent), user, person.lent)
    if person.granted:
        group = make.group(tenant, user, name="guests")
        grant(ctx=make.system(tenant.pk), group_id=group.pk, obj=world.places["own"].objects["pack"], actions=person.granted)
    world.users[name] = user
    world.tokens[name] = make.api_token(user, tenant, scopes=[*person.scopes], **ended)
    if person.dead == "inactive":
        User.objects.filter(pk=user.pk).update(is_active=False)


def _lend(tenant: Tenant, lender: User, to: User, role: str, team: Team | None = None) -> Model:
    ctx = make.member_context(lender, tenant)
    return delegate(ctx=ctx, to_user=to.email, role=role, team=team.slug if team else None, until=soon())


def furnish(name: str, tenant: Tenant, team: Team | None, scope: str, library: Place | None = None) -> Place:
    """One of everything, made as users make it."""
    place = Place(name, tenant, team, scope)
    mark = MARK[name]
    _people(place, mark)
    _webhook(place, mark)
    _domain_pack(place, mark)
    _policy_pack(place, mark)
    _access(place, mark)
    _notices(place)
    add_telemetry(place, mark)
    add_fleet(place, mark)
    add_archives(place, mark)
    things: dict[str, Any] = place.objects
    if library is not None and team is None:
        things["subscription"] = make.subscription(tenant, library.objects["pack"])  # type: ignore[arg-type]
    things["spare pack"] = make.own_pack(tenant, f"spare-{name}")
    if name == "shared":
        every = IntervalSchedule.objects.create(every=7, period="minutes")
        things["task"] = PeriodicTask.objects.create(name="tests", task="core.sweep", interval=every, enabled=False)
    _name(place, things)
    return place


def _people(place: Place, mark: str) -> None:
    tenant, team, things = place.tenant, place.team, place.objects
    if team is None:
        team = make.team(tenant, f"crew-{place.name}")
    team.name = mark
    team.save(update_fields=["name"])
    agent = make.agent(tenant, f"agent-{place.name}", team=place.team, name=mark, default_pack=f"desk-{place.name}", autonomy="A2")
    make.agent_token(agent, name=mark)
    author = make.user(tenant, "author", email=f"{mark}@{tenant.slug}.test", team=place.team)
    make.api_token(author, tenant, name=mark)
    provider = make.provider(tenant, f"sso-{place.name}", f"https://{place.name}.example.test")
    map_group(ctx=make.system(tenant.pk), provider_id=provider.pk, group=mark, role="viewer", team=place.team.slug if place.team else None)
    things |= {
        "tenant": tenant,
        "organisation": tenant.organisation,
        "team": team,
        "agent": agent,
        "agent token": AgentToken.objects.get(agent=agent),
        "person": author,
        "person's token": ApiToken.objects.get(user=author),
        "member": Membership.objects.get(user=author),
        "provider": provider,
        "group role": GroupRole.objects.get(provider=provider),
    }


def _access(place: Place, mark: str) -> None:
    """A group with a person and a grant of each kind, a delegation, an account of a program."""
    tenant, team, things, system = place.tenant, place.team, place.objects, make.system(place.tenant.pk)
    group = create_group(ctx=system, name=mark, description=mark)
    member = add_group_member(ctx=system, group_id=group.pk, email=f"friend-{mark}@example.test", name=mark)
    for kind in ("team", "agent", "pack", "eval set"):
        (things[f"{kind} grant"],) = grant(ctx=system, group_id=group.pk, obj=things[kind], actions=["view"])
    lender = make.user(tenant, "manager", email=f"lender-{mark}@example.test", team=team)
    stand_in = make.user(tenant, "viewer", email=f"stand-in-{mark}@example.test", team=team)
    robot = create_service_account(
        ctx=system, slug=f"robot-{place.name}", name=mark, role="viewer", team=team.slug if team else None
    )  # fmt: skip
    things |= {
        "group": group,
        "group member": member,
        "stand-in": stand_in,
        "delegation": _lend(tenant, lender, stand_in, "manager", team),
        "service account": robot.user,
    }


def _webhook(place: Place, mark: str) -> None:
    wanted = ["promotions.approval_requested", "promotions.decided"]
    made = create_webhook(ctx=make.system(place.tenant.pk), name=mark, url=HOOK, events=wanted)
    place.objects["webhook"] = made.webhook


def _notices(place: Place) -> None:
    """What the promotions had to say is on its way, and given up: the webhook was switched off for a while."""
    system, hook = make.system(place.tenant.pk), place.objects["webhook"]
    assert spread_waiting(ctx=system, limit=1000)
    for enabled in (False, True):
        place.objects["webhook"] = switch_webhook(ctx=system, webhook_id=hook.pk, enabled=enabled)
    place.objects |= {
        "notice": Notice.objects.filter(subject_id=place.objects["promotion"].pk).earliest("id"),
        "delivery": Delivery.objects.filter(webhook=hook, state=DeliveryState.DEAD).earliest("id"),
    }


def _domain_pack(place: Place, mark: str) -> None:
    """Live, with a draft, cases, a replay that was answered and a run for agents of which a case is leased."""
    tenant, things, system = place.tenant, place.objects, make.system(place.tenant.pk)
    pack = make.own_pack(tenant, f"desk-{place.name}")
    live = make.version(tenant, pack.slug, place.scope, make.content(f"{mark} one", rubric=RUBRIC), notes=mark)
    bootstrap(ctx=system, version_id=live.pk)
    draft = make.version(tenant, pack.slug, place.scope, make.content(f"{mark} two", rubric=RUBRIC), notes=mark)
    cases = make.eval_set(tenant, pack, [{"input": mark}])
    case = EvalCase.objects.get(eval_set=cases)
    replay = start_eval_run(ctx=system, eval_set_id=cases.pk, runner="replay", version_id=live.pk)
    submit_outputs(ctx=system, eval_run_id=replay.pk, lease_id=None, outputs=[{"case": str(case.pk), "output": mark}])
    fresh = start_eval_run(ctx=system, eval_set_id=cases.pk, runner="replay", version_id=draft.pk)
    run = start_eval_run(ctx=system, eval_set_id=cases.pk, runner="harness", version_id=live.pk)
    agent: Any = things["agent"]
    leased = lease_cases(ctx=agent_context(agent), eval_run_id=run.pk, limit=1)
    things |= {
        "pack": pack,
        "layer": live.layer,
        "live": PackVersion.objects.get(pk=live.pk),
        "draft": draft,
        "pointer": PointerChange.objects.filter(layer=live.layer).latest("at"),
        "eval set": cases,
        "case": case,
        "answered run": EvalRun.objects.get(pk=replay.pk),
        "replay": fresh,
        "harness run": run,
        "item": EvalItem.objects.filter(eval_run=replay).earliest("id"),
        "result": EvalResult.objects.get(eval_run=replay),
    }
    place.values |= {"lease_id": str(leased.lease_id)}


def _policy_pack(place: Place, mark: str) -> None:
    """Rules whose second version was promoted, with one promotion that waits for approval and one that is ready."""
    tenant, things = place.tenant, place.objects
    pack = make.own_pack(tenant, f"rules-{place.name}", kind="policy")

    def written(denied: int) -> PackVersion:
        tools = {"deny": [f"{place.name}-{number}.*" for number in range(denied)]}
        return make.version(tenant, pack.slug, place.scope, {"tools": tools}, notes=mark)

    def asked(denied: int) -> Promotion:
        ctx = make.context(tenant.pk, "author", user=things["person"])  # type: ignore[arg-type]
        return request_promotion(ctx=ctx, version_id=written(denied).pk, aim=Aim.POLICY, reason=mark)

    first = written(1)
    bootstrap(ctx=make.system(tenant.pk), version_id=first.pk)
    promoted = _approved(asked(2), place, mark)
    start_promotion(ctx=make.member(tenant, "manager"), promotion_id=promoted.pk, reason=mark)
    promotion, ready, draft = asked(3), _approved(asked(4), place, mark), written(5)
    assert promotion.state == State.AWAITING_APPROVAL, promotion.verdict
    things |= {
        "policy pack": pack,
        "policy layer": first.layer,
        "policy draft": draft,
        "former": first,
        "promotion": promotion,
        "ready promotion": ready,
        "approval": Approval.objects.filter(promotion=promoted).earliest("created_at"),
        "decision": Decision.objects.filter(layer=first.layer).latest("created_at"),
    }


def _approved(promotion: Promotion, place: Place, mark: str) -> Promotion:
    for role in ("manager", "tenant_admin"):
        if promotion.state == State.AWAITING_APPROVAL:
            promotion = approve_promotion(ctx=make.member(place.tenant, role), promotion_id=promotion.pk, comment=mark)
    assert promotion.state == State.READY, promotion.verdict
    return promotion


def _name(place: Place, things: dict[str, Any]) -> None:
    here = {room: (things[kind], field) for room, (kind, field) in OBJECTS.items() if kind in things}
    place.names = {room: str(getattr(*here[room])) if room in here else "" for room in OBJECTS}
    place.values |= {
        "version": str(things["policy draft"].pk),
        "layer": str(things["layer"].pk),
        "retire": False,
        "aim": "policy",
        "invalid": "wait",
        "plan": [100],
        "eval_set": str(things["eval set"].pk),
        "runner": "replay",
        "parent": str(things["live"].pk),
        "replaces": str(things["draft"].pk),
        "to_version": str(things["former"].pk),
        "pinned": None,
        "pack": things["pack"].slug,
        "scope": place.scope,
        "content": make.content("new", rubric=RUBRIC),
        "agent": things["agent"].slug,
        "team": place.team.slug if place.team else None,
        "user": things["person"].email,
        "email": "new@example.test",
        "organisation": things["organisation"].slug,
        "case": str(things["case"].pk),
        "role": "viewer",
        "kind": "domain",
        "slug": "new-one",
        "domain": "hr-ops",
        "default_pack": things["pack"].slug,
        "model_policy": {},
        "user_ref": "u-1",
        "cases": [{"input": "question"}],
        "binding": things["promotion"].binding,
        "tier": "enterprise",
        "force": False,
        "scopes": [],
        "expires_at": None,
        "until": None,
        "soon": soon().isoformat(),
        "to_user": things["stand-in"].email,
        "object": f"agent:{things['agent'].pk}",
        "actions": ["view"],
        "url": HOOK,
        "id": str(things["promotion"].pk),
    }


# When somebody was last seen, and what is no state of the portal: sessions, remembered answers.
PASSING = {"django_session", "core_idempotencyrecord"}


# The hash of each table as it stood after so many writes of a transaction: (transaction, writes), hash.
_hashes: dict[str, tuple[tuple[int, int], Any]] = {}


def fingerprint() -> str:
    """A hash over every row of every table that the application may read. A table that the transaction has not written to since the last
    time is not read again."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname, pg_current_xact_id()::text::bigint, (SELECT sum(pg_stat_get_xact_tuples_inserted(each)"
            " + pg_stat_get_xact_tuples_updated(each) + pg_stat_get_xact_tuples_deleted(each))::bigint"
            " FROM (SELECT c.oid AS each UNION SELECT relid::oid FROM pg_partition_tree(c.oid)) parts)"
            " FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
            " AND NOT c.relispartition AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1"
        )
        states = {name: (transaction_id, writes) for name, transaction_id, writes in cursor.fetchall() if name not in PASSING}
        parts = [
            f"SELECT '{table}', count(*), coalesce(sum(hashtextextended((to_jsonb(t) - 'last_used_at' - 'last_login')::text, 0)), 0) FROM {table} t"
            for table, state in states.items()
            if table not in _hashes or _hashes[table][0] != state
        ]
        if parts:
            cursor.execute(" UNION ALL ".join(parts))
            _hashes.update({table: (states[table], (rows, total)) for table, rows, total in cursor.fetchall()})
    return hashlib.sha256(repr([(table, _hashes[table][1]) for table in states]).encode()).hexdigest()
