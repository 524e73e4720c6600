"""On the page of a decision: which harnesses follow it, and which do not yet. It refreshes by itself until all that are live do."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from apps.core.admin import cells
from apps.core.http import context_of
from apps.fleet.selectors.convergence import Behind, convergence
from apps.promotions.models import Decision, DecisionKind

REFRESH_S = 4
SHOWN = 20


def convergence_panel(request: HttpRequest, decision: Decision) -> dict[str, Any] | None:
    if decision.decision == DecisionKind.REJECT:
        return None
    found = convergence(context_of(request), decision.layer, since=decision.created_at)
    lists = (
        ("laggards", "Lagging for more than 30 seconds", found.laggards, found.named_laggards),
        ("behind", "On their way", found.behind, found.named_behind),
        ("silent", "Silent: not heard of, so not counted", found.silent, found.named_silent),
    )
    return {
        "state": cells.badge(found.state),
        "bar": cells.bar(found.converged, found.converged + found.behind + found.laggards, "live harnesses that follow"),
        "concerned": found.concerned,
        "silent": found.silent,
        "lists": [
            {"title": title, "number": number, "rows": [_row(each) for each in named[:SHOWN]], "more": number - min(len(named), SHOWN)}
            for _, title, number, named in lists
            if number
        ],
        "moving": not found.finished,
        "every": REFRESH_S,
        "url": f"{cells.admin_url(decision).removesuffix('change/')}part/convergence/",
    }


def convergence_part(request: HttpRequest, decision: Decision) -> HttpResponse:
    panel = convergence_panel(request, decision)
    return TemplateResponse(request, "promotions/convergence.html", {"panel": panel}) if panel else HttpResponse("")


def _row(each: Behind) -> dict[str, object]:
    return {
        "agent": each.agent,
        "instance": each.instance,
        "pack": each.pack,
        "serving": cells.digest(each.serving),
        "expected": cells.digest(each.expected) if each.expected else "nothing",
        "seen": cells.moment(each.last_seen_at),
    }
