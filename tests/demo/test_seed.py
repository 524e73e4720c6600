"""Seeding and removing the demo: through services, audited, repeatable."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from apps.audit.models import Event
from apps.audit.services import verify_tenant
from apps.core.context import system_context
from apps.demo import catalogue
from apps.demo.places import NAME
from apps.evals.models import EvalCase, EvalSet
from apps.identity.models import AgentToken, ApiToken, Membership, Tenant, User
from apps.identity.selectors import platform_id
from apps.identity.tokens import authenticate
from apps.packs.models import Layer, Pack, PackVersion
from apps.promotions.models import Decision
from tests import factories as make


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return tmp_path


def run(command: str, *arguments: str) -> str:
    output = io.StringIO()
    call_command(command, *arguments, stdout=output)
    return output.getvalue()


def counts() -> list[int]:
    models = (Tenant, User, Membership, Pack, Layer, PackVersion, Decision, EvalSet, EvalCase, AgentToken, ApiToken, Event)
    return [model._default_manager.count() for model in models]


def test_seeding_twice(db: None, folder: Path) -> None:
    admin = make.user(make.platform(), "tenant_admin", email="admin@example.com")
    begun = time.monotonic()
    print(run("seed_demo"), time.monotonic() - begun)
    begun = time.monotonic()
    print(run("seed_demo"), time.monotonic() - begun)
