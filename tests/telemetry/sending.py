"""Batches of runs and events, sent as a harness sends them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

from django.test import Client

from apps.identity.models import Agent, Tenant
from tests import factories

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Harness:
    """An agent with its token."""

    tenant: Tenant
    agent: Agent
    token: str

    def post(self, kind: str, body: Any, **environ: Any) -> Any:
        """`body` as JSON, or as it is when it is bytes; `environ` goes into the WSGI environment."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        environ = {"HTTP_AUTHORIZATION": f"Bearer {self.token}", "CONTENT_TYPE": "application/json", **environ}
        return Client().generic(
            "POST", f"/api/v1/telemetry/{kind}" if not kind.startswith("/") else kind, raw, content_type=environ["CONTENT_TYPE"], **environ
        )

    def send(self, *runs: dict[str, Any], **envelope: Any) -> dict[str, Any]:
        """The receipt of a batch of runs that must be taken."""
        return self._taken("runs", {"runs": list(runs), **envelope})

    def send_events(self, *events: dict[str, Any], **envelope: Any) -> dict[str, Any]:
        return self._taken("events", {"events": list(events), **envelope})

    def _taken(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self.post(kind, body)
        assert response.status_code == 202, response.content
        receipt: dict[str, Any] = response.json()
        return receipt


def harness(tenant: Tenant | None = None, **fields: Any) -> Harness:
    tenant = tenant or factories.tenant()
    agent = factories.agent(tenant, **fields)
    return Harness(tenant, agent, factories.agent_token(agent))


def run(run_id: str = "", **fields: Any) -> dict[str, Any]:
    """A finished run; `fields` replace what it holds, and None leaves one out."""
    made = {
        "run_id": run_id or f"run-{next(_numbers)}",
        "started_at": datetime.now(UTC).isoformat(),
        "pack": "hr-ops-pack",
        "task_type": "leave_request",
        "tier": "T2",
        "status": "completed",
        "latency_ms": 1200,
        "cost_usd": "0.0125",
        "success": True,
        "input": "May I take Friday off?",
        "output": "Yes.",
        **fields,
    }
    return {name: value for name, value in made.items() if value is not None}


def event(event_id: str = "", **fields: Any) -> dict[str, Any]:
    return {"event_id": event_id or f"event-{next(_numbers)}", "action": "tool_call", "message": "looked it up", **fields}
