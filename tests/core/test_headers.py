"""Every kind of answer has its policy: data and files run nothing, the admin nothing inline, and errors only what they are made of."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from django.test import Client

from apps.core.headers import SHELL, STRICT, page_policy
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture
def token(client: Client) -> str:
    tenant = make.tenant()
    return make.api_token(make.user(tenant, "auditor"), tenant)


@pytest.mark.parametrize(
    ("path", "policy"),
    [
        ("/api/v1/packs/", STRICT),
        ("/api/v1/schema/", STRICT),
        ("/api/v1/resolve", STRICT),
        ("/api/v1/nowhere", STRICT),
        ("/healthz", STRICT),
        ("/readyz", STRICT),
        ("/metrics", STRICT),
        ("/static/src/favicon.svg", STRICT),
        ("/admin/login/", SHELL),
        ("/admin/", SHELL),
    ],
)
def test_each_kind_of_answer_has_its_policy(client: Client, token: str, path: str, policy: str) -> None:
    for headers in ({}, make.bearer(token)):
        response = client.get(path, headers=headers)
        if response["Content-Type"].startswith("text/html") and policy is STRICT:
            policy = page_policy()
        assert response["Content-Security-Policy"] == policy
        assert response["X-Frame-Options"] == "DENY" and "frame-ancestors 'none'" in policy
        assert response["X-Content-Type-Options"] == "nosniff" and response["Referrer-Policy"] == "same-origin"
        assert response["Cross-Origin-Opener-Policy"] == response["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "camera=()" in response["Permissions-Policy"]


def test_the_policies_are_strict() -> None:
    assert STRICT.startswith("default-src 'none'") and "script-src" not in STRICT and "script-src" not in page_policy()
    assert "'unsafe-inline'" not in page_policy() and page_policy().count("'sha256-") == 1
    scripts = next(part for part in SHELL.split("; ") if part.startswith("script-src"))
    assert scripts == "script-src 'self' 'unsafe-eval'"
    assert "http" not in SHELL and "*" not in SHELL


def test_a_page_that_is_not_there_has_the_policy_of_error_pages(client: Client) -> None:
    response = client.get("/nowhere")
    assert response.status_code == 404 and response["Content-Security-Policy"] == page_policy()


def test_in_production_nothing_is_sent_in_the_clear() -> None:
    names = ["SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SESSION_COOKIE_HTTPONLY", "CSRF_COOKIE_HTTPONLY", "SECURE_SSL_REDIRECT"]
    settings = f"[[getattr(s, n) for n in {names}], s.SECURE_HSTS_SECONDS, s.SESSION_COOKIE_SAMESITE]"
    code = f"import json; from django.conf import settings as s; print(json.dumps({settings}))"
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "mission_control.settings.prod",
        "SECRET_KEY": "s" * 60,
        "ALLOWED_HOSTS": "portal.example.com",
    }
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
    assert json.loads(found) == [[True] * 5, 365 * 24 * 3600, "Lax"]
