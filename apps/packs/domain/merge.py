"""The fold itself: every version of a chain onto the ones before it, block by block, by the rules of `domain.md` 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apps.packs.domain.extend import Contracts, Kpis, Model, Personality, Rubric, Sections
from apps.packs.domain.restrict import Autonomy, Constraints, Limits, Thresholds, Tools
from apps.packs.domain.steps import Breach, Out, Step
from apps.packs.domain.values import Span, VersionRef


class Merge:
    """A chain folded. The blocks keep which version imposes what; `breaches` are the versions' attempts to undo what an ancestor says."""

    def __init__(self, chain: Sequence[VersionRef]) -> None:
        self.chain = chain
        self.breaches: list[Breach] = []
        self.packs = [index for index, version in enumerate(chain) if version.kind == "domain"]
        self.sections, self.personality, self.rubric = Sections(), Personality(), Rubric()
        self.contracts, self.kpis, self.model = Contracts(), Kpis(), Model()
        self.tools, self.autonomy, self.limits = Tools(), Autonomy(), Limits()
        self.constraints = Constraints(self.tools, self.autonomy, self.limits)
        self.promotion, self.rollback = Thresholds("promotion"), Thresholds("rollback")
        for index in range(len(chain)):
            self._add(Step(chain, index, self.packs[:1] == [index], self.breaches))

    def _add(self, step: Step) -> None:
        says = step.chain[step.index].content
        self.sections.add(step, says.get("sections") or {})
        self.personality.add(step, says.get("personality"))
        self.rubric.add(step, says.get("rubric") or [])
        self.contracts.add(step, says.get("contracts") or {})
        self.kpis.add(step, says.get("kpis") or [])
        self.model.add(step, says.get("model") or {})
        self.tools.add(step, says.get("tools") or {})
        self.autonomy.add(step, says.get("autonomy") or {})
        self.limits.add(step, says.get("limits") or {})
        self.promotion.add(step, says.get("promotion") or {})
        self.rollback.add(step, says.get("rollback") or {})
        # Last, since a version's own constraints bind its descendants and what it allows is held to its ancestors' only.
        self.constraints.add(step, says.get("constraints") or [])

    def written(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, tuple[Span, ...]]]:
        """The effective content, its origins and the spans of its section texts (`Effective`)."""
        out = Out([version.origin for version in self.chain])
        spans: dict[str, tuple[Span, ...]] = {}
        content = {
            "sections": self.sections.emit(out, spans),
            "tools": self.tools.emit(out),
            "autonomy": self.autonomy.emit(out),
            "limits": self.limits.emit(out),
            "constraints": self.constraints.emit(out),
            "personality": self.personality.emit(out),
            "rubric": self.rubric.emit(out),
            "contracts": self.contracts.emit(out),
            "kpis": self.kpis.emit(out),
            "promotion": self.promotion.emit(out),
            "rollback": self.rollback.emit(out),
            "model": self.model.emit(out),
        }
        return content, out.origins, spans
