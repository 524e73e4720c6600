"""A harness as the portal meets it: heartbeats, and calls with its agent's token."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.test import Client

from apps.identity.models import Agent, Tenant
from tests import factories as make


@dataclass(frozen=True, slots=True)
class Harness:
    tenant: Tenant
    agent: Agent
    token: str
    instance: str = ""

    def post(self, body: Any) -> Any:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Client().post("/api/v1/heartbeat", raw, content_type="application/json", headers=make.bearer(self.token))

    def beat(self, *serving: tuple[str, str], **more: Any) -> dict[str, Any]:
        """The answer to a heartbeat that must be taken; `serving`: packs with their digests."""
        body = {"serving": [{"pack": pack, "digest": digest, "arm": "champion"} for pack, digest in serving], **more}
        response = self.post({"instance": self.instance, **body} if self.instance else body)
        assert response.status_code == 200, response.content
        answer: dict[str, Any] = response.json()
        return answer

    def digest(self, pack: str) -> str:
        """Of what resolve gives it now."""
        response = Client().get(f"/api/v1/resolve?pack={pack}", headers=make.bearer(self.token))
        assert response.status_code == 200, response.content
        found: str = response.json()["digest"]
        return found

    def call(self, method: str, path: str, body: Any = None, expected: int | None = None) -> Any:
        return call(self.token, method, path, body, expected)


def call(token: str, method: str, path: str, body: Any = None, expected: int | None = None) -> Any:
    raw = b"" if body is None else json.dumps(body).encode()
    response = Client().generic(method, f"/api/v1/{path}", raw, content_type="application/json", headers=make.bearer(token))
    if expected is not None:
        assert response.status_code == expected, response.content
    return response.json() if response.content else None


def harness(tenant: Tenant, slug: str = "", *, instance: str = "", **fields: Any) -> Harness:
    agent = make.agent(tenant, slug, **fields)
    return Harness(tenant, agent, make.agent_token(agent), instance)


def person(tenant: Tenant, role: str) -> str:
    """The token of a new person with this role."""
    return make.api_token(make.user(tenant, role), tenant)
