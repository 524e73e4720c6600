"""What a span becomes: an event, and a run when it is an agent's (`domain.md` 4). A pure function of the span alone.

So the same span gives the same items however it was batched, and what is sent again is a duplicate. What only its neighbours know (the run
that a step is in, how deep an agent stands) is `tree`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apps.core.domain.redaction import redact_text
from apps.telemetry.domain.items import MAX_OBJECT_BYTES, MAX_TEXT_BYTES, EventItem, RunItem
from apps.telemetry.domain.otlp import names
from apps.telemetry.domain.otlp.messages import messages_of
from apps.telemetry.domain.otlp.spans import Span
from apps.telemetry.domain.otlp.values import (
    count_of,
    dollars_of,
    moment,
    name_of,
    names_of,
    object_of,
    plain,
    shortened,
    small,
    text_of,
    truth_of,
)

# Of an attribute that has no field of its own this many characters are kept, and of all of them together this many bytes.
MAX_ATTRIBUTE = 1024
MAX_ATTRIBUTES_BYTES = 6 * 1024
# Of the text that went in this much stands beside an event; a run keeps all of it.
MAX_INPUT_BYTES = 4 * 1024
MAX_SMALL_INT = 2**31 - 1
# What events and runs have under the same name; the last three are claims.
_NAMES = ("actor", "provider", "model_id", "persona", "skill", "tenant", "team", "agent")
_OF_RUNS = ("user_ref", "pack", "effective_digest", "arm", "rollout", "task_type")
_COUNTS = ("tokens_in", "tokens_out", "tokens_total", "cached_tokens", "cache_write_tokens", "reasoning_tokens")


@dataclass(slots=True)
class Mapped:
    """A stored span: its event, its run if it is one, and which of their texts were cut."""

    span: Span
    kind: str
    root: str
    event: EventItem
    run: RunItem | None
    cut: tuple[str, ...]


def resource_facts(resource: Any) -> dict[str, Any]:
    """What a resource says of all its spans, by meaning."""
    return {names.TARGETS[key][0]: value for key, value in resource.items() if key in names.OF_RESOURCE}


def map_span(span: Span, shared: dict[str, Any]) -> Mapped | None:
    """None for a span that has nothing to do with agents (HTTP, database, …). `shared` are the facts of its resource."""
    facts, rest, numbered = _facts(span)
    kind = _kind(span, facts)
    if kind is None:
        return None
    if shared:
        facts = {**shared, **facts}
    cut: set[str] = set()
    item_id = f"{span.trace}-{span.id}"
    root = _root(facts, span)
    model = _usage(facts)
    failed, error, what = _failure(span, facts, cut)
    named = {name: name_of(facts[name], cut, name) for name in _NAMES if name in facts}
    said = messages_of(span, facts, numbered)
    is_run = kind == names.AGENT or (not span.parent and kind in names.RUN_WHEN_ROOT)
    common: dict[str, Any] = {
        "root_task_id": root,
        "task_id": span.id,
        "tier": facts.get("tier") if facts.get("tier") in ("T1", "T2", "T3") else None,
        "status": "failed" if failed else "completed",
        "latency_ms": max(0, span.end_ns - span.start_ns) // 1_000_000,
        "tokens_in": model.get("tokens_in"),
        "tokens_out": model.get("tokens_out"),
        "cost_usd": dollars_of(facts["cost_usd"]) if "cost_usd" in facts else None,
        "created_at": moment(span.start_ns),
        **named,
    }
    about = _about(span, kind, facts, rest, cut)
    run = _run(span, item_id, facts, common, model, failed, error, said, about, cut) if is_run else None
    payload: dict[str, Any] = dict(about)
    for name in ("cached_tokens", "cache_write_tokens", "reasoning_tokens", "tokens_total"):
        if name in model:
            payload[name] = model[name]
    message = what
    if not is_run:
        if (given := text_of(said.get("input"))) is not None:
            payload["input"] = shortened(given, MAX_INPUT_BYTES, cut, "input")
        if (given := text_of(said.get("output"))) is not None:
            if message is None:
                message = given
            else:
                payload["output"] = shortened(given, MAX_INPUT_BYTES, cut, "output")
    if error is not None:
        payload["error"] = error
    event = EventItem(
        event_id=item_id,
        action=_action(span, kind, facts),
        run_id=item_id if is_run else None,
        phase=name_of(facts.get("operation") or facts.get("openinference") or facts.get("traceloop"), cut, "phase"),
        message=None if message is None else shortened(message, MAX_TEXT_BYTES, cut, "message"),
        mcp_server=_server(kind, facts, cut),
        mcp_tool=name_of(facts.get("tool"), cut, "tool") if kind == names.MCP or "mcp_server" in facts else None,
        payload=payload,
        **common,
    )
    if cut:
        payload["cut"] = about["cut"] = sorted(cut)
    return Mapped(span, kind, root, event, run, tuple(sorted(cut)))


def _facts(span: Span) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The attributes by meaning (the best name of each), those without one, and those of numbered messages."""
    facts: dict[str, Any] = {}
    ranks: dict[str, int] = {}
    rest: dict[str, Any] = {}
    numbered: dict[str, Any] = {}
    for key, value in span.attributes.items():
        target = names.TARGETS.get(key)
        if target is None:
            (numbered if key.startswith(names.NUMBERED_PREFIXES) else rest)[key] = value
            continue
        meaning, rank = target
        if value is None or value == "":
            continue
        if meaning not in facts:
            facts[meaning], ranks[meaning] = value, rank
        elif rank < ranks[meaning]:
            if facts[meaning] != value:
                rest[names.MEANINGS[meaning][ranks[meaning]]] = facts[meaning]
            facts[meaning], ranks[meaning] = value, rank
        elif facts[meaning] != value:
            rest[key] = value
    return facts, rest, numbered


def _kind(span: Span, facts: dict[str, Any]) -> str | None:
    for meaning in ("kind", "operation", "openinference", "traceloop", "request_type"):
        said = facts.get(meaning)
        if isinstance(said, str):
            found = names.KINDS[meaning].get(said.lower())
            if found is not None:
                if meaning == "openinference" and said.lower() == "chain" and not span.parent:
                    return names.AGENT
                return names.MCP if found == names.TOOL and "mcp_method" in facts else found
            if meaning != "kind":
                # A custom operation: a step of an agent all the same.
                return names.STEP
    if "mcp_method" in facts:
        return names.MCP
    if span.name.startswith("openclaw."):
        return names.OPENCLAW_KINDS.get(span.name, names.OPENCLAW)
    for meaning, kind in names.BY_MEANING:
        if meaning in facts:
            return kind
    return names.AGENT if "gen_ai.agent.name" in span.attributes or "gen_ai.agent.id" in span.attributes else None


def _root(facts: dict[str, Any], span: Span) -> str:
    """The harness's own root task if it names one that may be kept, else the trace."""
    given = facts.get("root_task_id")
    if isinstance(given, str) and 0 < len(given) <= 200 and "\0" not in given and not set(redact_text(given)[1]) - {"card_number"}:
        return given
    return span.trace


def _usage(facts: dict[str, Any]) -> dict[str, int]:
    """Token counts by `domain.md` 8: input includes cached, output includes reasoning."""
    found: dict[str, int] = {}
    for name in _COUNTS:
        if name in facts and (count := count_of(facts[name])) is not None:
            found[name] = count
    if "tokens_in" not in found and (fresh := count_of(facts.get("openclaw_in"))) is not None:
        found["tokens_in"] = fresh + found.get("cached_tokens", 0) + found.get("cache_write_tokens", 0)
    total = found.get("tokens_total")
    if total is not None:
        if "tokens_in" in found and "tokens_out" not in found and total >= found["tokens_in"]:
            found["tokens_out"] = total - found["tokens_in"]
        elif "tokens_out" in found and "tokens_in" not in found and total >= found["tokens_out"]:
            found["tokens_in"] = total - found["tokens_out"]
    return found


def _failure(span: Span, facts: dict[str, Any], cut: set[str]) -> tuple[bool, str | None, str | None]:
    """Whether the span failed, the code of its error, and what it says of it."""
    error = name_of(facts.get("error"), cut, "error")
    what = plain(span.problem) if span.problem else None
    failed = span.failed or error is not None or facts.get("outcome") in ("error", "failed")
    for name, attributes in span.events:
        if name == "exception":
            if failed:
                error = error or name_of(attributes.get("exception.type"), cut, "error")
                what = what or text_of(attributes.get("exception.message"))
            break
    return failed, error if failed else None, what if failed else None


def _about(span: Span, kind: str, facts: dict[str, Any], rest: dict[str, Any], cut: set[str]) -> dict[str, Any]:
    """What of a span has no field of its own: the place in the tree, names, the other attributes, exceptions."""
    about: dict[str, Any] = {"span": name_of(span.name, cut, "span"), "kind": kind}
    if span.parent:
        about["parent_task_id"] = span.parent
    if span.scope:
        about["scope"] = name_of(span.scope, cut, "scope")
    if service := span.resource.get("service.name"):
        about["service"] = name_of(service, cut, "service")
    if kind in (names.TOOL, names.MCP) and (tool := facts.get("tool") or facts.get("actor")):
        about["tool"] = name_of(tool, cut, "tool")
    if method := facts.get("mcp_method"):
        about["mcp_method"] = name_of(method, cut, "mcp_method")
    thrown = [
        small({key: attributes.get(f"exception.{key}") for key in ("type", "message", "stacktrace")}, MAX_ATTRIBUTE, cut, "exceptions")
        for name, attributes in span.events
        if name == "exception"
    ]
    if thrown:
        about["exceptions"] = thrown[:3]
    if rest:
        about["attributes"] = _kept(rest, cut)
    return about


def _kept(rest: dict[str, Any], cut: set[str]) -> dict[str, Any]:
    """Of the other attributes as many as there is room for."""
    kept: dict[str, Any] = {}
    left = MAX_ATTRIBUTES_BYTES
    for key, value in rest.items():
        found: Any
        if type(value) is str and len(value) <= MAX_ATTRIBUTE and value.isascii() and "\0" not in value:
            found, size = value, len(value)
        elif type(value) is int and abs(value) < 2**63:
            found, size = value, 20
        else:
            found = small(value, MAX_ATTRIBUTE, cut, "attributes")
            size = 4 * len(found) if isinstance(found, str) else len(str(found)) + 8
        left -= size + len(key)
        if left < 0 or len(key) > 200:
            cut.add("attributes")
            break
        kept[plain(key)] = found
    return kept


def _action(span: Span, kind: str, facts: dict[str, Any]) -> str:
    if kind == names.OPENCLAW:
        return plain(span.name)[:200]
    return names.ACTIONS[kind]


def _server(kind: str, facts: dict[str, Any], cut: set[str]) -> str | None:
    given = facts.get("mcp_server") or (facts.get("address") if kind == names.MCP else None)
    return name_of(given, cut, "mcp_server")


def _run(
    span: Span,
    item_id: str,
    facts: dict[str, Any],
    common: dict[str, Any],
    model: dict[str, int],
    failed: bool,
    error: str | None,
    said: dict[str, Any],
    about: dict[str, Any],
    cut: set[str],
) -> RunItem:
    """The run of an agent's span. It is not final: what its calls add up to is known when the trace has come to rest."""
    success = truth_of(facts.get("success"))
    given, answered = text_of(said.get("input")), text_of(said.get("output"))
    checks = object_of(facts.get("checks"), MAX_OBJECT_BYTES // 4)
    if checks is None and "checks" in facts:
        cut.add("checks")
    ended = moment(max(span.end_ns, span.start_ns))
    named: dict[str, Any] = {**common, "created_at": ended}
    for name in _OF_RUNS:
        if name in facts:
            named[name] = name_of(facts[name], cut, name)
    return RunItem(
        run_id=item_id,
        started_at=common["created_at"],
        final=False,
        ended_at=ended,
        pack_version=count_of(facts.get("pack_version"), MAX_SMALL_INT),
        adapter_kind=name_of(facts.get("adapter_kind"), cut, "adapter_kind")
        or ("openclaw" if span.name.startswith("openclaw.") else "otlp"),
        cached_tokens=model.get("cached_tokens"),
        cache_write_tokens=model.get("cache_write_tokens"),
        reasoning_tokens=model.get("reasoning_tokens"),
        success=not failed if success is None else success,
        error_code=error,
        retries=count_of(facts.get("retries"), MAX_SMALL_INT),
        format_passed=truth_of(facts.get("format_passed")),
        approval_passed=truth_of(facts.get("approval_passed")),
        safety_flags=names_of(facts["safety_flags"], cut, "safety_flags") if "safety_flags" in facts else None,
        checks=None if checks is None else small(checks, MAX_ATTRIBUTE, cut, "checks"),
        input=None if given is None else shortened(given, MAX_TEXT_BYTES, cut, "input"),
        output=None if answered is None else shortened(answered, MAX_TEXT_BYTES, cut, "output"),
        metadata=about,
        **named,
    )
