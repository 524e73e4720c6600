"""Seeding and removing the demo: through services, audited, repeatable, and gone when it is removed."""

from __future__ import annotations

import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.hashers import is_password_usable
from django.core.management import CommandError, call_command
from django.db.models import Model
from django.test import Client

from apps.audit.models import Event
from apps.audit.services import verify_tenant
from apps.core.errors import Problem
from apps.core.history import governed, history_model
from apps.demo import catalogue
from apps.demo.cast import CAST
from apps.demo.places import NAME, Tokens, read_tokens
from apps.evals.models import EvalCase, EvalSet
from apps.identity.models import Agent, AgentToken, ApiToken, Membership, Tenant, User
from apps.identity.tokens import authenticate
from apps.packs.models import Layer, Pack, PackVersion, Subscription
from apps.packs.resolve import resolve
from apps.promotions.models import Decision
from tests import factories as make

MODELS: tuple[type[Model], ...] = (
    *(Tenant, User, Membership, Agent, AgentToken, ApiToken, Pack, Layer, PackVersion, Decision, EvalSet, EvalCase, Event),
)
HOUSE = catalogue.organisation()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return tmp_path


def run(command: str, *arguments: str) -> str:
    output = StringIO()
    call_command(command, *arguments, stdout=output)
    return output.getvalue()


def counts() -> list[int]:
    return [model._default_manager.count() for model in MODELS]


def refused(token: str) -> bool:
    try:
        authenticate(f"Bearer {token}")
    except Problem as error:
        return error.code == "not_authenticated"
    return False


def test_seeded_once_it_is_all_there_and_a_second_time_nothing_changes(db: None, folder: Path) -> None:
    make.user(make.platform(), "tenant_admin", email="admin@example.com")
    assert "The demo: 3 tenants" in run("seed_demo")
    for slug in catalogue.PACKS:
        assert EvalCase.objects.filter(eval_set__pack__slug=slug).count() >= 40
    for layer in (layer for pack in catalogue.packs() for layer in pack.layers):
        made = Layer.objects.select_related("champion").get(pack__slug=layer.pack, scope=layer.scope)
        assert made.champion is not None and made.champion.content == layer.content
        assert [row.reason for row in Decision.objects.filter(layer=made)] == ["bootstrap"]

    # Every agent of a tenant resolves its pack, for each of its users, with nothing skipped.
    path = folder / NAME
    assert path.stat().st_mode & 0o077 == 0
    tokens = read_tokens(path)
    assert set(tokens.people) == set(CAST.values())
    for agent in HOUSE.agents:
        principal = authenticate(f"Bearer {tokens.agents[agent.path]}")
        assert f"{principal.tenant}/{principal.agent}" == agent.path
        for user in agent.users:
            assert b'"violations":[]' in resolve(principal, pack=agent.pack, user=user).body(origins=True, rendered=True)

    # The newcomer sees everything and may decide; the demo's people cannot sign in.
    roles = Membership.objects.filter(user__email="admin@example.com").values_list("tenant__slug", "role")
    assert set(roles) == {("platform", "tenant_admin")} | {(t.slug, role) for t in HOUSE.tenants for role in ("tenant_admin", "manager")}
    assert not any(is_password_usable(user.password) for user in User.objects.filter(email__in=[user.email for user in HOUSE.users]))

    # Audited, tenant by tenant.
    for tenant in Tenant.objects.all():
        assert verify_tenant(tenant.pk) is None
    assert set(Event.objects.values_list("channel", "actor_kind").distinct()) == {("cli", "system")}

    before = counts()
    begun = time.monotonic()
    assert run("seed_demo") == "The demo is there already.\n"
    assert time.monotonic() - begun < 1
    assert counts() == before


def test_what_was_lost_is_made_again_and_only_that(db: None, folder: Path) -> None:
    run("seed_demo")
    path = folder / NAME
    first = read_tokens(path)
    path.unlink()
    before = counts()
    assert "The demo: 13 tokens" in run("seed_demo")
    second = read_tokens(path)
    assert set(second.agents) == set(first.agents) and not set(second.agents.values()) & set(first.agents.values())
    assert all(refused(token) for token in (*first.agents.values(), *first.people.values())), "whoever finds the old file can do nothing"
    assert not any(refused(token) for token in (*second.agents.values(), *second.people.values()))
    assert [now - then for now, then in zip(counts(), before, strict=True)][:3] == [0, 0, 0]

    Membership.objects.filter(user__email="vera.viewer@acme.example").delete()
    assert "The demo: 1 people " in run("seed_demo")
    with pytest.raises(CommandError, match=r"common|short"):
        run("seed_demo", "--password", "password")
    shown = run("seed_demo", "--password").split("with the password ")[1].split(" ")[0]
    assert User.objects.get(email="max.manager@acme.example").check_password(shown)


def test_tokens_alone_bring_nothing_back(db: None, folder: Path) -> None:
    """What the running fleet asks for: a demo that was removed stays so."""
    before = counts()
    assert "There is nothing to renew." in run("seed_demo", "--tokens-only")
    assert counts() == before and read_tokens(folder / NAME) == Tokens()


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_removed_it_is_gone_but_for_the_record(folder: Path, owner_sql: Callable[..., list[tuple[Any, ...]]]) -> None:
    kept = make.tenant("kept")
    make.own_pack(kept, "own")
    make.champion(kept, "own", "tenant:kept")
    before = counts()
    run("seed_demo")
    token = next(token for path, token in read_tokens(folder / NAME).agents.items() if path.startswith("platform/"))
    seen = Client().post("/api/v1/heartbeat", {"instance": "demo"}, content_type="application/json", headers=make.bearer(token))
    assert seen.status_code == 200
    with pytest.raises(CommandError, match="--yes"):
        run("remove_demo")
    make.subscription(kept, Pack.objects.get(slug="hr-ops-pack"))
    said = run("remove_demo", "--yes")
    assert "hr-ops-pack stays: kept stand on it." in said
    assert set(Pack.objects.exclude(slug="presets").values_list("slug", flat=True)) == {"own", "hr-ops-pack"}
    assert not (folder / NAME).exists()

    owner_sql("DELETE FROM packs_subscription WHERE tenant_id = %s", [kept.pk])
    run("remove_demo", "--yes")
    assert counts()[:-1] == before[:-1], "all but the audit events are as they were"
    for model in governed():
        # The test itself has taken the subscription away, past all services.
        left = history_model(model).objects.exclude(id__in=model._default_manager.values("pk"))
        assert not left.exists() or model is Subscription, model
    platform = make.platform()
    assert Event.objects.filter(tenant_id=platform.pk, action="demo.removed").count() == 2
    for tenant in Tenant.objects.all():
        assert verify_tenant(tenant.pk) is None
    assert run("remove_demo", "--yes") == "There is no demo to remove.\n"
    assert "The demo: 3 tenants" in run("seed_demo"), "and it can come back"
