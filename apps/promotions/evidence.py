"""The evidence of a promotion, from what evals has."""

from __future__ import annotations

from apps.promotions.domain.evidence import Evidence
from apps.promotions.models import Promotion


def evidence_of(promotion: Promotion) -> Evidence:
    return Evidence()
