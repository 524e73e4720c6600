"""An answer becomes a result: scored as it came, stored without its secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from apps.core.domain.redaction import Redactor
from apps.evals.domain.checks import score_output
from apps.evals.domain.pairing import answer_of
from apps.evals.models import EvalItem, EvalResult, EvalRun
from apps.evals.services.submission import MAX_RUN_ID, Answer
from apps.telemetry.selectors.rules import redactor_of


def score(run: EvalRun, item: EvalItem, answer: Answer, content: Mapping[str, Any], *, agent_id: UUID | None) -> EvalResult:
    """The result of one answer, not saved yet. `content` is the effective pack that was answered with: its contracts and tools are what the
    checks without parameters of their own hold the answer to."""
    case = item.case
    told = {
        "latency_ms": answer.latency_ms,
        "cost_micros": answer.cost_micros,
        "tokens_in": answer.tokens_in,
        "tokens_out": answer.tokens_out,
        "tools": answer.tools,
        "success": answer.success,
        "tool_policy": content.get("tools"),
        "contract": (content.get("contracts") or {}).get(case.task_type),
    }
    facts = {name: value for name, value in told.items() if value is not None}
    expectations = {"input": case.input, "expected": case.expected, "tags": case.tags}
    scored = score_output(run.rubric, output=answer.output, case=expectations, facts=facts)
    dimensions = answer_of(case.pk, answer.repeat, scored).dimensions
    redactor = redactor_of(run.tenant_id)
    failed = [result for result in scored.results if result.passed is False]
    return EvalResult(
        tenant_id=run.tenant_id,
        eval_run=run,
        item=item,
        case=case,
        repeat=item.repeat,
        run_id=_reference(redactor, answer.run_id),
        agent_id=agent_id,
        output=redactor.redact_text(answer.output)[0],
        latency_ms=answer.latency_ms,
        cost_micros=answer.cost_micros,
        tokens_in=answer.tokens_in,
        tokens_out=answer.tokens_out,
        deterministic_score=scored.score,
        safety_passed=dimensions.get("safety"),
        format_passed=dimensions.get("format"),
        comments=redactor.redact_text("\n".join(f"{result.id}: {result.detail}" for result in failed))[0],
        # Keys are ids of checks, which may be named after the secrets that they look for.
        detail={check: redactor.redact_json(told)[0] for check, told in scored.detail().items()},
    )


def same_answer(answer: Answer, known: EvalResult | Answer) -> bool:
    """Whether an answer says what is known already, as far as it is stored."""
    if isinstance(known, Answer):
        return answer == known
    stored = (known.output, known.run_id, known.latency_ms, known.cost_micros, known.tokens_in, known.tokens_out)
    redactor = redactor_of(known.tenant_id)
    output, run_id = redactor.redact_text(answer.output)[0], _reference(redactor, answer.run_id)
    return stored == (output, run_id, answer.latency_ms, answer.cost_micros, answer.tokens_in, answer.tokens_out)


def _reference(redactor: Redactor, run_id: str) -> str:
    """A run's id as its result keeps it."""
    return redactor.reference(run_id)[0][:MAX_RUN_ID]
