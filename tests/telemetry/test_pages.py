"""A page found by terms is the page that reading everything gives, whatever has been rolled up so far."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models import Q

from apps.core.context import ActionContext, Actor, RoleGrant
from apps.core.ids import new_id
from apps.identity.models import Membership
from apps.identity.services import grant
from apps.telemetry.domain.terms import DIMENSIONS, PAIRS, terms
from apps.telemetry.models import Event, Run
from apps.telemetry.querysets import wanted
from apps.telemetry.selectors.pages import page
from apps.telemetry.services import rolling
from apps.telemetry.tasks import roll_up_task
from tests import factories as make
from tests.isolation import in_production
from tests.telemetry.sending import Harness, event, harness, run

pytestmark = pytest.mark.django_db

START = datetime(2099, 1, 1, tzinfo=UTC)
VALUES: dict[str, tuple[Any, Any]] = {
    "tier": ("T1", "T2"),
    "status": ("completed", "failed"),
    "provider": ("openai", "local"),
    "model_id": ("gpt-5", "llama"),
    "persona": ("helpdesk", None),
    "skill": ("leave", "pay"),
    "pack": ("desk", "legal"),
    "pack_version": (3, 4),
    "task_type": ("answer", "triage"),
    "success": (True, False),
}


def some_runs(count: int) -> list[dict[str, Any]]:
    """Each value of a field in a rhythm of its own, a few minutes apart."""
    names = list(VALUES)
    return [
        run(
            **{name: VALUES[name][(n // (at + 1)) % 2] for at, name in enumerate(names)},
            mcp_servers=["calendar", "hr"][: n % 3],
            agent="else" if n % 5 == 0 else None,
            user_ref=f"u-{n % 4}",
            created_at=(START + timedelta(seconds=20 * n)).isoformat(),
        )
        for n in range(count)
    ]


def lookup(kind: str, name: str, value: Any) -> Q:
    if name == "flag":
        return Q(flags__contains=[value])
    if name == "mcp_server" and kind == "r":
        return Q(mcp_servers__contains=[value])
    if name == "user":
        return Q(user_ref=value)
    return Q(**{f"{name}_id" if name in ("agent", "team") else name: value})


def keys(rows: Any) -> list[Any]:
    return [row.pk for row in rows]


@pytest.mark.parametrize("rolled", ["half", "all, without keys"])
def test_every_filter_and_pair_finds_what_reading_all_finds(rolled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sender = harness()
    if rolled == "all, without keys":
        monkeypatch.setitem(rolling._COUNTED, "r", tuple(each.replace("<= 64", "<= 1") for each in rolling._COUNTED["r"]))
    sent = some_runs(40)
    sender.send(*sent[20:])
    roll_up_task()
    sender.send(*sent[:20])
    if rolled != "half":
        roll_up_task()
    ctx = make.member(sender.tenant, "viewer")
    pairs = [*((name,) for name in DIMENSIONS["r"]), *PAIRS["r"], ("persona", "task_type"), ("tier", "status", "skill")]
    values = {**{name: values[0] for name, values in VALUES.items()}, "mcp_server": "hr", "flag": "mismatch", "arm": "champion"}
    values |= {"agent": sender.agent.pk, "team": new_id(), "user": "u-1"}
    looked, full = 0, 0
    with ctx.transaction():
        for names in pairs:
            rows = Run.objects.restrict(ctx)
            for name in names:
                rows = rows.filter(lookup("r", name, values[name]))
            newest = keys(rows.order_by("-created_at", "-id"))
            if looked % 3 == 0:
                assert keys(page(rows, limit=3, offset=2)) == newest[2:5], names
            elif looked % 3 == 1:
                assert keys(page(rows, limit=4, back=True)) == newest[::-1][:4], names
            else:
                window = rows.filter(created_at__gte=START + timedelta(minutes=3), created_at__lt=START + timedelta(minutes=9))
                assert keys(page(window, limit=50)) == [row.pk for row in window.order_by("-created_at", "-id")], names
            looked, full = looked + 1, full + bool(newest)
    assert full >= looked - 1


def test_what_a_query_asks_for_is_read_from_it() -> None:
    sender = harness()
    team = make.team(sender.tenant)
    whole = make.member(sender.tenant, "viewer")
    rows = Run.objects.restrict(whole).filter(provider="openai", success=False).filter(created_at__gte=START, mcp_servers__contains=["hr"])
    asked = wanted(rows.filter(Q(skill="a") | Q(skill="b")).exclude(tier="T1"))
    assert (asked.values, asked.since, asked.until) == ({"provider": "openai", "success": "false", "mcp_server": "hr"}, START, None)
    assert (asked.scopes, wanted(rows.filter(created_at__lt=START)).until) == (None, START)
    assert terms("r", asked.values) == ["r:provider=openai", "r:mcp_server=hr", "r:success=false"]
    assert terms("r", {"pack": "p", "arm": "a", "tier": "T1"}) == ["r:pack,arm=p\x1fa", "r:tier=T1"]
    person = make.user()
    group = make.group(sender.tenant, person)
    grant(ctx=make.system(sender.tenant.pk), group_id=group.pk, obj=team, actions=["view"])
    granted = ActionContext(Actor("user", person.pk, "y"), sender.tenant.pk, "api", groups=frozenset({group.group_id}))
    with granted.transaction():
        found = wanted(Event.objects.restrict(granted).filter(flags__contains=["x"]))
    assert (found.values, found.scopes) == ({"flag": "x"}, [("team", str(team.pk))])


def test_people_of_a_team_and_those_with_grants_find_theirs() -> None:
    tenant = make.tenant()
    team = make.team(tenant)
    own, other = harness(tenant, team=team), Harness(tenant, (agent := make.agent(tenant, "second")), make.agent_token(agent))
    for n, (sender, user) in enumerate(((own, None), (other, None), (own, "u-1"), (other, "u-2"), (own, "u-1"), (other, None))):
        sender.send(run(f"r-{n}", provider="openai", user_ref=user, created_at=(START + timedelta(minutes=n)).isoformat()))
    person, member = make.user(), make.user()
    Membership.objects.create(tenant=tenant, user=member, role="viewer", team=team, user_ref="u-1")
    group = make.group(tenant, person)
    grant(ctx=make.system(tenant.pk), group_id=group.pk, obj=other.agent, actions=["view"])
    # A role in a team looks at all of the tenant, but for other users' content.
    of_team = ActionContext(Actor("user", member.pk, "x"), tenant.pk, "api", frozenset({RoleGrant("viewer", team.pk)}))
    granted = ActionContext(Actor("user", person.pk, "y"), tenant.pk, "api", groups=frozenset({group.group_id}))
    nobody = ActionContext(Actor("user", new_id(), "z"), tenant.pk, "api")
    for _ in range(2):
        with in_production():
            for ctx, runs in ((of_team, ["r-5", "r-4", "r-2", "r-1", "r-0"]), (granted, ["r-5", "r-1"]), (nobody, [])):
                with ctx.transaction():
                    assert [row.run_id for row in page(Run.objects.restrict(ctx), limit=9)] == runs
                    assert [row.run_id for row in page(Run.objects.restrict(ctx).filter(provider="openai"), limit=9)] == runs
        roll_up_task()


def test_events_are_found_as_runs_are() -> None:
    sender = harness()
    for n in range(9):
        given = {"status": ("failed", "done")[n % 2], "mcp_server": ("hr", "web")[n % 3 == 0], "mcp_tool": "search", "action": f"a{n % 2}"}
        sender.send_events(event(f"e-{n}", created_at=(START + timedelta(minutes=n // 2)).isoformat(), **given))
        if n == 4:
            roll_up_task()
    ctx = make.member(sender.tenant, "viewer")
    with ctx.transaction():
        for lookup in (
            {"status": "failed"},
            {"mcp_server": "hr", "mcp_tool": "search"},
            {"action": "a1", "status": "done"},
            {"agent": sender.agent},
        ):
            rows = Event.objects.restrict(ctx).filter(**lookup)
            assert keys(page(rows, limit=4)) == keys(rows.order_by("-created_at", "-id")[:4])
