"""Whole traces, however their spans were batched: whose step each is, how deep an agent stands, what its calls add up to."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.utils import timezone
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from apps.core.context import EVERY_USER, in_tenant
from apps.telemetry.models import Event, OpenTraces, Run, UnscoredBatch
from apps.telemetry.services.otlp import AGAIN, SETTLE, SETTLE_LAST, settle_traces
from apps.telemetry.services.redaction import set_policy
from apps.telemetry.services.rolling import roll_up
from apps.telemetry.tasks import settle_traces_task
from tests import factories
from tests.telemetry.sending import Harness, harness
from tests.telemetry.spans import new_trace, send, span

pytestmark = pytest.mark.django_db
A, B, C = "aa" * 8, "bb" * 8, "cc" * 8


def agent(trace: str, id_: str, parent: str = "", **more: Any) -> dict[str, Any]:
    return span(f"invoke_agent {id_[:2]}", {"gen_ai.operation.name": "invoke_agent", **more}, trace=trace, id=id_, parent=parent)


def chat(trace: str, parent: str, tokens: int = 100, model: str = "gpt-5-mini", **fields: Any) -> dict[str, Any]:
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "gen_ai.usage.input_tokens": tokens,
        "gen_ai.usage.output_tokens": tokens // 10,
        "gen_ai.usage.cache_read.input_tokens": tokens // 2,
        "mc.cost_usd": f"0.{tokens:06}",
    }
    return span("chat", attributes, trace=trace, parent=parent, **fields)


def tool(trace: str, parent: str, **fields: Any) -> dict[str, Any]:
    attributes = {"mcp.method.name": "tools/call", "gen_ai.tool.name": "find", "mcp.server.name": "kb"}
    return span("tools/call find", attributes, trace=trace, parent=parent, **fields)


def settle(sender: Harness, after: timedelta = SETTLE + timedelta(seconds=5)) -> None:
    while settle_traces(ctx=factories.system(sender.tenant.pk), now=timezone.now() + after):
        pass


def a_trace(trace: str) -> list[dict[str, Any]]:
    """An agent that calls a model and another agent, which uses a tool and a model through a chain; a third below it."""
    return [
        agent(trace, A, **{"mc.user_ref": "u-1"}),
        chat(trace, A, 100),
        agent(trace, B, A),
        span("step", {"gen_ai.operation.name": "plan"}, trace=trace, id="dd" * 8, parent=B),
        chat(trace, "dd" * 8, 60),
        tool(trace, "dd" * 8, id="ee" * 8),
        agent(trace, C, "ee" * 8),
        chat(trace, C, 30, "claude-x"),
        chat(trace, C, 10, id="ff" * 8),
        # The same call, seen by the library below.
        chat(trace, "ff" * 8, 10),
    ]


def rows(sender: Harness, trace: str) -> list[tuple[Any, ...]]:
    """All that is stored of a trace but our keys and the time of receipt."""
    ours = {"id", "day", "received_at", "team_id"}
    runs = Run.objects.filter(root_task_id=trace).order_by("run_id").values()
    events = Event.objects.filter(root_task_id=trace).order_by("event_id").values()
    return [tuple((name, str(value).replace(trace, "T")) for name, value in row.items() if name not in ours) for row in (*runs, *events)]


def in_batches(sender: Harness, trace: str, batches: list[list[int]]) -> list[tuple[Any, ...]]:
    spans = [{**each, "id": f"{number:016x}" if number in (1, 4, 7, 9) else each["id"]} for number, each in enumerate(a_trace(trace))]
    for batch in batches:
        send(sender, *[spans[place] for place in batch])
    settle(sender)
    return rows(sender, trace)


def test_any_order_in_any_batches_gives_the_same_rows() -> None:
    sender = harness()
    whole = in_batches(sender, new_trace(), [list(range(10))])
    assert len(whole) == 13

    @given(st.permutations(range(10)), st.lists(st.integers(1, 9), max_size=4, unique=True))
    @settings(max_examples=6, phases=(Phase.generate,), derandomize=True)
    def holds(order: list[int], cuts: list[int]) -> None:
        batches = [list(order[start:end]) for start, end in pairwise([0, *sorted(cuts), 10])]
        assert in_batches(sender, new_trace(), batches) == whole

    holds()


def test_runs_add_up_their_own_calls_once() -> None:
    sender, trace = harness(), new_trace()
    send(sender, *a_trace(trace)[1:])
    settle(sender)
    send(sender, a_trace(trace)[0])
    assert Run.objects.get(task_id=A).final is False
    settle(sender)
    runs = {run.task_id: run for run in Run.objects.all()}
    assert {key: (run.tier, run.final, run.tokens_in, run.tokens_out, run.cached_tokens, run.cost_micros) for key, run in runs.items()} == {
        A: ("T1", True, 100, 10, 50, 100),
        B: ("T2", True, 60, 6, 30, 60),
        C: ("T3", True, 40, 4, 20, 40),
    }
    assert (runs[A].model_id, runs[C].model_id, runs[C].provider) == ("gpt-5-mini", None, "openai")
    assert (runs[B].mcp_servers, runs[A].mcp_servers) == (["kb"], None)
    assert {event.tier for event in Event.objects.filter(run_id=runs[C].run_id)} == {"T3"}
    assert not Event.objects.filter(run_id=None).exists() and not Event.objects.filter(flags__contains=["unsettled"]).exists()
    # Each waits for its score once, and in the end nothing waits to be settled.
    assert sorted(len(batch.row_ids) for batch in UnscoredBatch.objects.all()) in ([1, 2], [3])
    settle(sender, SETTLE + SETTLE_LAST + timedelta(seconds=5))
    assert not OpenTraces.objects.exists()


def test_a_run_costs_what_its_calls_cost_each_by_its_own_model() -> None:
    sender, trace = harness(), new_trace()
    calls = [chat(trace, A, 1_000_000), chat(trace, A, 1_000_000, "claude-haiku-4-5-x")]
    for call, provider in zip(calls, ("openai", "anthropic"), strict=True):
        del call["attributes"]["mc.cost_usd"]
        call["attributes"] |= {"gen_ai.provider.name": provider, "gen_ai.usage.output_tokens": 0}
    send(sender, agent(trace, A), *calls)
    settle(sender)
    # Half of the input came from the cache: (0.25 + 0.025) / 2 and (1 + 0.10) / 2 dollars.
    assert sorted(Event.objects.exclude(cost_micros=None).values_list("cost_micros", flat=True)) == [137_500, 550_000]
    assert (Run.objects.get().cost_micros, Run.objects.get().model_id) == (687_500, None)
    # Nobody reported this sum: it is nothing that could differ from what the tokens of its own model cost.
    other = new_trace()
    send(sender, agent(other, A, **{"gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5-mini"}))
    send(sender, *[{**call, "trace": other} for call in calls])
    settle(sender)
    for run in Run.objects.all():
        assert (run.cost_micros, "priced" in run.flags, "cost_differs" in run.flags) == (687_500, True, False)


def test_what_learns_its_tier_late_is_found_and_counted_by_it_once() -> None:
    sender, trace = harness(), new_trace()
    system = factories.system(sender.tenant.pk)
    send(sender, chat(trace, A))
    roll_up(ctx=system)
    send(sender, agent(trace, A))
    settle(sender)
    for _ in range(3):
        roll_up(ctx=system)
    with connection.cursor() as cursor:
        cursor.execute("SELECT value, sum(count)::int FROM telemetry_facetcount WHERE dimension IN ('tier', 'flag') GROUP BY 1")
        counted = dict(cursor.fetchall())
    assert counted["T1"] == 3 and "unsettled" not in counted
    person = factories.user(sender.tenant, "viewer")
    headers = factories.bearer(factories.api_token(person, sender.tenant))
    found = Client().get("/api/v1/events/", {"tier": "T1", "root_task_id": trace}, headers=headers).json()["results"]
    assert len(found) == 2


def test_a_tier_that_is_known_before_it_is_counted_is_counted_once() -> None:
    sender, trace = harness(), new_trace()
    send(sender, chat(trace, A))
    roll_up(ctx=factories.system(sender.tenant.pk))
    send(sender, chat(trace, A))
    send(sender, agent(trace, A))
    settle(sender)
    while roll_up(ctx=factories.system(sender.tenant.pk)):
        pass
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(count)::int FROM telemetry_facetcount WHERE kind = 'e' AND dimension = 'tier' AND value = 'T1'")
        assert cursor.fetchone() == (Event.objects.filter(tier="T1").count(),) == (3,)


def test_a_root_task_that_is_redacted_is_found_again_and_stored_nowhere() -> None:
    sender, trace, who = harness(), new_trace(), "anna@acme.example"
    set_policy(ctx=factories.system(sender.tenant.pk), changes={"redact_email": True})
    send(sender, chat(trace, A), resource={"mc.root_task_id": f"of {who}"})
    send(sender, agent(trace, A), resource={"mc.root_task_id": f"of {who}"})
    assert who not in str(list(OpenTraces.objects.values_list("roots")))
    settle(sender)
    run = Run.objects.get()
    assert (run.final, run.tokens_in) == (True, 100) and not Event.objects.filter(run_id=None).exists()


@pytest.mark.django_db(transaction=True)
def test_a_row_that_cannot_be_settled_keeps_no_other_waiting(owner_connection: Any) -> None:
    sender, held, other = harness(), new_trace(), new_trace()
    for trace in (held, other):
        send(sender, agent(trace, A), chat(trace, A))
    now = timezone.now() + timedelta(minutes=1)

    def final() -> set[str]:
        with in_tenant(sender.tenant.pk, EVERY_USER):
            return set(Run.objects.filter(final=True).values_list("root_task_id", flat=True))

    with owner_connection.transaction(), connection.cursor() as cursor:
        owner_connection.execute("SELECT 1 FROM telemetry_ledger WHERE kind = 'r' AND key = %s FOR UPDATE", [f"{held}-{A}"])
        cursor.execute("SET lock_timeout = '100ms'")
        try:
            assert settle_traces(ctx=factories.system(sender.tenant.pk), now=now) == 2
        finally:
            cursor.execute("RESET lock_timeout")
    assert final() == {other}
    assert settle_traces(ctx=factories.system(sender.tenant.pk), now=now) == 0
    assert settle_traces(ctx=factories.system(sender.tenant.pk), now=now + AGAIN) == 1
    assert final() == {held, other}


def test_a_trace_is_whole_where_no_texts_are_kept() -> None:
    sender, trace = harness(), new_trace()
    set_policy(ctx=factories.system(sender.tenant.pk), changes={"store_content": "metrics_only"})
    failed = agent(trace, A, **{"gen_ai.input.messages": "a text", "other": "a text"})
    send(sender, chat(trace, A), {**failed, "events": [("exception", {"exception.message": "a text"})]})
    settle(sender)
    run, call = Run.objects.get(), Event.objects.get(action="llm.call")
    assert (run.tokens_in, run.final, call.run_id, call.payload) == (100, True, run.run_id, {"cached_tokens": 50, "parent_task_id": A})
    assert "a text" not in str([list(rows.values()) for rows in (Run.objects, Event.objects)])


def test_what_an_agent_reports_itself_stands() -> None:
    sender, trace = harness(), new_trace()
    send(sender, chat(trace, A), agent(trace, A, **{"gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 1}))
    settle(sender)
    run = Run.objects.get()
    assert (run.tokens_in, run.tokens_out, run.cached_tokens, run.final) == (7, 1, None, True)


def test_a_run_waits_for_the_agent_above_it_and_not_for_ever() -> None:
    sender, trace = harness(), new_trace()
    send(sender, agent(trace, B, A), chat(trace, B))
    settle(sender)
    assert (Run.objects.get().final, OpenTraces.objects.get().last) == (False, True)
    settle(sender, SETTLE + SETTLE_LAST + timedelta(seconds=5))
    run = Run.objects.get()
    assert (run.final, run.tier, run.tokens_in) == (True, "T1", 100)
    # What comes later is stored, in its place, and changes no final run.
    send(sender, chat(trace, B, 7))
    settle(sender)
    assert Event.objects.filter(run_id=run.run_id, tokens_in=7, tier="T1").count() == 1
    assert Run.objects.get().tokens_in == 100


def test_requests_around_an_agent_are_seen_through() -> None:
    sender, trace = harness(), new_trace()
    http = span("POST /ask", {"http.request.method": "POST"}, trace=trace, id=A)
    between = span("GET", {"http.request.method": "GET"}, trace=trace, id=C, parent=B)
    send(sender, http, agent(trace, B, A), between, tool(trace, C))
    run, call = Run.objects.get(), Event.objects.get(action="mcp.call")
    assert (run.tier, run.metadata.get("parent_task_id")) == ("T1", None)
    assert (call.run_id, call.payload["parent_task_id"]) == (run.run_id, B)
    settle(sender)
    assert Run.objects.get().final is True


def test_agents_of_one_trace_may_have_tokens_of_their_own() -> None:
    first = harness()
    second = harness(first.tenant)
    trace = new_trace()
    send(second, agent(trace, B, A), chat(trace, B, 50))
    send(first, agent(trace, A), chat(trace, A))
    settle(first)
    assert {(run.agent_id, run.tier, run.tokens_in) for run in Run.objects.all()} == {
        (first.agent.pk, "T1", 100),
        (second.agent.pk, "T2", 50),
    }


def test_a_task_of_the_harness_ties_traces_together() -> None:
    sender, trace = harness(), new_trace()
    send(sender, agent(trace, A), chat(trace, A), resource={"mc.root_task_id": "task-9"})
    settle(sender)
    assert set(Event.objects.values_list("root_task_id", flat=True)) == {"task-9"}
    assert (Run.objects.get().tokens_in, Run.objects.get().root_task_id) == (100, "task-9")


def test_the_task_settles_every_tenant_that_is_due() -> None:
    senders = [harness(), harness()]
    for sender in senders:
        trace = new_trace()
        send(sender, agent(trace, A), chat(trace, A))
    settle_traces_task()
    assert not Run.objects.filter(final=True).exists()
    for sender in senders:
        with in_tenant(sender.tenant.pk):
            OpenTraces.objects.filter(tenant=sender.tenant).update(due_at=timezone.now())
    settle_traces_task()
    assert Run.objects.filter(final=True).count() == 2


def test_a_step_whose_run_is_not_known_shows_itself_to_nobody_who_reads_some_users_only() -> None:
    sender, trace = harness(), new_trace()
    send(sender, chat(trace, A))

    def seen_by(user: str) -> int:
        with in_tenant(sender.tenant.pk, user):
            return Event.objects.count()

    assert (seen_by(EVERY_USER), seen_by("u-1"), seen_by("")) == (1, 0, 0)
    send(sender, agent(trace, A, **{"mc.user_ref": "u-1"}))
    settle(sender)
    assert (seen_by(EVERY_USER), seen_by("u-1"), seen_by("u-2")) == (2, 2, 0)


@pytest.mark.parametrize("change", ["run_id = 'other'", "tier = 'T3'", "flags = '{x}'"])
def test_what_an_event_says_never_changes(change: str) -> None:
    sender, trace = harness(), new_trace()
    send(sender, agent(trace, A))
    with pytest.raises(DatabaseError, match="never changes"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE telemetry_event SET {change}")
