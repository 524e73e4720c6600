"""Each convention's span as the event it becomes, from both encodings."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.telemetry.spans import PARENT, event_of, run_of, span


def facts_of(item: Any, expected: dict[str, Any]) -> dict[str, Any]:
    """What the item, or its payload, says under the names of `expected`."""
    loose = getattr(item, "payload", None) or getattr(item, "metadata", None) or {}
    return {name: getattr(item, name) if hasattr(item, name) else loose.get(name) for name in expected}


# what -> (span name, attributes, what the event says)
EVENTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "GenAI, current": (
        "chat gpt-5",
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-5",
            "gen_ai.response.model": "gpt-5-2026-01-01",
            "gen_ai.usage.input_tokens": 1200,
            "gen_ai.usage.output_tokens": 80,
            "gen_ai.usage.cache_read.input_tokens": 1000,
            "gen_ai.usage.cache_creation.input_tokens": 100,
            "gen_ai.usage.reasoning.output_tokens": 32,
            "gen_ai.agent.name": "desk",
            "gen_ai.input.messages": '[{"role":"user"}]',
            "gen_ai.output.messages": [{"role": "assistant", "parts": [{"type": "text", "content": "Hello"}]}],
            "gen_ai.request.temperature": 0.5,
        },
        {
            "action": "llm.call",
            "provider": "openai",
            "model_id": "gpt-5-2026-01-01",
            "tokens_in": 1200,
            "tokens_out": 80,
            "cached_tokens": 1000,
            "cache_write_tokens": 100,
            "reasoning_tokens": 32,
            "actor": "desk",
            "phase": "chat",
            "input": '[{"role":"user"}]',
            "message": '[{"role":"assistant","parts":[{"type":"text","content":"Hello"}]}]',
            "attributes": {"gen_ai.request.model": "gpt-5", "gen_ai.request.temperature": 0.5},
            "status": "completed",
        },
    ),
    "GenAI, 1.27 and before": (
        "openai.chat",
        {"gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.prompt_tokens": 7, "gen_ai.usage.completion_tokens": 3},
        {"action": "llm.call", "provider": "openai", "model_id": "gpt-4o", "tokens_in": 7, "tokens_out": 3, "cached_tokens": None},
    ),
    "GenAI tool": (
        "execute_tool search",
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "search",
            "gen_ai.tool.call.arguments": {"q": "leave"},
            "gen_ai.tool.call.result": "12 days",
        },
        {"action": "tool.call", "tool": "search", "mcp_tool": None, "input": '{"q":"leave"}', "message": "12 days"},
    ),
    "GenAI embeddings": (
        "embeddings e-3",
        {"gen_ai.operation.name": "embeddings", "gen_ai.request.model": "e-3"},
        {"action": "llm.embedding"},
    ),
    "GenAI retrieval": ("retrieval kb", {"gen_ai.operation.name": "retrieval"}, {"action": "retrieval"}),
    "a custom operation": ("think", {"gen_ai.operation.name": "think"}, {"action": "step", "phase": "think"}),
    "OpenInference LLM": (
        "ChatCompletion",
        {
            "openinference.span.kind": "LLM",
            "llm.model_name": "claude-x",
            "llm.provider": "anthropic",
            "llm.token_count.prompt": 50,
            "llm.token_count.completion": 5,
            "llm.token_count.total": 55,
            "llm.token_count.prompt_details.cache_read": 40,
            "llm.token_count.completion_details.reasoning": 2,
            "llm.input_messages.1.message.content": "second",
            "llm.input_messages.0.message.role": "user",
            "llm.input_messages.0.message.content": "first",
            "output.value": "answer",
        },
        {
            "action": "llm.call",
            "provider": "anthropic",
            "model_id": "claude-x",
            "tokens_in": 50,
            "tokens_out": 5,
            "tokens_total": 55,
            "cached_tokens": 40,
            "reasoning_tokens": 2,
            "input": '[{"role":"user","content":"first"},{"content":"second"}]',
            "message": "answer",
        },
    ),
    "OpenInference tool": (
        "search",
        {"openinference.span.kind": "TOOL", "tool.name": "search", "input.value": "q", "output.value": "r"},
        {"action": "tool.call", "tool": "search", "input": "q", "message": "r"},
    ),
    "OpenInference chain below another": ("chain", {"openinference.span.kind": "CHAIN"}, {"action": "step", "run_id": None}),
    "OpenLLMetry": (
        "openai.chat",
        {
            "llm.request.type": "chat",
            "gen_ai.system": "OpenAI",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.usage.input_tokens": 9,
            "llm.usage.total_tokens": 12,
            "gen_ai.usage.cache_read_input_tokens": 4,
            "gen_ai.prompt.0.role": "user",
            "gen_ai.prompt.0.content": "Hi",
            "gen_ai.completion.0.content": "Hello",
            "gen_ai.completion.0.finish_reason": "stop",
        },
        {
            "action": "llm.call",
            "tokens_in": 9,
            "tokens_out": 3,
            "cached_tokens": 4,
            "input": '[{"role":"user","content":"Hi"}]',
            "message": '[{"content":"Hello","finish_reason":"stop"}]',
        },
    ),
    "OpenLLMetry task": (
        "plan.task",
        {"traceloop.span.kind": "task", "traceloop.entity.name": "plan", "traceloop.entity.input": "{}"},
        {"action": "step", "actor": "plan", "phase": "task", "input": "{}"},
    ),
    "OpenLLMetry tool": (
        "find.tool",
        {"traceloop.span.kind": "tool", "traceloop.entity.name": "find"},
        {"action": "tool.call", "tool": "find"},
    ),
    "MCP": (
        "tools/call get-weather",
        {
            "mcp.method.name": "tools/call",
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "get-weather",
            "mcp.server.name": "weather",
            "mcp.session.id": "s",
            "error.type": "tool_error",
        },
        {
            "action": "mcp.call",
            "mcp_server": "weather",
            "mcp_tool": "get-weather",
            "mcp_method": "tools/call",
            "status": "failed",
            "error": "tool_error",
            "attributes": {"mcp.session.id": "s"},
        },
    ),
    "MCP without a name of its server": (
        "resources/read",
        {"mcp.method.name": "resources/read", "server.address": "mcp.example.test"},
        {"action": "mcp.call", "mcp_server": "mcp.example.test", "mcp_tool": None},
    ),
    "OpenClaw usage": (
        "openclaw.model.usage",
        {
            "openclaw.channel": "telegram",
            "openclaw.provider": "anthropic",
            "openclaw.model": "claude-x",
            "openclaw.tokens.input": 10,
            "openclaw.tokens.output": 5,
            "openclaw.tokens.cache_read": 100,
            "openclaw.tokens.cache_write": 20,
            "openclaw.tokens.total": 135,
            "openclaw.sessionKey": "k",
        },
        {
            "action": "llm.call",
            "provider": "anthropic",
            "model_id": "claude-x",
            # Its input leaves out what came from the cache or went there.
            "tokens_in": 130,
            "tokens_out": 5,
            "cached_tokens": 100,
            "cache_write_tokens": 20,
            "attributes": {"openclaw.channel": "telegram", "openclaw.sessionKey": "k"},
        },
    ),
    "OpenClaw tool": (
        "openclaw.tool.execution",
        {"openclaw.toolName": "exec", "gen_ai.tool.name": "exec", "openclaw.errorCategory": "timeout"},
        {"action": "tool.call", "tool": "exec", "error": "timeout", "status": "failed"},
    ),
    "OpenClaw message": (
        "openclaw.message.processed",
        {"openclaw.channel": "slack", "openclaw.outcome": "error"},
        {"action": "openclaw.message.processed", "status": "failed", "run_id": None},
    ),
    "OpenClaw webhook": ("openclaw.webhook.processed", {"openclaw.webhook": "update"}, {"action": "openclaw.webhook.processed"}),
    "OpenClaw session": (
        "openclaw.session.stuck",
        {"openclaw.ageMs": 5},
        {"action": "openclaw.session.stuck", "attributes": {"openclaw.ageMs": 5}},
    ),
    "a kind of ours": ("work", {"mc.kind": "tool", "tool.name": "x"}, {"action": "tool.call", "tool": "x"}),
    "a cost that is reported": ("chat", {"gen_ai.request.model": "m", "gen_ai.usage.cost": 0.25}, {"cost_usd": Decimal("0.250000")}),
    "counts that are none": (
        "chat",
        {"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": -1, "gen_ai.usage.output_tokens": "many"},
        {"tokens_in": None, "tokens_out": None},
    ),
    "counts as texts": ("chat", {"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": "12"}, {"tokens_in": 12}),
}


@pytest.mark.parametrize("what", EVENTS)
def test_a_span_of_each_convention(what: str) -> None:
    name, attributes, expected = EVENTS[what]
    event = event_of(span(name, attributes, **PARENT))
    if "attributes" in expected and event.payload is not None:
        # The fields that won are not repeated.
        assert set(expected["attributes"]) <= set(event.payload.get("attributes", {}))
        expected = {**expected, "attributes": {**event.payload["attributes"], **expected["attributes"]}}
    assert facts_of(event, expected) == expected


AGENTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "GenAI": (
        "invoke_agent desk",
        {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "desk",
            "gen_ai.usage.input_tokens": 5,
            "gen_ai.usage.output_tokens": 2,
        },
        {"actor": "desk", "tokens_in": 5, "tokens_out": 2, "success": True, "status": "completed", "adapter_kind": "otlp"},
    ),
    "GenAI, created": ("create_agent desk", {"gen_ai.operation.name": "create_agent", "gen_ai.agent.id": "a-1"}, {"actor": "a-1"}),
    "OpenInference": (
        "desk",
        {"openinference.span.kind": "AGENT", "agent.name": "desk", "input.value": "hi"},
        {"actor": "desk", "input": "hi"},
    ),
    "OpenInference chain at the top": ("chain", {"openinference.span.kind": "CHAIN", "output.value": "o"}, {"output": "o", "tier": "T1"}),
    "OpenLLMetry": (
        "desk.workflow",
        {"traceloop.span.kind": "workflow", "traceloop.entity.name": "desk", "traceloop.entity.input": '{"a": 1}'},
        {"actor": "desk", "input": '{"a": 1}'},
    ),
    "OpenClaw": (
        "openclaw.run",
        {"openclaw.channel": "slack", "openclaw.model": "m", "openclaw.provider": "p", "openclaw.outcome": "error"},
        {"model_id": "m", "provider": "p", "success": False, "adapter_kind": "openclaw"},
    ),
    "a model called without an agent": (
        "chat m",
        {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 4, "gen_ai.usage.output_tokens": 1},
        {"model_id": "m", "tokens_in": 4, "tier": "T1"},
    ),
    "ours": (
        "invoke_agent desk",
        {
            "gen_ai.operation.name": "invoke_agent",
            "mc.pack": "hr-ops-pack",
            "mc.pack_version": 3,
            "mc.digest": "sha256:0",
            "mc.arm": "challenger",
            "mc.rollout": "r-1",
            "mc.user_ref": "u-1",
            "mc.task_type": "leave",
            "mc.tier": "T2",
            "mc.root_task_id": "root-1",
            "mc.task_id": "task-1",
            "mc.success": False,
            "mc.format_passed": True,
            "mc.approval_passed": "false",
            "mc.retries": 2,
            "mc.safety_flags": ["pii"],
            "mc.checks": '{"ci_passed": true}',
            "mc.persona": "clerk",
            "mc.skill": "leave",
            "mc.cost_usd": "0.01",
        },
        {
            "pack": "hr-ops-pack",
            "pack_version": 3,
            "effective_digest": "sha256:0",
            "arm": "challenger",
            "rollout": "r-1",
            "user_ref": "u-1",
            "task_type": "leave",
            "tier": "T2",
            "root_task_id": "root-1",
            "success": False,
            "format_passed": True,
            "approval_passed": False,
            "retries": 2,
            "safety_flags": ["pii"],
            "checks": {"ci_passed": True},
            "persona": "clerk",
            "skill": "leave",
            "cost_usd": Decimal("0.010000"),
            "attributes": {"mc.task_id": "task-1"},
        },
    ),
}


@pytest.mark.parametrize("what", AGENTS)
def test_an_agents_span_is_a_run(what: str) -> None:
    name, attributes, expected = AGENTS[what]
    given = span(name, attributes)
    run = run_of(given)
    expected = {"run_id": f"{given['trace']}-{given['id']}", "task_id": given["id"], "final": False, "latency_ms": 1000, **expected}
    assert facts_of(run, expected) == expected
    assert event_of(given).run_id == run.run_id


def test_a_resource_speaks_for_all_its_spans_and_a_span_for_itself() -> None:
    given = span("invoke_agent", {"gen_ai.operation.name": "invoke_agent", "mc.pack": "own"})
    run = run_of(
        given, resource={"mc.pack": "shared", "mc.user_ref": "u-1", "mc.tenant": "acme", "gen_ai.request.model": "not of a resource"}
    )
    assert (run.pack, run.user_ref, run.tenant, run.model_id) == ("own", "u-1", "acme", None)
    assert run.metadata is not None and run.metadata["service"] == "desk"
