"""What the pages of runs, events and scores have in common."""

from __future__ import annotations

from unfold.paginator import InfinitePaginator

from apps.core.admin import GovernedAdmin, filters
from apps.telemetry.models import Tier

TIER = filters.values("tier", "tier", [(tier, tier) for tier in Tier.values])
AGENT = filters.related("agent", "identity.Agent", "agent")


class ReportedAdmin(GovernedAdmin):
    """Millions of rows: pages are not counted, look-ups are by indexed keys."""

    paginator = InfinitePaginator
    show_full_result_count = False
    audited = False
    list_select_related = ("agent",)
