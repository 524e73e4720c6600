"""What was measured of the two arms of a promotion, and which of it counts.

Evidence counts only for the *prefix digest* it was made on (`domain.md` 6): the effective digest of the chain cut after the challenger's
layer. It comes in batches, one for each evaluation or online window, so that what doesn't count is dropped whole and by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from apps.promotions.domain.stats import mean

VALIDATION = "validation"


@dataclass(frozen=True, slots=True)
class Arm:
    """One side of the comparison as it stands now. `prompt_tokens` is the size of its prefix's prompt. The champion's arm of a layer
    without a champion is the effective pack without this layer."""

    prefix_digest: str
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class PairedCase:
    """One case answered by both arms, repeats folded (a check fails by majority, a hard safety check by any failing repeat).

    Scores are points 0..100; `champion_score` is None where there is no champion's answer. `*_failed` are the ids of the failed checks by
    dimension, `*_hard_failed` those of failed `hard` checks of any dimension. `label` is what people call the case.
    """

    case_id: str
    challenger_score: float
    champion_score: float | None = None
    challenger_failed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    champion_failed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    challenger_hard_failed: frozenset[str] = frozenset()
    champion_hard_failed: frozenset[str] = frozenset()
    split: str = VALIDATION
    label: str = ""

    @property
    def name(self) -> str:
        return self.label or self.case_id


@dataclass(frozen=True, slots=True)
class Measured:
    """What one arm showed in one batch: latencies in ms, costs in micro-dollars, voice scores in points, and, of online evidence, the
    number of final runs and of different units."""

    latencies_ms: Sequence[int] = ()
    costs_micros: Sequence[int] = ()
    voice_scores: Sequence[float] = ()
    runs: int = 0
    units: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """The evidence of one evaluation (`evaluation`, both arms' runs together) or of one online window, with the ids it is filed under."""

    evidence_ids: tuple[str, ...]
    challenger_prefix: str
    champion_prefix: str | None = None
    cases: Sequence[PairedCase] = ()
    challenger: Measured = Measured()
    champion: Measured = Measured()
    evaluation: bool = True
    completed: bool = True


@dataclass(frozen=True, slots=True)
class Dropped:
    """Evidence that doesn't count, and why, for a person."""

    evidence_ids: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A case over all batches: the mean of its scores on either side."""

    case_id: str
    challenger: float
    champion: float | None


@dataclass(frozen=True, slots=True)
class Counted:
    """The evidence that counts: its batches, what was dropped, and whether there is a champion to pair with."""

    batches: tuple[Batch, ...]
    dropped: tuple[Dropped, ...]
    paired: bool

    @property
    def cases(self) -> tuple[PairedCase, ...]:
        """All cases of all splits; with a champion only those both arms answered."""
        return tuple(case for batch in self.batches for case in batch.cases if not self.paired or case.champion_score is not None)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The validation cases, each once: a case that was evaluated again is no new case."""
        cases = sorted((case for case in self.cases if case.split == VALIDATION), key=lambda case: case.case_id)
        return tuple(_pair(case_id, list(group)) for case_id, group in groupby(cases, key=lambda case: case.case_id))

    @property
    def runs(self) -> int:
        """Online runs of the arm that has fewer."""
        return self._fewer(sum(b.challenger.runs for b in self.batches), sum(b.champion.runs for b in self.batches))

    @property
    def units(self) -> int:
        """Units of the arm that has fewer. Units may recur from batch to batch, so the largest batch is what is certain."""
        most = [max((measured.units for measured in arm), default=0) for arm in self._arms()]
        return self._fewer(*most)

    @property
    def completed_evaluations(self) -> int:
        return sum(1 for batch in self.batches if batch.evaluation and batch.cases)

    def values(self, name: str) -> tuple[list[float], list[float]]:
        """All values of one of `Measured`'s sequences: the challenger's, the champion's."""
        challenger, champion = ([value for measured in arm for value in getattr(measured, name)] for arm in self._arms())
        return challenger, champion

    def ids_with(self, name: str) -> tuple[str, ...]:
        """The evidence ids of the batches that hold cases (`cases`) or one of `Measured`'s fields, in order, each once."""
        holding = (b for b in self.batches if (b.cases if name == "cases" else getattr(b.challenger, name) or getattr(b.champion, name)))
        return tuple(dict.fromkeys(evidence_id for batch in holding for evidence_id in batch.evidence_ids))

    def _arms(self) -> tuple[list[Measured], list[Measured]]:
        return [batch.challenger for batch in self.batches], [batch.champion for batch in self.batches]

    def _fewer(self, challenger: int, champion: int) -> int:
        return min(challenger, champion) if self.paired else challenger


@dataclass(frozen=True, slots=True)
class Evidence:
    """All there is, also what no longer counts."""

    batches: Sequence[Batch] = ()

    def counting(self, challenger: Arm, champion: Arm | None) -> Counted:
        """What counts for these two arms as they stand now."""
        counted, dropped = [], []
        for batch in self.batches:
            why = _why_not(batch, challenger, champion)
            if why is None:
                counted.append(batch)
            else:
                dropped.append(Dropped(batch.evidence_ids, why))
        return Counted(tuple(counted), tuple(dropped), champion is not None)


def _pair(case_id: str, cases: Sequence[PairedCase]) -> Pair:
    champion = [case.champion_score for case in cases if case.champion_score is not None]
    return Pair(case_id, mean([case.challenger_score for case in cases]), mean(champion) if champion else None)


def _why_not(batch: Batch, challenger: Arm, champion: Arm | None) -> str | None:
    name = f"{'Evaluation' if batch.evaluation else 'Online evidence'} {' and '.join(batch.evidence_ids)}"
    if batch.challenger_prefix != challenger.prefix_digest:
        made, now = _short(batch.challenger_prefix), _short(challenger.prefix_digest)
        return f"{name} was made on another prefix of the challenger ({made}, now {now}); evaluate again."
    if champion is not None and batch.champion_prefix is None:
        return f"{name} has no answers of the champion; evaluate both."
    if champion is not None and batch.champion_prefix != champion.prefix_digest:
        made, now = _short(batch.champion_prefix or ""), _short(champion.prefix_digest)
        return f"{name} was made on another prefix of the champion ({made}, now {now}); evaluate again."
    return None if batch.completed else f"{name} is not complete yet."


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
