"""The attribute names of each convention, and what they mean here. Of several names for one meaning the first given wins.

Sources: OpenTelemetry GenAI and MCP semantic conventions (semantic-conventions-genai, schema 1.42) and their earlier names (up to 1.36),
OpenInference (openinference-semantic-conventions), OpenLLMetry (Traceloop's semconv_ai), OpenClaw's diagnostics-otel, and our own `mc.*`.
"""

from __future__ import annotations

MEANINGS: dict[str, tuple[str, ...]] = {
    # What the span is
    "operation": ("gen_ai.operation.name",),
    "openinference": ("openinference.span.kind",),
    "traceloop": ("traceloop.span.kind",),
    "request_type": ("llm.request.type",),
    "kind": ("mc.kind",),
    "mcp_method": ("mcp.method.name", "mcp.method"),
    # Model and usage
    "provider": ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "llm.vendor", "openclaw.provider"),
    "model_id": (
        *("gen_ai.response.model", "gen_ai.request.model", "llm.model_name", "embedding.model_name", "reranker.model_name"),
        *("llm.response.model", "llm.request.model", "openclaw.model"),
    ),
    "tokens_in": (*("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt", "llm.usage.prompt_tokens"),),
    "tokens_out": (
        *("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion", "llm.usage.completion_tokens"),
        "openclaw.tokens.output",
    ),
    "tokens_total": ("gen_ai.usage.total_tokens", "llm.token_count.total", "llm.usage.total_tokens", "openclaw.tokens.total"),
    "cached_tokens": (
        *("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens", "gen_ai.usage.details.cache_read_tokens"),
        *("llm.token_count.prompt_details.cache_read", "llm.usage.cache_read_input_tokens", "openclaw.tokens.cache_read"),
    ),
    "cache_write_tokens": (
        *("gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_creation_input_tokens"),
        *("gen_ai.usage.details.cache_write_tokens", "llm.token_count.prompt_details.cache_write"),
        *("llm.usage.cache_creation_input_tokens", "openclaw.tokens.cache_write"),
    ),
    "reasoning_tokens": (
        *("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens", "gen_ai.usage.details.reasoning_tokens"),
        *("llm.token_count.completion_details.reasoning", "llm.usage.reasoning_tokens"),
    ),
    # OpenClaw counts what came from, or went to, a cache apart from its input.
    "openclaw_in": ("openclaw.tokens.input",),
    "cost_usd": ("mc.cost_usd", "gen_ai.usage.cost", "llm.cost.total"),
    # Who and what
    "actor": (
        *("gen_ai.agent.name", "agent.name", "traceloop.entity.name", "gen_ai.workflow.name", "traceloop.workflow.name"),
        *("gen_ai.agent.id", "openclaw.agent", "openclaw.agent.id", "graph.node.id"),
    ),
    "tool": ("gen_ai.tool.name", "tool.name", "mcp.tool.name", "mcp.tool", "openclaw.toolName", "openclaw.tool.name"),
    "mcp_server": ("mcp.server.name", "mcp.server", "mcp.server_name"),
    "address": ("server.address",),
    "user_ref": ("mc.user_ref", "enduser.id", "user.id"),
    "error": ("error.type", "openclaw.errorCategory"),
    "outcome": ("openclaw.outcome",),
    # Texts
    "input": (
        *("gen_ai.input.messages", "gen_ai.tool.call.arguments", "input.value", "traceloop.entity.input", "gen_ai.prompt"),
        *("openclaw.content.input_messages", "openclaw.content.tool_input", "mcp.request.argument"),
    ),
    "output": (
        *("gen_ai.output.messages", "gen_ai.tool.call.result", "output.value", "traceloop.entity.output", "gen_ai.completion"),
        *("openclaw.content.output_messages", "openclaw.content.tool_output", "mcp.response.value"),
    ),
    # Our own, and what they claim (compared with the token, never believed)
    **{
        meaning: (f"mc.{meaning}",)
        for meaning in (
            *("pack", "pack_version", "arm", "rollout", "task_type", "tier", "root_task_id", "persona", "skill", "success", "retries"),
            *("format_passed", "approval_passed", "safety_flags", "checks", "adapter_kind", "tenant", "team", "agent"),
        )
    },
    "effective_digest": ("mc.digest", "mc.effective_digest"),
}
# Attribute -> (meaning, rank among its names).
TARGETS: dict[str, tuple[str, int]] = {name: (meaning, rank) for meaning, names in MEANINGS.items() for rank, name in enumerate(names)}
# What a resource says of all its spans: of the others only what is ours.
OF_RESOURCE = frozenset({*(name for name in TARGETS if name.startswith("mc.") and name != "mc.kind"), "enduser.id", "user.id"})

# Messages that stand in numbered attributes: `<prefix>.<number>.<rest>`.
NUMBERED = {
    "gen_ai.prompt.": "input",
    "gen_ai.completion.": "output",
    "llm.prompts.": "input",
    "llm.completions.": "output",
    "llm.input_messages.": "input",
    "llm.output_messages.": "output",
}
NUMBERED_PREFIXES = tuple(NUMBERED)
# Events of a span that carry messages, and what they are.
MESSAGE_EVENTS = {
    "gen_ai.system.message": "input",
    "gen_ai.user.message": "input",
    "gen_ai.assistant.message": "input",
    "gen_ai.tool.message": "input",
    "gen_ai.choice": "output",
    "gen_ai.content.prompt": "input",
    "gen_ai.content.completion": "output",
    "gen_ai.client.inference.operation.details": "",
}

# What a span is by its operation, OpenInference kind, Traceloop kind, request type or our own word.
AGENT, LLM, EMBEDDING, TOOL, MCP, STEP, RETRIEVAL, MEMORY, OPENCLAW = (
    *("agent", "llm", "embedding", "tool", "mcp", "step", "retrieval", "memory", "openclaw"),
)
KINDS: dict[str, dict[str, str]] = {
    "kind": {kind: kind for kind in (AGENT, LLM, EMBEDDING, TOOL, MCP, STEP, RETRIEVAL, MEMORY)},
    "operation": {
        **dict.fromkeys(("invoke_agent", "create_agent", "invoke_workflow"), AGENT),
        **dict.fromkeys(("chat", "text_completion", "generate_content"), LLM),
        "embeddings": EMBEDDING,
        "execute_tool": TOOL,
        "plan": STEP,
        "retrieval": RETRIEVAL,
        **{f"{act}_memory": MEMORY for act in ("create", "search", "update", "upsert", "delete")},
        **dict.fromkeys(("create_memory_store", "delete_memory_store"), MEMORY),
    },
    "openinference": {
        "agent": AGENT,
        "llm": LLM,
        "embedding": EMBEDDING,
        "tool": TOOL,
        "retriever": RETRIEVAL,
        **dict.fromkeys(("chain", "reranker", "guardrail", "evaluator", "prompt", "unknown"), STEP),
    },
    "traceloop": {"workflow": AGENT, "agent": AGENT, "task": STEP, "tool": TOOL},
    "request_type": {"chat": LLM, "completion": LLM, "embedding": EMBEDDING, "rerank": STEP},
}
# Spans of OpenClaw by name; the others of that prefix are events of the gateway.
OPENCLAW_KINDS = {
    "openclaw.run": AGENT,
    "openclaw.agent.turn": AGENT,
    "openclaw.model.usage": LLM,
    "openclaw.model.call": LLM,
    "openclaw.tool.execution": TOOL,
}
# What is asked of a span that says no kind: the first meaning it has tells.
BY_MEANING = (("tool", TOOL), ("model_id", LLM), ("tokens_in", LLM), ("provider", LLM))
# `action` of an event by kind.
ACTIONS = {
    AGENT: "agent.run",
    LLM: "llm.call",
    EMBEDDING: "llm.embedding",
    TOOL: "tool.call",
    MCP: "mcp.call",
    STEP: "step",
    RETRIEVAL: "retrieval",
    MEMORY: "memory",
}
# A call of a model: its tokens count for the run it is in.
CALLS = frozenset({ACTIONS[LLM], ACTIONS[EMBEDDING]})
# Without a parent these are a run of their own: nothing above them can be one.
RUN_WHEN_ROOT = frozenset({LLM, STEP, EMBEDDING})
