"""What a simulated run looks like in telemetry: the fields of the portal's contract, made of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from apps.demo.simulate import Answer, chance
from apps.evals.domain.checks import run_check
from apps.evals.domain.schemas import schema_violation

CHUNK = 600
_FORMAT = {"id": "contract", "check": "json_schema", "weight": 1, "dimension": "format"}
APPROVED_PERCENT = 94
RETRIED_PERCENT = 12


def usd(micros: int) -> str:
    """Micro-dollars as a decimal string of US dollars."""
    return f"{Decimal(micros).scaleb(-6):f}"


def format_holds(content: Mapping[str, Any], task_type: str, output: str) -> bool | None:
    """Whether the output keeps the pack's contract for the task type; None where there is none."""
    contract = (content.get("contracts") or {}).get(task_type)
    if contract is None:
        return None
    if contract.get("type") == "string":
        # The output is text of a certain form, not JSON.
        return schema_violation(output, contract) is None
    return run_check(_FORMAT, output=output, case={}, facts={"contract": contract}).passed


def pack_version(served: Mapping[str, Any]) -> int | None:
    """The number of the pack's own version that stands nearest to the agent."""
    own = [entry["version"] for entry in served["lineage"] if entry["kind"] == "domain"]
    return own[-1] if own else None


def run_item(
    run_id: str, served: Mapping[str, Any], answer: Answer, *, task_type: str, user: str, asked: str, now: datetime | None = None
) -> dict[str, Any]:
    """A finished run that ends now. `served` is what resolve answered."""
    ended = now or datetime.now(UTC)
    provider, _, model = answer.model.partition("/")
    item: dict[str, Any] = {
        "run_id": run_id,
        "root_task_id": run_id,
        "task_id": f"{run_id}-1",
        "started_at": (ended - timedelta(milliseconds=answer.latency_ms)).isoformat(),
        "ended_at": ended.isoformat(),
        "created_at": ended.isoformat(),
        "pack": served["pack"],
        "pack_version": pack_version(served),
        "effective_digest": served["digest"],
        "arm": served["arm"],
        "rollout": served["rollout"],
        "task_type": task_type,
        "tier": "T1",
        "adapter_kind": "simulated",
        "provider": provider or None,
        "model_id": model or None,
        "user_ref": user or None,
        "mcp_servers": sorted({tool.partition(".")[0] for tool in (*answer.tools, *answer.asked)}) or None,
        "status": "completed" if answer.success else "failed",
        "success": answer.success,
        "error_code": answer.error_code,
        "retries": int(not answer.success and chance(run_id, "retry") < RETRIED_PERCENT * 100),
        "latency_ms": answer.latency_ms,
        "tokens_in": answer.tokens_in,
        "tokens_out": answer.tokens_out,
        "cost_usd": usd(answer.cost_micros),
        "format_passed": format_holds(served["content"], task_type, answer.output),
        "approval_passed": approved(run_id) if answer.asked else None,
        "safety_flags": [f"tool_refused:{tool}" for tool in answer.refused] or None,
        "checks": answer.checks or None,
        "input": asked,
        "output": answer.output,
    }
    return {name: value for name, value in item.items() if value is not None}


def approved(run_id: str) -> bool:
    """What the person said whom the simulated agent asked."""
    return chance(run_id, "approval") < APPROVED_PERCENT * 100


def event_items(run_id: str, answer: Answer, *, now: datetime | None = None) -> list[dict[str, Any]]:
    """The steps of the run, oldest first: tools called, approvals asked for, the output in chunks."""
    steps: list[dict[str, Any]] = [
        {"action": "tool_call", "status": "completed", "mcp_server": tool.partition(".")[0], "mcp_tool": tool, "latency_ms": 180}
        for tool in answer.tools
    ]
    said = "approved" if approved(run_id) else "declined"
    steps += [{"action": "approval_requested", "status": said, "mcp_server": t.partition(".")[0], "mcp_tool": t} for t in answer.asked]
    chunks = [answer.output[start : start + CHUNK] for start in range(0, len(answer.output), CHUNK)]
    steps += [{"action": "output", "status": "completed", "message": chunk} for chunk in chunks]
    at = (now or datetime.now(UTC)).isoformat()
    shared = {"run_id": run_id, "root_task_id": run_id, "task_id": f"{run_id}-1", "tier": "T1", "created_at": at}
    return [{"event_id": f"{run_id}-{seq}", "seq": seq, **shared, **step} for seq, step in enumerate(steps, 1)]
