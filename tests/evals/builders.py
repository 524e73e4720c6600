"""A pack with a rubric, and agents that answer: what the tests of runs share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.test import Client

from apps.evals.models import EvalCase, EvalRun, EvalSet
from apps.evals.services.runs import start_eval_run
from apps.identity.models import Agent, Tenant
from apps.packs.models import Pack, PackVersion
from tests import factories as make

RUBRIC = [
    {"id": "knows", "check": "contains", "weight": 60, "dimension": "quality", "params": {"from": "expected"}},
    {"id": "short", "check": "max_length", "weight": 20, "dimension": "format", "params": {"max_chars": 60}},
    {"id": "no-secrets", "check": "no_secrets", "weight": 20, "dimension": "safety", "hard": True},
]
SECRET = "AKIAIOSFODNN7EXAMPLE"


@dataclass
class World:
    """A tenant whose pack has a champion, a draft on top of it, a set of cases and an agent."""

    tenant: Tenant
    pack: Pack
    champion: PackVersion
    draft: PackVersion
    eval_set: EvalSet
    agent: Agent

    def start(self, **what: Any) -> EvalRun:
        chosen = what or {"version_id": self.draft.pk}
        return start_eval_run(ctx=make.system(self.tenant.pk), eval_set_id=self.eval_set.pk, **{"runner": "harness", **chosen})


def world(cases: int = 3, *, rubric: Any = RUBRIC, draft: dict[str, Any] | None = None) -> World:
    tenant = make.tenant()
    pack = make.own_pack(tenant)
    scope = f"tenant:{tenant.slug}"
    live = make.champion(tenant, pack.slug, scope, make.content(rubric=rubric))
    body = draft if draft is not None else make.content("You answer questions of staff, exactly.", rubric=rubric)
    made = make.version(tenant, pack.slug, scope, body)
    return World(tenant, pack, live, made, make.eval_set(tenant, pack, cases), make.agent(tenant))


def right(case: EvalCase | dict[str, Any]) -> str:
    """The answer that passes every check."""
    given = case["input"] if isinstance(case, dict) else case.input
    return f"It is {given.replace('question', 'fact')}."


class Harness:
    """An agent at the HTTP interface."""

    def __init__(self, client: Client, agent: Agent) -> None:
        self.client = client
        self.headers = make.bearer(make.agent_token(agent))

    def get(self, path: str) -> Any:
        return self.client.get(f"/api/v1/{path}", headers=self.headers)

    def lease(self, run: EvalRun | str, limit: int = 100) -> Any:
        return self.get(f"eval-runs/{getattr(run, 'pk', run)}/cases/?lease={limit}")

    def post(self, run: EvalRun | str, lease_id: str | None, outputs: list[Any]) -> Any:
        body = {"lease_id": lease_id, "outputs": outputs}
        url = f"/api/v1/eval-runs/{getattr(run, 'pk', run)}/outputs/"
        return self.client.post(url, body, content_type="application/json", headers=self.headers)

    def answer(self, run: EvalRun | str, says: Any = right) -> Any:
        """Leases everything and answers each case with `says(case)`."""
        leased = self.lease(run).json()
        outputs = [
            {"case": case["case"], "repeat": case["repeat"], "output": says(case), "latency_ms": 100 * case["repeat"]}
            for case in leased["cases"]
        ]
        return self.post(run, leased["lease_id"], outputs)
