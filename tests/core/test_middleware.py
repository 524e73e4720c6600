"""What a refusal, or a database that is away, leaves behind: an answer and no change."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.messages.storage.fallback import FallbackStorage
from django.db import OperationalError, connection
from django.http import HttpResponse
from django.test import Client, RequestFactory

from apps.audit.models import Event
from apps.core.errors import problem
from apps.core.middleware import AdminContextMiddleware
from apps.identity.models import Team
from apps.identity.services import create_team
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("ends", ["refused", "failed", "done"])
def test_a_request_of_the_admin_is_all_or_nothing(ends: str) -> None:
    """Also where the act that was refused was the second of two."""
    tenant = make.tenant()
    request: Any = RequestFactory().post("/admin/")
    request.user, request.session, request.request_id = make.user(tenant, "tenant_admin"), {}, "r"
    request._messages = FallbackStorage(request)

    def view(sent: Any) -> HttpResponse:
        create_team(ctx=sent.ctx, slug="one", name="One")
        if ends == "refused":
            refused = middleware.process_exception(sent, problem("wrong_state", "Not now."))
            assert refused is not None
            return refused
        return HttpResponse(status=500 if ends == "failed" else 200)

    middleware = AdminContextMiddleware(view)
    response = middleware(request)
    assert response.status_code == {"refused": 302, "failed": 500, "done": 200}[ends]
    assert (Team.objects.count(), Event.objects.count()) == ((1, 1) if ends == "done" else (0, 0))


@pytest.mark.parametrize("path", ["resolve?pack=x", "packs/"])
def test_without_the_database_one_is_told_to_come_again(client: Client, path: str) -> None:
    tenant = make.tenant()
    token = make.agent_token(make.agent(tenant)) if path.startswith("resolve") else make.api_token(make.user(tenant, "viewer"), tenant)

    def away(*_: Any) -> Any:
        raise OperationalError("server closed the connection unexpectedly")

    with connection.execute_wrapper(away):
        response = client.get(f"/api/v1/{path}", headers=make.bearer(token))
    assert (response.status_code, response.json()["code"], response["Retry-After"]) == (503, "unavailable", "1")
    assert "server closed" not in response.content.decode()


def test_a_path_that_cannot_be_stored_is_not_found(client: Client) -> None:
    tenant = make.tenant()
    headers = make.bearer(make.api_token(make.user(tenant, "viewer"), tenant))
    assert client.get("/api/v1/packs/a%00b/", headers=headers).status_code == 404
    assert client.get("/api/v1/packs/a/effective/?agent=%00", headers=headers).json()["errors"][0]["pointer"] == "/agent"


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("host", ["evil.test", "localhost.evil.test", "a b", "localhost:80:80", ""])
def test_a_wrong_host_name_is_a_problem_of_the_api_and_a_page_of_the_rest(client: Client, settings: Any, host: str, debug: bool) -> None:
    settings.ALLOWED_HOSTS, settings.DEBUG = ["localhost"], debug
    for path in ("/api/v1/packs/", "/api/v1/resolve?pack=x", "/api/v1/nowhere"):
        refused = client.get(path, HTTP_HOST=host)
        assert (refused.status_code, refused["Content-Type"], refused.json()["code"]) == (400, "application/problem+json", "wrong_host")
        assert refused.json()["request_id"] == refused["X-Request-ID"] and "default-src 'none'" in refused["Content-Security-Policy"]
    for path in ("/admin/", "/oidc/callback/", "/nowhere"):
        page = client.get(path, HTTP_HOST=host)
        assert page.status_code == 400 and "does not answer to this address" in page.content.decode()
        assert "Traceback" not in page.content.decode() and "evil.test" not in page.content.decode()
    # A load balancer asks by an address of its own.
    assert client.get("/healthz", HTTP_HOST=host).status_code == 200
    assert client.get("/api/v1/packs/", HTTP_HOST="localhost").status_code == 401
