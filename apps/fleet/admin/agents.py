"""On the page of an agent: its harnesses, what it suggested, and the acts that steer it."""

from __future__ import annotations

from django.utils import timezone

from apps.core.admin import Relatives, cells, columns, extend
from apps.core.admin.columns import Column
from apps.fleet.admin.orders import agent_acts
from apps.fleet.models import Harness, Suggestion
from apps.identity.models import Agent

extend(
    Agent,
    acts=agent_acts(),
    relatives=[
        Relatives(
            "Harnesses",
            lambda ctx, agent: Harness.objects.restrict(ctx).filter(agent=agent).order_by("-last_seen_at"),
            (
                columns.itself("Process"),
                Column("State", lambda row: cells.badge(row.state(timezone.now()))),
                columns.text("status", "Says", order=False),
                Column("Should resolve again", lambda row: cells.words(row.stale)),
                columns.moment("last_seen_at", "Last seen", order=False),
            ),
            query=lambda agent: {"agent": agent.pk},
            empty="None has sent a heartbeat in the last week.",
        ),
        Relatives(
            "Suggestions",
            lambda ctx, agent: (
                Suggestion.objects.restrict(ctx)
                .filter(agent=agent)
                .select_related("version__layer__pack")
                .defer("version__content", "version__canonical")
                .order_by("-created_at")
            ),
            (
                columns.link("version", order=False),
                columns.link("version.layer", "Layer", order=False),
                columns.badge("version.status", "Status", order=False),
                columns.moment("created_at", "When", order=False),
            ),
            empty="It has suggested no draft.",
        ),
    ],
)
