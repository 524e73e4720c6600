"""Two web processes never disagree for more than a second after a promotion, and a revoked token ends in both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.identity.models import AgentToken
from apps.identity.services import revoke_token
from apps.packs.models import PackVersion
from apps.promotions.services.going_live import bootstrap, rollback_layer
from mission_control.embedded.environment import ROOT
from mission_control.embedded.valkey import free_port
from tests import factories as make

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.e2e]
BOUND_S = 1.0


@pytest.fixture
def two() -> Iterator[list[int]]:
    """Two portals on the test's database, with the settings that `make up` has."""
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "mission_control.settings.dev"}
    ports, running = [free_port(), free_port()], []
    for port in ports:
        command = [
            str(Path(sys.executable).parent / "granian"),
            "--interface",
            "wsgi",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--no-ws",
        ]
        running.append(subprocess.Popen([*command, "mission_control.wsgi:application"], cwd=ROOT, env=environ, stdout=subprocess.DEVNULL))
    try:
        for port in ports:
            _until(lambda port=port: _get(port, "/healthz")[0] == 200, 60)  # type: ignore[misc]
        yield ports
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(20)


def _get(port: int, path: str, token: str = "") -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def _until(condition: object, timeout_s: float) -> float:
    begun = time.monotonic()
    while not condition():  # type: ignore[operator]
        assert time.monotonic() - begun < timeout_s, "not in time"
        time.sleep(0.005)
    return time.monotonic() - begun


def test_both_follow_within_a_second(two: list[int]) -> None:
    acme = make.tenant("acme")
    make.own_pack(acme, "desk")
    first = make.version(acme, "desk", "tenant:acme", make.content("One."))
    bootstrap(ctx=make.system(acme.pk), version_id=first.pk)
    token = make.agent_token(make.agent(acme))

    def served(port: int) -> str:
        status, body = _get(port, "/api/v1/resolve?pack=desk&origins=0&rendered=0", token)
        return str(json.loads(body)["content"]["sections"]["role"]["text"]) if status == 200 else str(status)

    assert [served(port) for port in two] == ["One.", "One."]
    second: PackVersion = make.champion(acme, "desk", "tenant:acme", make.content("Two."))
    waited = _until(lambda: [served(port) for port in two] == ["Two.", "Two."], 5)
    assert waited < BOUND_S
    rollback_layer(ctx=make.system(acme.pk), layer_id=second.layer_id, to_version=first.pk)
    assert _until(lambda: [served(port) for port in two] == ["One.", "One."], 5) < BOUND_S
    revoke_token(ctx=make.system(acme.pk), token_id=AgentToken.objects.get().pk)
    assert _until(lambda: [served(port) for port in two] == ["401", "401"], 5) < BOUND_S
