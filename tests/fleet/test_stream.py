"""The push stream as its own process: who hears what, resuming, and what it does when something goes away."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import redis
from django.test import TransactionTestCase
from django.utils import timezone

from apps.fleet.domain.wire import STREAM
from apps.fleet.push import push
from apps.identity.models import AgentToken
from apps.identity.services.agents import suspend_agent
from apps.identity.services.tenants import suspend_tenant
from apps.identity.services.tokens import revoke_token
from tests import factories
from tests.fleet.listening import Reader, StreamProcess

Connect = Callable[..., Reader]


@pytest.fixture(scope="module")
def stream(django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamProcess]:
    """One process and one database for all that stands here: each test has tenants of its own, and the next module a fresh clone."""
    process = StreamProcess(tmp_path_factory.mktemp("stream"))
    with django_db_blocker.unblock():
        process.start()
        yield process
        process.stop()
        TransactionTestCase()._fixture_teardown()


@pytest.fixture
def connect(stream: StreamProcess) -> Iterator[Connect]:
    """Opens a reader, once more while the process has lost its database."""
    opened: list[Reader] = []

    def make(*arguments: Any, **named: Any) -> Reader:
        deadline = time.monotonic() + 10
        while True:
            reader = Reader(stream.port, *arguments, **named)
            opened.append(reader)
            if reader.status != 503 or time.monotonic() > deadline:
                return reader
            time.sleep(0.1)

    yield make
    for reader in opened:
        reader.close()


def test_each_agent_hears_what_is_for_it_and_nothing_else(connect: Connect) -> None:
    ours, theirs = factories.tenant(), factories.tenant()
    first, second, stranger = factories.agent(ours), factories.agent(ours), factories.agent(theirs)
    a, b, c = (connect(factories.agent_token(agent)) for agent in (first, second, stranger))
    beginnings = [reader.next() for reader in (a, b, c)]
    assert {event.name for event in beginnings if event} == {"ping"}
    assert a.headers["content-type"].startswith("text/event-stream")

    push(tenant_id=ours.pk, agent_ids=[first.pk, stranger.pk], event="control", data={"action": "pause", "text": "a\nb"})
    push(tenant_id=ours.pk, agent_ids=None, event="pack.changed", data={"pack": "p"})
    push(tenant_id=theirs.pk, agent_ids={first.pk}, event="control", data={"action": "stop"})
    push(tenant_id=ours.pk, agent_ids=[], event="control", data={"action": "stop"})
    push(tenant_id=None, agent_ids=None, event="pack.rolled_back", data={"pack": "house-policy"})
    heard = [[(event.name, event.data) for event in (reader.event() for _ in range(count))] for reader, count in ((a, 3), (b, 2), (c, 1))]
    last = ("pack.rolled_back", {"pack": "house-policy"})
    assert heard == [
        [("control", {"action": "pause", "text": "a\nb"}), ("pack.changed", {"pack": "p"}), last],
        [("pack.changed", {"pack": "p"}), last],
        [last],
    ]


def test_a_lost_connection_resumes_and_one_from_too_far_back_asks_again(connect: Connect, stream: StreamProcess) -> None:
    tenant = factories.tenant()
    agent = factories.agent(tenant)
    token = factories.agent_token(agent)

    def say(number: int) -> None:
        push(tenant_id=tenant.pk, agent_ids=[agent.pk], event="pack.changed", data={"number": number})

    reader = connect(token)
    reader.next()
    say(1)
    place = reader.event().id
    reader.close()
    say(2)
    push(tenant_id=factories.tenant().pk, agent_ids=None, event="pack.changed", data={"number": 0})
    say(3)
    for resumed in (connect(token, last=place), connect(token, target=f"/api/v1/stream?last_event_id={place}")):
        events = [resumed.event(), resumed.event()]
        assert [event.data["number"] for event in events] == [2, 3]
        ping = resumed.next()
        assert ping is not None and (ping.name, ping.id) == ("ping", events[-1].id)
        resumed.close()
    for unknown in ("1-0", "99999999999999-0"):
        other = connect(token, last=unknown)
        assert (event := other.event()).name == "resync" and event.data == {"reason": "gap"}
        other.close()

    # The process starts anew: what Redis still holds, it can still replay.
    stream.stop()
    say(4)
    stream.start()
    assert [(again := connect(token, last=place)).event().data["number"], again.event().data["number"], again.event().data["number"]] == [
        2,
        3,
        4,
    ]


def test_refusals_are_problems(connect: Connect) -> None:
    tenant = factories.tenant()
    agent = factories.agent(tenant)
    token = factories.agent_token(agent)
    ended = factories.agent_token(agent, expires_at=timezone.now() - timedelta(seconds=1))
    narrow = factories.agent_token(agent, scopes=["resolve"])
    person = factories.api_token(factories.user(tenant, "tenant_admin"), tenant)
    for expected, code, arguments in (
        (401, "not_authenticated", {}),
        (401, "not_authenticated", {"token": "mc_nothing"}),
        (401, "not_authenticated", {"token": token[:-1] + ("A" if token[-1] != "A" else "B")}),
        (401, "not_authenticated", {"token": ended}),
        (403, "permission_denied", {"token": person}),
        (403, "permission_denied", {"token": narrow}),
        (404, "not_found", {"token": token, "target": "/api/v1/streams"}),
        (405, "method_not_allowed", {"token": token, "method": "POST"}),
        (422, "invalid", {"token": token, "last": "x"}),
        (422, "unknown_key", {"token": token, "target": "/api/v1/stream?tenant=acme"}),
    ):
        reader = connect(**arguments)
        assert (reader.status, reader.body and reader.body["code"]) == (expected, code), arguments
        assert reader.headers["content-type"] == "application/problem+json"
        assert reader.body and reader.body["request_id"] == reader.headers["x-request-id"]
    kept = [connect(token) for _ in range(3)]
    assert {reader.status for reader in kept} == {200} and all(reader.next() for reader in kept)
    full = connect(token)
    assert (full.status, full.headers["retry-after"]) == (429, "10")
    kept[0].close()
    deadline = time.monotonic() + 5
    while connect(token).status != 200:
        assert time.monotonic() < deadline, "a reader that left is still counted"


def test_connections_end_with_their_token(connect: Connect) -> None:
    tenant, suspended = factories.tenant(), factories.tenant()
    agents = [factories.agent(tenant) for _ in range(3)]
    soon = timezone.now() + timedelta(seconds=3)
    tokens = [factories.agent_token(agent) for agent in agents]
    stays, revoked, agent_ends = (connect(token) for token in tokens)
    expires = connect(factories.agent_token(agents[0], expires_at=soon))
    tenant_ends = connect(factories.agent_token(factories.agent(suspended)))
    assert all(reader.next() for reader in (stays, revoked, agent_ends, expires, tenant_ends))
    ctx = factories.system(tenant.pk)
    begun = time.monotonic()
    revoke_token(ctx=ctx, token_id=AgentToken.objects.get(agent=agents[1]).pk)
    suspend_agent(ctx=ctx, slug=agents[2].slug)
    suspend_tenant(ctx=factories.context(factories.platform().pk, "tenant_admin"), slug=suspended.slug)
    for reader in (revoked, agent_ends, tenant_ends, expires):
        assert reader.ended()
    assert time.monotonic() - begun < 5
    push(tenant_id=tenant.pk, agent_ids=None, event="control", data={})
    assert stays.event().name == "control"
    assert connect(tokens[1]).status == 401


def test_when_redis_or_the_database_go_connections_stay_and_ask_again(connect: Connect) -> None:
    tenant = factories.tenant()
    token = factories.agent_token(factories.agent(tenant))
    reader = connect(token)
    assert reader.next()
    server: Any = redis.Redis.from_url(os.environ["REDIS_URL"])
    for client in server.client_list():
        if client["cmd"] == "xread":
            server.client_kill_filter(_id=client["id"])
    assert (event := reader.event()).name == "resync" and event.data == {"reason": "redis_lost"}

    server.delete(STREAM)
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as session:
        session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user"
            " AND pid <> pg_backend_pid() AND query LIKE '%core_changes%'"
        )
    push(tenant_id=tenant.pk, agent_ids=None, event="control", data={})
    assert reader.event().name == "control"
    assert connect(token).status == 200


def test_a_reader_that_does_not_read_is_dropped_and_can_resume(connect: Connect) -> None:
    tenant = factories.tenant()
    token = factories.agent_token(factories.agent(tenant))
    quick = connect(factories.agent_token(factories.agent(tenant)))
    slow = connect(token, buffer=4096)
    begin = slow.next()
    assert quick.next() and begin
    text = "x" * 60_000
    for number in range(150):
        push(tenant_id=tenant.pk, agent_ids=None, event="control", data={"number": number, "text": text})
        assert quick.event().data["number"] == number
    read = begin
    while (event := slow.next()) is not None:
        read = event
    assert read.name == "control" and read.data["number"] < 149, "the slow one was kept"
    resumed = connect(token, last=read.id)
    # More than is sent at once: it is told to ask again.
    assert resumed.event().name == "resync"


def test_a_push_that_cannot_go_is_made_good_later(connect: Connect, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from apps.fleet import push as module

    tenant = factories.tenant()
    reader = connect(factories.agent_token(factories.agent(tenant)))
    assert reader.next()
    monkeypatch.setattr(module, "_redis", None)
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    push(tenant_id=tenant.pk, agent_ids=None, event="pack.changed", data={"number": 1})
    push(tenant_id=tenant.pk, agent_ids=None, event="not a name", data={})
    settings.REDIS_URL = os.environ["REDIS_URL"]
    monkeypatch.setattr(module, "_redis", None)
    monkeypatch.setattr(module, "_spared_until", float("-inf"))
    push(tenant_id=tenant.pk, agent_ids=None, event="pack.changed", data={"number": 2})
    assert [reader.event().name, reader.event().data] == ["resync", {"number": 2}]
