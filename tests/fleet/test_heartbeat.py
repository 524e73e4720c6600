"""`POST heartbeat`: who is there, what it serves, what it hears."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.fleet.models import Harness, Serving
from apps.telemetry.services import add_pattern
from tests import factories as make
from tests.fleet.harness import harness

UNKNOWN = "sha256:" + "0" * 64
SECRET = "sk-ant-api03-" + "Ab3" * 31 + "-xyzAA"


@pytest.fixture
def acme(db: None) -> Any:
    tenant = make.tenant("acme")
    make.own_pack(tenant, "desk")
    make.champion(tenant, "desk", "tenant:acme")
    return tenant


def test_a_harness_says_what_it_serves_and_hears_what_is_stale(acme: Any) -> None:
    bot = harness(acme)
    first = bot.digest("desk")
    answer = bot.beat(("desk", first), status="working")
    assert answer["stale"] == [] and answer["commands"] == [] and answer["untraced"] == []
    row = Serving.objects.get()
    assert (row.pack, row.digest, row.arm, row.traced) == ("desk", first, "champion", True)
    make.champion(acme, "desk", "tenant:acme", make.content("You answer better."))
    assert bot.beat(("desk", first))["stale"] == ["desk"]
    row.refresh_from_db()
    since = row.since
    assert Harness.objects.get().stale == ["desk"]
    second = bot.digest("desk")
    assert bot.beat(("desk", second))["stale"] == []
    row.refresh_from_db()
    assert row.digest == second and row.since > since
    bot.beat()
    assert not Serving.objects.exists() and Harness.objects.count() == 1, "what it no longer serves is not shown"


def test_a_digest_that_nobody_was_given_is_told_and_flagged(acme: Any) -> None:
    bot = harness(acme)
    answer = bot.beat(("desk", UNKNOWN), ("gone", UNKNOWN))
    assert answer["untraced"] == [UNKNOWN] and answer["stale"] == ["desk", "gone"]
    assert Harness.objects.get().flags == ["untraced"] and not Serving.objects.filter(traced=True).exists()


def test_processes_of_one_agent_stand_apart_and_their_number_is_limited(acme: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bot = harness(acme)
    bot.beat(instance="host-1")
    bot.beat(instance="host-2", ttl_s=5)
    bot.beat(instance="host-1")
    assert sorted(Harness.objects.values_list("instance", "ttl_s")) == [("host-1", 30), ("host-2", 5)]
    monkeypatch.setattr("apps.fleet.services.heartbeats.MAX_INSTANCES", 2)
    refused = bot.post({"instance": "host-3"})
    assert refused.status_code == 422 and Harness.objects.count() == 2


def test_secrets_in_names_are_not_stored(acme: Any) -> None:
    bot = harness(acme)
    bot.beat(instance=f"host {SECRET}", status=f"using {SECRET}")
    row = Harness.objects.get()
    assert SECRET not in f"{row.instance} {row.status}" and row.flags == ["redacted"]


def test_what_the_tenant_redacts_is_not_stored_and_processes_stay_apart(acme: Any) -> None:
    add_pattern(ctx=make.system(acme.pk), name="staff_number", pattern=r"EMP-(\d{6})")
    bot = harness(acme)
    for number in ("123456", "654321", "123456"):
        bot.beat(("desk", UNKNOWN), instance=f"EMP-{number}", status=f"for EMP-{number}")
    rows = Harness.objects.all()
    assert len(rows) == 2 and all(row.flags == ["redacted", "untraced"] for row in rows)
    assert all(row.status == "for EMP-[redacted:staff_number]" and row.instance.startswith("EMP-[redacted:staff_number]~") for row in rows)


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        (b"{", "bad_encoding", None),
        (b"[]", "invalid", ""),
        ({"serving": [{"pack": "desk", "digest": "abc"}]}, "invalid", "/serving/0/digest"),
        ({"serving": [{"pack": "Desk!", "digest": UNKNOWN}]}, "invalid", "/serving/0/pack"),
        ({"serving": [{"pack": "a", "digest": UNKNOWN}] * 2}, "invalid", "/serving"),
        ({"serving": [{"pack": "a", "digest": UNKNOWN}] * 101}, "invalid", "/serving"),
        ({"serving": [{"pack": "desk", "digest": UNKNOWN + "\n"}]}, "invalid", "/serving/0/digest"),
        ({"acks": ["7"]}, "invalid", "/acks/0"),
        ({"statsu": "x"}, "unknown_key", "/statsu"),
        ({"status": "a\x00b"}, "invalid", "/status"),
        ({"ttl_s": 0}, "invalid", "/ttl_s"),
        (b'{"status": "' + b"x" * 70_000 + b'"}', "too_large", None),
    ],
)
def test_what_is_no_heartbeat_is_refused_and_leaves_nothing(acme: Any, body: Any, code: str, pointer: str | None) -> None:
    response = harness(acme).post(body)
    problem = response.json()
    assert problem["code"] == code, problem
    if pointer is not None:
        assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert not Harness.objects.exists()


def test_only_an_agents_live_token_beats(acme: Any) -> None:
    client = Client()
    assert client.post("/api/v1/heartbeat", {}, content_type="application/json").status_code == 401
    person = make.bearer(make.api_token(make.user(acme, "tenant_admin"), acme))
    assert client.post("/api/v1/heartbeat", {}, content_type="application/json", headers=person).status_code == 403
    narrowed = make.bearer(make.agent_token(make.agent(acme), scopes=["resolve"]))
    assert client.post("/api/v1/heartbeat", {}, content_type="application/json", headers=narrowed).status_code == 403
    assert client.get("/api/v1/heartbeat", headers=person).status_code == 405


def test_a_heartbeat_that_says_nothing_new_costs_few_statements(acme: Any) -> None:
    bot = harness(acme)
    served = ("desk", bot.digest("desk"))
    bot.beat(served)
    bot.beat(served)
    with CaptureQueriesContext(connection) as seen:
        bot.beat(served)
    # What changed is heard by a thread, but in tests. The rest: the transaction and whose it is, the harness's row, what it serves.
    assert len([each for each in seen if "core_changes" not in each["sql"]]) <= 6, [query["sql"][:100] for query in seen]
