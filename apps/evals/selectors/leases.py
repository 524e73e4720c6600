"""Resolve's question: may this agent resolve this very version? Only while it holds a case of an evaluation of it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from apps.core.leases import register_lease_check
from apps.evals.models import EvalItem, EvalRun
from apps.packs.chains import facts_of, prefix_entries
from apps.packs.pointers import Entry, PackFacts


@dataclass(frozen=True, slots=True)
class VersionLease:
    """A live lease, as resolve reads it: the pack, and the chain cut after the layer under evaluation."""

    run: EvalRun

    def pack(self) -> PackFacts:
        return facts_of(self.run.layer)

    def entries(self) -> list[Entry]:
        return prefix_entries(self.run.layer, self.run.version)


def resolve_reference(run: EvalRun) -> str:
    """What `resolve?version=` takes under a lease of this run: its version, or the run itself where the baseline has no version."""
    return str(run.version_id or run.pk)


@register_lease_check
def live_lease(agent_id: UUID, version: str) -> VersionLease | None:
    """The lease that the agent holds on an unanswered case of this version (or of this evaluation run), if it has not lapsed."""
    try:
        reference = UUID(version)
    except ValueError:
        return None
    held = EvalItem.objects.filter(leased_to_id=agent_id, leased_until__gt=timezone.now(), answered_at__isnull=True)
    item = (
        held.filter(Q(eval_run__version_id=reference) | Q(eval_run_id=reference))
        .select_related("eval_run__version", "eval_run__layer__pack", "eval_run__layer__tenant", "eval_run__layer__agent__team")
        .first()
    )
    return VersionLease(item.eval_run) if item is not None else None
