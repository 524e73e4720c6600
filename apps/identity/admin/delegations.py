"""Handing a role over while one is away."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from apps.core.access import Action
from apps.core.admin import Act, ActForm, Call, Done, Facts, GovernedAdmin, ReasonForm, Relatives, cells, columns, extend, filters
from apps.core.admin.columns import Column
from apps.core.context import ActionContext
from apps.identity.admin.people import UNTIL, team_choices
from apps.identity.domain.delegation import DELEGABLE, LONGEST
from apps.identity.domain.roles import NOT_DELEGABLE
from apps.identity.models import Delegation, Membership, User
from apps.identity.permissions import can
from apps.identity.services import delegate, end_delegation

KEPT_BACK = ", ".join(sorted(action.value.replace("_", " ") for action in NOT_DELEGABLE))


def is_live(row: Delegation) -> bool:
    return row.revoked_at is None and row.until > timezone.now()


LIVE = Column("Holds", lambda row: cells.badge("active") if is_live(row) else cells.badge("ended", "off"))


def own_roles(ctx: ActionContext) -> list[str]:
    """The roles that a person could hand over."""
    held = {grant.role for grant in ctx.roles if grant.via is None}
    return [role for role in DELEGABLE if role in held]


class HandOverForm(ActForm):
    to_user = forms.ChoiceField(label="To", help_text="A member of this tenant. They see it on their page and may act at once.")
    role = forms.ChoiceField(help_text="One of your own roles.")
    team = forms.ChoiceField(required=False, help_text="For one team only, less is handed over.")
    until = forms.DateTimeField(widget=UNTIL, help_text=f"UTC; at most {LONGEST.days} days from now.")
    reason = forms.CharField(max_length=2000, required=False, widget=forms.Textarea(attrs={"rows": 3}), help_text="Holiday, say.")

    def prepare(self) -> None:
        members = Membership.objects.restrict(self.ctx).exclude(user_id=self.ctx.user_id).values("user_id")
        others = User.objects.filter(pk__in=members, is_active=True)
        roles = [(role, role.replace("_", " ")) for role in own_roles(self.ctx)]
        choices = {
            "to_user": [("", "choose a person"), *((user.email, f"{user} ({user.email})" if user.name else user.email) for user in others)],
            "role": sorted(roles, key=lambda role: DELEGABLE.index(role[0]), reverse=True),
            "team": team_choices(self.ctx, "all of it"),
        }
        for name, offered in choices.items():
            self.offer(name, offered)


def _hand_over(call: Call) -> Done:
    made = delegate(ctx=call.ctx, **{**call.data, "team": call.data["team"] or None})
    return Done(f"{made.to_user} stands in for you as {made.role.replace('_', ' ')} until {made.until:%Y-%m-%d %H:%M} UTC.", made)


def _may_end(ctx: ActionContext, row: Delegation) -> bool:
    return row.from_user_id == ctx.user_id or can(ctx, Action.MANAGE_MEMBERS, tenant_id=row.tenant_id, team_id=row.team_id)


def _end(call: Call) -> Done:
    end_delegation(ctx=call.ctx, delegation_id=call.obj.pk, reason=call.data["reason"])
    return Done("The delegation has ended.")


class ByLife(SimpleListFilter):
    title = "state"
    parameter_name = "live"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "active"), ("no", "ended")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        live = Q(revoked_at__isnull=True, until__gt=timezone.now())
        return queryset.filter(live if self.value() == "yes" else ~live) if self.value() else queryset


HAND_OVER = {
    "label": "Hand over while away",
    "icon": "swap_horiz",
    "form": HandOverForm,
    "run": _hand_over,
    "explain": lambda request, obj: [
        "Until then they may do what your role may, beside you; what they approve says that it is on your behalf.",
        "They and you count as one person, and they approve nothing that either of you wrote or requested.",
        f"What lasts stays with you: {KEPT_BACK}.",
        "It ends by itself, with your role, or when you end it.",
    ],
}


@admin.register(Delegation)
class DelegationAdmin(GovernedAdmin):
    list_display = (
        Column("Delegation", str, order="role"),
        columns.link("from_user", "Of", order="from_user__email"),
        columns.link("to_user", "To", order="to_user__email"),
        columns.badge("role"),
        columns.link("team"),
        LIVE,
        columns.moment("until"),
        columns.moment("created_at", "Since"),
    )
    list_select_related = ("from_user", "to_user", "team")
    list_filter = (
        ByLife,
        filters.values("role", "role", [(role, role.replace("_", " ")) for role in DELEGABLE]),
        filters.related("team", "identity.Team", "team"),
        filters.exact("from_user", "lent by"),
        filters.exact("to_user", "lent to"),
    )
    search_fields = ("from_user__email", "from_user__name", "to_user__email", "to_user__name")
    ordering = ("-created_at", "-id")
    when_empty = "Nobody stands in for anybody. Going away? Hand your role over until you are back."
    facts = (
        Facts(
            "Delegation",
            (
                columns.link("from_user", "Of"),
                columns.link("to_user", "To"),
                columns.badge("role"),
                columns.link("team"),
                LIVE,
                columns.moment("until"),
                columns.moment("created_at", "Since"),
                columns.moment("revoked_at", "Ended"),
            ),
            long=(columns.block("reason"),),
        ),
    )
    acts = (
        Act(
            name="end",
            label="End it",
            icon="event_busy",
            tone="danger",
            allowed=_may_end,
            when=lambda ctx, row: is_live(row),
            form=ReasonForm,
            run=_end,
            explain=lambda request, row: [f"{row.to_user} no longer stands in for {row.from_user}, from the next request on."],
        ),
    )
    list_acts = (
        Act(name="hand-over", tone="primary", rights=(Action.VIEW,), when=lambda ctx, obj: bool(own_roles(ctx)), **HAND_OVER),  # type: ignore[arg-type]
    )


def _relatives(title: str, path: str, empty: str) -> Relatives:
    return Relatives(
        title,
        lambda ctx, user: Delegation.objects.restrict(ctx).filter(**{path: user}).select_related("from_user", "to_user", "team"),
        (columns.itself("Delegation"), columns.link("team"), LIVE, columns.moment("until")),
        query=lambda user: {path: user.pk},
        empty=empty,
    )


extend(
    User,
    acts=(Act(name="hand-over", allowed=lambda ctx, user: user.pk == ctx.user_id and bool(own_roles(ctx)), **HAND_OVER),),  # type: ignore[arg-type]
    relatives=(
        _relatives("Handed over to others", "from_user", "Nothing is handed over."),
        _relatives("Stands in for others", "to_user", "Stands in for nobody."),
    ),
)
