"""The evidence of a promotion, in the words of the gate."""

from __future__ import annotations

from dataclasses import asdict

from apps.core.errors import Problem
from apps.evals.selectors.evidence import CaseEvidence, Evaluation, paired_evidence
from apps.packs.chains import Pictures
from apps.packs.selectors import champion_of
from apps.promotions.domain.evidence import Batch, Evidence, Measured, PairedCase
from apps.promotions.models import Promotion


def evidence_of(promotion: Promotion, pictures: Pictures | None = None) -> Evidence:
    """All evaluations of the two arms; which of them count is the gate's question. None while the challenger cannot be served at all."""
    layer = promotion.layer
    try:
        found = paired_evidence(layer=layer, champion=champion_of(layer), challenger=promotion.challenger, pictures=pictures)
    except Problem:
        return Evidence()
    return Evidence([_batch(evaluation) for evaluation in found.evaluations if not evaluation.failed])


def _batch(evaluation: Evaluation) -> Batch:
    return Batch(
        evidence_ids=evaluation.run_ids,
        challenger_prefix=evaluation.challenger_prefix,
        champion_prefix=evaluation.champion_prefix,
        cases=[_case(case) for case in evaluation.cases],
        challenger=Measured(**asdict(evaluation.challenger)),
        champion=Measured(**asdict(evaluation.champion)),
        completed=evaluation.completed,
    )


def _case(case: CaseEvidence) -> PairedCase:
    return PairedCase(**{name: getattr(case, name) for name in CaseEvidence.__slots__})
