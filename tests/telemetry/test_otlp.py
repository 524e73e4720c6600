"""Spans sent by a real OpenTelemetry exporter, and everything that the OTLP/HTTP specification asks of a server."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import Status, StatusCode

from apps.core.context import EVERY_USER, in_tenant
from apps.telemetry.models import Event, Run
from tests.telemetry.sending import Harness, harness
from tests.telemetry.spans import PROTOBUF, as_json, as_protobuf, new_trace, post, request, send, span

SECRET = "gh" + "p_" + "a1B2" * 9


def agent(trace: str, id_: str = "aa" * 8, **fields: Any) -> dict[str, Any]:
    return span("invoke_agent desk", {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "desk"}, trace=trace, id=id_, **fields)


def chat(trace: str, parent: str = "aa" * 8, **fields: Any) -> dict[str, Any]:
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 10,
    }
    return span("chat gpt-5-mini", {**attributes, **fields.pop("more", {})}, trace=trace, parent=parent, **fields)


@contextmanager
def tracer(sender: Harness, url: str, **options: Any) -> Iterator[Any]:
    """An application's tracer, set up as its documentation says; what it recorded has been sent when this ends."""
    exporter = OTLPSpanExporter(endpoint=f"{url}/api/v1/otlp/v1/traces", headers={"Authorization": f"Bearer {sender.token}"}, **options)
    provider = TracerProvider(resource=Resource.create({"service.name": "desk", "mc.pack": "hr-ops-pack", "mc.user_ref": "u-1"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    yield provider.get_tracer("tests")
    provider.shutdown()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_an_unmodified_exporter_works(live_server: Any, compression: Compression) -> None:
    sender = harness()
    with (
        tracer(sender, live_server.url, compression=compression) as traced,
        traced.start_as_current_span(
            "invoke_agent desk", attributes={"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "desk"}
        ),
    ):
        with traced.start_as_current_span("chat", attributes=chat("f" * 32)["attributes"]):
            pass
        with traced.start_as_current_span("execute_tool search", attributes={"gen_ai.tool.name": "search"}) as tool:
            tool.record_exception(TimeoutError(f"no answer, token {SECRET}"))
            tool.set_status(Status(StatusCode.ERROR, f"failed with {SECRET}"))
        with traced.start_as_current_span("GET /handbook", attributes={"http.request.method": "GET"}):
            pass
    with in_tenant(sender.tenant.pk, EVERY_USER):
        run = Run.objects.get()
        events = {event.action: event for event in Event.objects.all()}
        assert (run.actor, run.pack, run.user_ref, run.tier, run.agent_id) == ("desk", "hr-ops-pack", "u-1", "T1", sender.agent.pk)
        assert sorted(events) == ["agent.run", "llm.call", "tool.call"]
        assert {event.run_id for event in events.values()} == {run.run_id}
        assert {event.root_task_id for event in events.values()} == {run.root_task_id}
        assert events["llm.call"].payload["parent_task_id"] == run.task_id
        assert (events["llm.call"].tokens_in, events["llm.call"].model_id) == (100, "gpt-5-mini")
        tool_event = events["tool.call"]
        assert (tool_event.status, tool_event.payload["error"]) == ("failed", "TimeoutError")
        assert SECRET not in json.dumps(tool_event.payload) + str(tool_event.message)


@pytest.mark.django_db(transaction=True)
def test_an_exporter_is_told_of_a_wrong_token(live_server: Any) -> None:
    exporter = OTLPSpanExporter(endpoint=f"{live_server.url}/api/v1/otlp/v1/traces", headers={"Authorization": "Bearer mc_nobody"})
    provider = TracerProvider()
    with provider.get_tracer("t").start_as_current_span("chat") as made:
        pass
    assert exporter.export([made]) == SpanExportResult.FAILURE


def partial(response: Any) -> tuple[int, str]:
    assert response.status_code == 200, response.content
    if response["Content-Type"] == PROTOBUF:
        found = ExportTraceServiceResponse.FromString(response.content).partial_success
        return found.rejected_spans, found.error_message
    assert response["Content-Type"] == "application/json"
    said = response.json().get("partialSuccess", {})
    return int(said.get("rejectedSpans", 0)), said.get("errorMessage", "")


@pytest.mark.django_db
@pytest.mark.parametrize(("encode", "media_type"), [(as_protobuf, PROTOBUF), (as_json, "application/json")])
def test_a_bad_span_is_counted_and_costs_no_good_one(encode: Any, media_type: str) -> None:
    sender, trace = harness(), new_trace()
    spans = [agent(trace), chat("0" * 32), chat(trace, id="0" * 16), chat(trace, start=0), chat(trace)]
    rejected, why = partial(post(sender, encode(spans), media_type))
    assert rejected == 3
    assert why.startswith("3 of 5 spans were not stored") and "no valid trace id" in why and "no start or end time" in why
    assert Event.objects.count() == 2
    # Sent again all are known, and the same are refused.
    assert partial(post(sender, encode(spans), media_type))[0] == 3
    assert (Run.objects.count(), Event.objects.count()) == (1, 2)


@pytest.mark.django_db
def test_a_full_success_says_nothing() -> None:
    sender, trace = harness(), new_trace()
    assert post(sender, as_protobuf([agent(trace)])).content == b""
    assert post(sender, as_json([agent(trace)]), "application/json").content == b"{}"
    assert post(sender, b"").content == b""
    assert post(sender, b"{}", "application/json; charset=utf-8").content == b"{}"
    assert post(sender, gzip.compress(as_protobuf([agent(trace)])), HTTP_CONTENT_ENCODING="gzip").content == b""
    assert Run.objects.count() == 1


@pytest.mark.django_db
def test_the_same_span_in_other_company_is_a_duplicate_and_another_body_is_refused() -> None:
    sender, trace = harness(), new_trace()
    known = chat(trace, parent="bb" * 8)
    send(sender, known)
    send(sender, agent(trace), span("GET /", trace=trace, id="bb" * 8, parent="aa" * 8), known)
    assert Event.objects.count() == 2
    changed = {**known, "name": "another"}
    rejected, why = partial(post(sender, as_protobuf([changed])))
    assert (rejected, "another body" in why) == (1, True)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "environ", "status", "code"),
    [
        (b"\xff", {}, 400, "bad_encoding"),
        (b"{", {"CONTENT_TYPE": "application/json"}, 400, "bad_encoding"),
        (b"[]", {"CONTENT_TYPE": "application/json"}, 400, "bad_encoding"),
        (b"junk", {"HTTP_CONTENT_ENCODING": "gzip"}, 400, "bad_encoding"),
        (b"", {"CONTENT_TYPE": "application/grpc"}, 415, "unsupported_media_type"),
        (b"", {"HTTP_CONTENT_ENCODING": "br"}, 415, "unsupported_media_type"),
        (b" " * (5 * 2**20 + 1), {}, 413, "too_large"),
        (gzip.compress(b" " * (5 * 2**20 + 1)), {"HTTP_CONTENT_ENCODING": "gzip"}, 413, "too_large"),
        (request([span("x")] * 10_001).SerializeToString(), {}, 413, "too_large"),
        (b"", {"HTTP_AUTHORIZATION": "Bearer mc_nobody"}, 401, "not_authenticated"),
    ],
)
def test_a_refusal_is_of_the_requests_encoding(body: bytes, environ: dict[str, str], status: int, code: str) -> None:
    response = post(harness(), body, environ.pop("CONTENT_TYPE", PROTOBUF), **environ)
    assert response.status_code == status
    if response["Content-Type"] == PROTOBUF:
        # google.rpc.Status: field 1 a number, field 2 a text.
        assert response.content[0] == 0x08 and response.content[2] == 0x12
        assert code in response.content.decode(errors="replace")
    else:
        assert (response["Content-Type"], response.json()["code"]) == ("application/problem+json", code)
    assert not Event.objects.exists()
    assert status != 401 or response["WWW-Authenticate"] == "Bearer"


@pytest.mark.django_db
def test_claims_are_compared_with_the_token() -> None:
    sender, other = harness(), harness()
    send(sender, agent(new_trace()), resource={"mc.tenant": other.tenant.slug, "mc.agent": sender.agent.slug, "mc.arm": "challenger"})
    run, event = Run.objects.get(), Event.objects.get()
    assert (run.tenant_id, run.agent_id, run.arm) == (sender.tenant.pk, sender.agent.pk, "champion")
    assert run.metadata["mc.claimed"] == {"tenant": other.tenant.slug, "arm": "challenger"}
    assert event.payload["mc.claimed"] == {"tenant": other.tenant.slug}
    assert "mismatch" in run.flags and "mismatch" in event.flags


@pytest.mark.django_db(transaction=True)
def test_no_secret_is_stored_wherever_it_stands(owner_sql: Any) -> None:
    """One secret in each place of a span, then a search of every byte of every table."""
    sender, trace = harness(), new_trace()
    everywhere = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": f"tool {SECRET}",
        "gen_ai.tool.call.arguments": {"key": SECRET, "nested": [{"deep": f"x {SECRET}"}]},
        "gen_ai.tool.call.result": json.dumps({"token": SECRET}),
        "gen_ai.provider.name": SECRET,
        "gen_ai.request.model": SECRET,
        "gen_ai.agent.name": SECRET,
        "mcp.server.name": SECRET,
        "error.type": SECRET,
        "mc.user_ref": SECRET,
        "mc.root_task_id": SECRET,
        "mc.task_type": SECRET,
        "mc.tenant": SECRET,
        "mc.skill": SECRET,
        SECRET: "a key",
        "other": f"bytes {SECRET}",
    }
    events = [("exception", {"exception.type": SECRET, "exception.message": SECRET, "exception.stacktrace": f"at\n{SECRET}"})]
    tool = span(f"execute_tool {SECRET}", everywhere, trace=trace, parent="aa" * 8, error=SECRET, events=events)
    run = agent(trace, error=SECRET, events=[("gen_ai.user.message", {"content": SECRET}), ("gen_ai.choice", {"message": SECRET})])
    run["attributes"] |= {name: value for name, value in everywhere.items() if name.startswith("mc.")}
    body = as_protobuf([tool, run], resource={"service.name": SECRET}, scope=SECRET)
    assert partial(post(sender, body)) == (0, "")
    assert partial(post(sender, as_json([{**tool, "id": "cc" * 8}]), "application/json")) == (0, "")
    tables = [name for (name,) in owner_sql("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")]
    assert [name for name in tables if owner_sql(f"SELECT 1 FROM {name} t WHERE t::text LIKE %s LIMIT 1", [f"%{SECRET}%"])] == []
    assert owner_sql("SELECT count(*) FROM telemetry_event WHERE 'redacted' = ANY(flags)") == [(3,)]


@pytest.mark.django_db
def test_texts_over_the_limit_are_cut_and_flagged() -> None:
    sender, trace = harness(), new_trace()
    long = "é\n\0" * 200_000
    run = agent(trace)
    run["attributes"] |= {"gen_ai.input.messages": long, "gen_ai.agent.name": "n" * 300, "other": {"a": [long, {"b": long}]}}
    bulky = chat(trace, more={f"attribute.{number}": "v" * 900 for number in range(60)})
    send(sender, run, bulky)
    stored = Run.objects.get()
    assert len(stored.input.encode()) <= 256 * 1024 and stored.input.startswith("é\n\N{REPLACEMENT CHARACTER}")
    assert (len(stored.actor), stored.metadata["cut"]) == (200, ["actor", "attributes", "input"])
    assert "cut" in stored.flags
    event = Event.objects.get(action="llm.call")
    assert (event.tokens_in, "cut" in event.flags, len(json.dumps(event.payload)) < 16 * 1024) == (100, True, True)


@pytest.mark.django_db
def test_broken_characters_in_json_cost_nothing() -> None:
    """JavaScript cuts texts inside characters; the rest of the batch must not pay for it."""
    sender, trace = harness(), new_trace()
    body = as_json([agent(trace), chat(trace, more={"other": "MARK"})]).replace(b"MARK", rb"cut \ud83d")
    assert partial(post(sender, body, "application/json")) == (0, "")
    assert Event.objects.get(action="llm.call").payload["attributes"]["other"] == "cut \N{REPLACEMENT CHARACTER}"


@pytest.mark.django_db
def test_one_ill_typed_span_in_json_is_refused_alone() -> None:
    sender, trace = harness(), new_trace()
    sent = json.loads(as_json([agent(trace), chat(trace), chat(trace)]))
    sent["resourceSpans"][0]["scopeSpans"][0]["spans"][1]["name"] = 7
    sent["resourceSpans"][0]["unknown"] = {"a": 1}
    rejected, why = partial(post(sender, json.dumps(sent).encode(), "application/json"))
    assert (rejected, "another type" in why, Event.objects.count()) == (1, True, 2)


@pytest.mark.django_db
def test_traffic_that_is_no_agents_is_taken_and_not_stored() -> None:
    sender = harness()
    response = post(sender, as_protobuf([span("GET /", {"http.request.method": "GET"}), span("SELECT", {"db.system.name": "postgresql"})]))
    assert (partial(response), response["X-Spans-Ignored"]) == ((0, ""), "2")
    assert not Event.objects.exists() and not Run.objects.exists()
