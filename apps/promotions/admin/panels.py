"""What a promotion's page shows: the verdict rule by rule, risk, approvals, progress, reach, and what happens next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from apps.core.access import Action
from apps.core.admin import cells
from apps.core.context import ActionContext
from apps.core.http import context_of
from apps.evals.models import EvalRun
from apps.identity.permissions import can
from apps.packs.admin.reading import difference
from apps.packs.admin.versions import reach_context
from apps.packs.models import PackKind
from apps.promotions.deciders import case_of, expiry_of
from apps.promotions.domain import approvals as rules
from apps.promotions.models import Aim, Approval, Promotion, State
from apps.promotions.selectors import demand_of

JUDGED = (State.COLLECTING, State.BLOCKED, State.AWAITING_APPROVAL, State.READY)
REFRESH_S = 4


def verdict_panel(request: HttpRequest, obj: Any) -> dict[str, Any]:
    """Of a promotion, or of a decision that kept one."""
    verdict: Mapping[str, Any] = obj.verdict or {}
    rows = [
        {
            "rule": rule["rule"].replace("_", " "),
            "outcome": cells.badge(rule["outcome"]),
            "hard": cells.badge("hard", "warn", icon="lock") if rule["hard"] else cells.EMPTY,
            "observed": _figure(rule["observed"], rule["unit"]),
            "threshold": _figure(rule["threshold"], rule["unit"]),
            "n": cells.number(rule["n"]) if rule["n"] else cells.EMPTY,
            "sentence": rule["sentence"],
        }
        for rule in verdict.get("rules", ())
    ]
    return {
        "rows": rows,
        "outcome": cells.badge(verdict["evidence_outcome"]) if verdict else None,
        "forceable": verdict.get("forceable") and getattr(obj, "state", "") in (State.COLLECTING, State.BLOCKED),
        "dropped": [each["sentence"] for each in verdict.get("dropped", ())],
        "at": cells.moment(getattr(obj, "evaluated_at", None)) if getattr(obj, "evaluated_at", None) else None,
    }


def _figure(value: float | None, unit: str) -> object:
    if value is None:
        return cells.EMPTY
    text = f"{value:,.2f}".rstrip("0").rstrip(".")
    return f"{text} {unit}".strip()


def risk_panel(request: HttpRequest, promotion: Promotion) -> dict[str, Any] | None:
    if not promotion.risk_level:
        return None
    reasons = [(cells.badge(reason["level"]), reason["sentence"]) for reason in promotion.risk_reasons]
    return {"level": cells.badge(promotion.risk_level), "reasons": reasons}


def approval_status(promotion: Promotion) -> rules.Status | None:
    """How far the approvals are, for what was last assessed; None before that."""
    if not promotion.risk_level:
        return None
    case = case_of(promotion)
    return rules.evaluate(
        case.demand,
        case.given,
        current_binding=promotion.binding,
        authors=case.authors,
        now=timezone.now(),
        sole_manager_is_author=case.sole_manager_is_author,
    )


def approvals_panel(request: HttpRequest, promotion: Promotion) -> dict[str, Any]:
    ctx: ActionContext = context_of(request)
    given = Approval.objects.restrict(ctx).filter(promotion=promotion).select_related("user", "on_behalf_of").order_by("created_at")
    status = approval_status(promotion)
    demand = demand_of(promotion).sentence if promotion.risk_level else ""
    open_now = promotion.state in JUDGED
    rows = [
        {
            "user": cells.link_to(row.user),
            "behalf": cells.link_to(row.on_behalf_of) if row.on_behalf_of_id else None,
            "roles": cells.words(role.replace("_", " ") for role in row.roles),
            "answer": cells.badge("voided") if row.voided_at else cells.badge("approved" if row.approved else "refused"),
            "comment": row.comment,
            "voided": row.voided_reason,
            "at": cells.moment(row.created_at),
        }
        for row in given
    ]
    return {
        "demand": demand or "What is demanded is known once the promotion has been judged.",
        "missing": [sentence for sentence in status.missing if sentence != demand] if status and open_now else (),
        "none": bool(status and open_now and not status.satisfied and not status.counted),
        "satisfied": bool(status and status.satisfied and open_now),
        "rows": rows,
        "binding": cells.digest(promotion.binding),
        "until": cells.moment(expiry_of(promotion)) if promotion.awaiting_since else None,
    }


def runs_of(promotion: Promotion) -> QuerySet[EvalRun]:
    """The evaluation runs of the challenger, the newest of each set first."""
    runs: QuerySet[EvalRun] = EvalRun.objects.filter(layer_id=promotion.layer_id, version_id=promotion.challenger_id)
    if promotion.retire:
        runs = runs.filter(paired_with__version_id=promotion.champion_id)
    return runs.select_related("eval_set", "paired_with").order_by("eval_set_id", "-created_at", "-id")


def progress_context(promotion: Promotion) -> dict[str, Any]:
    """Of each set the newest comparison: the challenger's run, and the champion's or the baseline's."""
    rows: list[dict[str, Any]] = []
    done = total = 0
    seen = set()
    for run in runs_of(promotion):
        if run.eval_set_id in seen:
            continue
        seen.add(run.eval_set_id)
        arms = [("challenger", run), ("champion" if promotion.champion_id else "baseline", run.paired_with)]
        for name, each in arms:
            if each is None:
                continue
            done, total = done + each.done, total + each.total
            rows.append(
                {
                    "set": cells.link_to(run.eval_set),
                    "arm": name,
                    "state": cells.badge(each.state),
                    "bar": cells.bar(each.done, each.total, f"{name} on {run.eval_set}"),
                    "link": cells.link_to(each, "open"),
                    "failure": each.failure,
                }
            )
    moving = promotion.state == State.COLLECTING and done < total
    return {
        "rows": rows,
        "done": done,
        "total": total,
        "moving": moving,
        "every": REFRESH_S,
        "url": f"{cells.admin_url(promotion).removesuffix('change/')}part/progress/?state={promotion.state}",
        "policy": promotion.aim == Aim.POLICY and promotion.layer.pack.kind == PackKind.POLICY,
    }


def progress_panel(request: HttpRequest, promotion: Promotion) -> dict[str, Any]:
    return progress_context(promotion)


def progress_part(request: HttpRequest, promotion: Promotion) -> HttpResponse:
    """The bars, again; the whole page once the promotion has moved on."""
    response = TemplateResponse(request, "promotions/progress.html", {"panel": progress_context(promotion)})
    if request.GET.get("state", promotion.state) != promotion.state:
        response["HX-Refresh"] = "true"
    return response


def reach_panel(request: HttpRequest, promotion: Promotion) -> dict[str, Any] | None:
    ctx = context_of(request)
    return reach_context(promotion.blast) if promotion.blast and can(ctx, Action.VIEW, tenant_id=ctx.tenant_id) else None


def difference_panel(request: HttpRequest, promotion: Promotion) -> dict[str, Any]:
    champion, challenger = promotion.champion, promotion.challenger
    old = f"{champion}, champion when requested" if champion else "nothing"
    found = difference(
        champion.content if champion else None,
        challenger.content if challenger else {},
        old=old,
        new=str(challenger or "nothing: it inherits"),
    )
    return {**found, "base": cells.link_to(champion) if champion else None, "status": "the champion when it was requested"}


def _evidence_rules(promotion: Promotion) -> list[Mapping[str, Any]]:
    return [rule for rule in promotion.verdict.get("rules", ()) if rule["rule"] != "approvals"]


def next_step(promotion: Promotion) -> str:
    """What happens next, in one sentence."""
    subject = "the layer has no champion any more" if promotion.retire else f"{promotion.challenger} becomes the champion"
    match promotion.state:
        case State.COLLECTING:
            shown = progress_context(promotion)
            if not shown["total"]:
                return "Next: there is nothing to collect evidence from; make an evaluation set for the pack, then press Evaluate."
            if shown["done"] < shown["total"]:
                return f"Next: {shown['done']:,} of {shown['total']:,} answers are in; when all are, the gate judges it by itself."
            open_rules = [rule["sentence"] for rule in _evidence_rules(promotion) if rule["outcome"] == "inconclusive"]
            return f"Next: all answers are in, and the gate cannot tell yet. {' '.join(open_rules) or 'Press Evaluate again.'}"
        case State.BLOCKED:
            failed = [rule["sentence"] for rule in _evidence_rules(promotion) if rule["outcome"] == "fail"]
            return f"Next: it is blocked. {' '.join(failed[:2])} Abort it and write a better version, or evaluate again if something has changed."
        case State.AWAITING_APPROVAL:
            status = approval_status(promotion)
            return f"Next: {' '.join(status.missing) if status else 'it waits for approval.'}"
        case State.READY:
            return f"Next: all that is demanded has been given; when somebody presses Start, {subject}."
        case State.PROMOTED:
            return "Done: the layer has been retired." if promotion.retire else f"Done: {promotion.challenger} was made the champion."
        case State.EXPIRED:
            return f"Over: it has expired. {promotion.expired_because} A new version can ask again."
        case State.REJECTED | State.ABORTED:
            return f"Over: it was {promotion.state}. A new version can ask again."
        case State.ROLLED_BACK:
            return "Over: it was promoted, and the layer was rolled back since."
    return ""
