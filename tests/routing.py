"""The routes of /api/v1 as the URL configuration and the OpenAPI document tell them, and a world in which every one leads somewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from django.apps import apps
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.generators import SchemaGenerator

from apps.core.errors import CODES
from apps.evals.models import EvalResult
from apps.evals.services.answers import lease_cases, submit_outputs
from apps.evals.services.runs import start_eval_run
from apps.identity.models import AgentToken, Membership, Tenant
from apps.identity.services import grant
from apps.promotions.models import Decision
from apps.promotions.services.going_live import bootstrap
from apps.promotions.services.requests import request_promotion
from apps.telemetry.models import Run
from tests import factories as make

PREFIX = "/api/v1/"
METHODS = ("get", "post", "put", "patch", "delete")
# What anybody may read.
PUBLIC = {"schema/"}
# Keys of a body of which only the first is sent.
EITHER = (("version", "layer"), ("agent", "user"))
# Stands in everything that acme wrote, and in nothing that a test sends.
MARK = "quetzal"
RUBRIC = [{"id": "greets", "check": "contains", "weight": 100, "dimension": "quality", "params": {"text": "hello"}}]


@dataclass(frozen=True)
class Route:
    """`path` has its parameters in braces; `methods` are those that the view answers."""

    path: str
    methods: tuple[str, ...]

    @property
    def room(self) -> str:
        return self.path.split("/")[0]


def routes() -> list[Route]:
    """Those of the resolver, without the one that catches what no other takes."""
    found = {}
    for path, view in _patterns(get_resolver().url_patterns, ""):
        if path.startswith("api/v1/") and (methods := _methods(view)):
            found[_named(path.removeprefix("api/v1/"))] = methods
    return [Route(path, methods) for path, methods in sorted(found.items())]


def _patterns(patterns: list[Any], before: str) -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        path = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _patterns(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern):
            yield path, pattern.callback


def _methods(view: Any) -> tuple[str, ...]:
    if (documentation := getattr(view, "documentation", None)) is not None:
        return (documentation.method.lower(),)
    if actions := getattr(view, "actions", None):
        return tuple(method for method in METHODS if method in actions)
    cls = getattr(view, "view_class", getattr(view, "cls", None))
    return tuple(method for method in METHODS if hasattr(cls, method))


def _named(path: str) -> str:
    path = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", path)
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path).replace("^", "").replace("$", "").replace("\\", "")


ROUTES = routes()
EVERY = [(route, method) for route in ROUTES for method in route.methods if route.path not in PUBLIC]


@dataclass
class World:
    """Acme with one of everything; a stranger, and the people of acme."""

    acme: Tenant
    client: Client
    # What a path parameter is, by the first part of the path.
    names: dict[str, str]
    # What a key of a body is, by its name.
    values: dict[str, Any]
    tokens: dict[str, str]
    schema: dict[str, Any] = field(default_factory=dict)

    def path(self, route: Route) -> str:
        if "{" not in route.path:
            return route.path
        return re.sub(r"\{\w+\}", self.names[route.room], route.path, count=1)

    def send(self, who: str | None, method: str, path: str, body: Any = None, **headers: str) -> Any:
        if who is not None:
            headers["Authorization"] = f"Bearer {self.tokens[who]}"
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        response = self.client.generic(method.upper(), PREFIX + path, raw, content_type="application/json", headers=headers)
        if response.streaming:
            return HttpResponse(b"".join(response.streaming_content), status=response.status_code, headers=dict(response.items()))
        return response

    def call(self, who: str | None, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """One request; what it changed is undone."""
        with undone():
            return self.send(who, method, path, body, **headers)

    def body(self, route: Route, method: str) -> Any:
        """A valid body as the OpenAPI document describes it, about acme's things."""
        operation = self.operation(route, method)
        content = operation.get("requestBody", {}).get("content", {})
        return self._example(content["application/json"]["schema"], "") if "application/json" in content else None

    def parameters(self, route: Route) -> list[str]:
        """What the query string of a GET knows."""
        return [found["name"] for found in self.operation(route, "get").get("parameters", []) if found["in"] == "query"]

    def operation(self, route: Route, method: str) -> dict[str, Any]:
        shape = re.sub(r"\{\w+\}", "{}", PREFIX + route.path)
        for path, operations in self.schema["paths"].items():
            if re.sub(r"\{\w+\}", "{}", path) == shape:
                found: dict[str, Any] = operations.get(method, {})
                return found
        return {}

    def _example(self, schema: dict[str, Any], name: str) -> Any:
        if name in self.values:
            return self.values[name]
        for key in ("$ref", "allOf", "oneOf", "anyOf"):
            if key in schema:
                inner = self.schema["components"]["schemas"][schema[key].split("/")[-1]] if key == "$ref" else schema[key][0]
                return self._example(inner, name)
        if "enum" in schema:
            return schema["enum"][0]
        kind = schema.get("type", "string")
        match next(each for each in kind if each != "null") if isinstance(kind, list) else kind:
            case "object":
                keys = schema.get("properties", {})
                left_out = {other for first, other in EITHER if first in keys}
                return {key: self._example(inner, key) for key, inner in keys.items() if key not in left_out}
            case "array":
                return [self._example(schema["items"], name)]
            case "integer" | "number":
                return 1
            case "boolean":
                return False
        return {"date-time": "2027-01-01T00:00:00Z", "uuid": str(uuid4()), "email": "someone@example.test"}.get(
            schema.get("format", ""), "x"
        )


@contextmanager
def undone() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def one_of_everything(client: Client) -> World:
    acme, other = make.tenant("acme"), make.tenant("other")
    system = make.system(acme.pk)
    team = make.team(acme)
    team.name = MARK
    team.save(update_fields=["name"])
    agent = make.agent(acme, "helpdesk-1", team=team, name=MARK)
    pack = make.own_pack(acme, "desk")
    shared = make.own_pack(make.platform(), "shared-desk")
    subscription = make.subscription(acme, shared)
    live = make.version(acme, "desk", "tenant:acme", make.content(f"{MARK} one", rubric=RUBRIC), notes=MARK)
    bootstrap(ctx=system, version_id=live.pk)
    draft = make.version(acme, "desk", "tenant:acme", make.content(f"{MARK} two", rubric=RUBRIC), notes=MARK)
    fresh = make.version(acme, "desk", "tenant:acme", make.content(f"{MARK} three", rubric=RUBRIC), notes=MARK)
    cases = make.eval_set(acme, pack, [{"input": MARK}])
    author = make.user(acme, "author", email=f"{MARK}@acme.test")
    promotion = request_promotion(ctx=make.context(acme.pk, "author", user=author), version_id=draft.pk, reason=MARK)
    replay = start_eval_run(ctx=system, eval_set_id=cases.pk, runner="replay", version_id=live.pk)
    submit_outputs(ctx=system, eval_run_id=replay.pk, lease_id=None, outputs=[{"case": str(cases.cases.get().pk), "output": MARK}])
    tokens = {
        "agent": make.agent_token(agent, name=MARK),
        "viewer": make.api_token(make.user(acme, "viewer"), acme),
        "admin": make.api_token(make.user(acme, "tenant_admin"), acme),
        "stranger": make.api_token(make.user(other, "tenant_admin"), other),
        "strange agent": make.agent_token(make.agent(other)),
        "platform": make.api_token(make.user(make.platform(), "tenant_admin"), make.platform()),
    }
    now = datetime.now(UTC).isoformat()
    run = {"run_id": "r-1", "task_type": "t", "started_at": now, "output": MARK, "persona": MARK}
    event = {"event_id": "e-1", "run_id": "r-1", "action": "output", "message": MARK, "created_at": now}
    for kind, item in {"runs": run, "events": event}.items():
        body = {"producer": "p", "seq": 1 if kind == "runs" else 2, kind: [item]}
        sent = client.post(f"{PREFIX}telemetry/{kind}", body, content_type="application/json", headers=make.bearer(tokens["agent"]))
        assert sent.status_code == 202 and not sent.json()["rejected"], sent.content
    leased = lease_cases(ctx=_agent_context(agent), eval_run_id=promotion.layer.eval_runs.filter(runner="harness").first().pk)
    group = make.group(acme, author, name=MARK)
    granted = grant(ctx=system, group_id=group.pk, obj=pack, actions=["author"])
    names = {
        "agents": agent.slug,
        "decisions": Decision.objects.get(layer=live.layer).pk,
        "eval-results": EvalResult.objects.get().pk,
        "eval-runs": leased.run.pk,
        "eval-sets": cases.pk,
        "layers": live.layer_id,
        "members": Membership.objects.get(user=author).pk,
        "organisations": acme.organisation.slug,
        "packs": "desk",
        "promotions": promotion.pk,
        "runs": Run.objects.get().pk,
        "subscriptions": subscription.pk,
        "teams": team.slug,
        "tenants": acme.slug,
        "tokens": AgentToken.objects.get(agent=agent).pk,
        "groups": group.pk,
        "group-members": group.members.get().pk,
        "grants": granted[0].pk,
        "versions": draft.pk,
    }
    values = {
        "object": "pack:desk",
        "actions": ["view"],
        "version": str(fresh.pk),
        "retire": False,
        "aim": "improve",
        "plan": [100],
        "eval_set": str(cases.pk),
        "runner": "replay",
        "parent": str(live.pk),
        "replaces": str(draft.pk),
        "to_version": str(live.pk),
        "pinned": None,
        "pack": "desk",
        "scope": "tenant:acme",
        "content": make.content("new"),
        "agent": agent.slug,
        "team": team.slug,
        "organisation": acme.organisation.slug,
        "lease_id": str(leased.lease_id),
        "case": str(leased.items[0].case_id),
        "role": "viewer",
        "kind": "domain",
        "slug": "new-one",
        "domain": "hr-ops",
        "default_pack": "desk",
        "model_policy": {},
        "user_ref": "u-1",
        "cases": [{"input": "question"}],
        "binding": promotion.binding,
    }
    schema = SchemaGenerator().get_schema(request=None, public=True)
    return World(acme, client, {name: str(value) for name, value in names.items()}, values, tokens, schema)


def _agent_context(agent: Any) -> Any:
    from apps.core.context import ActionContext, Actor, RoleGrant

    return ActionContext(
        actor=Actor("agent", agent.pk, agent.slug), tenant_id=agent.tenant_id, channel="api", roles=frozenset({RoleGrant("agent")}),
        agent_id=agent.pk, team_id=agent.team_id,
    )  # fmt: skip


class Findings(list[str]):
    """All that is wrong, told at once."""

    def expect(self, holds: bool, what: str, response: Any) -> None:
        if not holds:
            self.append(f"{what}: {response.status_code} {response.content[:300]!r}")

    def problem(self, what: str, response: Any) -> None:
        """An error is a problem with a known code and the id of its request; and never a fault of ours."""
        if response.status_code < 400:
            return
        try:
            body = json.loads(response.content)
            sound = response["Content-Type"] == "application/problem+json" and CODES[body["code"]][0] == response.status_code
            sound = sound and bool(body["request_id"]) and body["status"] == response.status_code < 500
        except (ValueError, KeyError):
            sound = False
        self.expect(sound, what, response)


def fingerprint(tenant: Tenant) -> str:
    """Everything that is the tenant's, except when its tokens were last used."""
    tables = [model._meta.db_table for model in apps.get_models() if any(f.attname == "tenant_id" for f in model._meta.concrete_fields)]
    parts = [
        f"(SELECT coalesce(string_agg((to_jsonb(t) - 'last_used_at')::text, '|' ORDER BY to_jsonb(t)::text), '') FROM {table} t WHERE tenant_id = %s)"
        for table in sorted(tables)
    ]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT md5({' || '.join(parts)})", [tenant.pk] * len(parts))
        return str(cursor.fetchone()[0])


def garbage(valid: Any) -> Iterator[Any]:
    """Bodies that are wrong as a whole, then the valid one with each of its values wrong in turn."""
    yield from (
        [],
        "x",
        {},
        None,
        0,
        {"x": 1},
        b"{",
        b"\xff",
        b"[" * 5000,
        b'{"a":1,"a":2}',
        b'{"a":1.5}',
        b'"\\ud800"',
        b'{"a":"\\u0000"}',
    )
    deep: Any = {}
    for _ in range(60):
        deep = {"a": [deep]} if len(json.dumps(deep)) < 250 else deep
    wrong: tuple[Any, ...] = (None, 2**53 - 1, True, "", "x" * 400, "é\u2028/", [["x", 1]], deep)
    if isinstance(valid, dict):
        for key in valid:
            yield {name: value for name, value in valid.items() if name != key}
            yield from ({**valid, key: value} for value in wrong)
