"""What was told, to whom, how it went; and what a person wants to hear of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from apps.core.access import Action
from apps.core.admin import Act, ActForm, Call, Done, Facts, GovernedAdmin, ReasonForm, Relatives, cells, columns, filters
from apps.core.admin.columns import Column
from apps.notices.admin.cells import STATE
from apps.notices.domain.telling import LABELS, SUBSCRIBED
from apps.notices.models import KINDS, Channel, Delivery, DeliveryState, Notice
from apps.notices.selectors import email_choices, email_on
from apps.notices.services import choose_emails, send_again

NO_EMAIL = "E-mail is switched off in this installation: its operator sets EMAIL_HOST (docs/notices.md)."
WHAT = Column("Of", lambda notice: notice.get_kind_display(), order="kind")
TO = Column("To", lambda delivery: cells.link_to(delivery.webhook or delivery.user))
ABOUT = Column("About", lambda notice: cells.link(notice.path, "its page") if notice.path != "/" else None)


class EmailsForm(ActForm):
    kinds = forms.MultipleChoiceField(
        required=False,
        choices=[(kind.value, LABELS[kind]) for kind in SUBSCRIBED],
        widget=forms.CheckboxSelectMultiple,
        label="Send me an e-mail when",
    )

    def prepare(self) -> None:
        self.initial["kinds"] = [kind for kind, wanted in email_choices(self.ctx).items() if wanted]


def _choose(call: Call) -> Done:
    choose_emails(ctx=call.ctx, wanted={kind.value: kind.value in call.data["kinds"] for kind in SUBSCRIBED})
    return Done("Your choice is kept.", cells.list_url(Notice))


def _address(request: HttpRequest) -> list[str]:
    tenant = getattr(request, "tenant", None)
    where = f" in {tenant.name}" if tenant else ""
    sentence = f"What you choose holds for you{where}, for {request.user.get_username()}; the notices stay on these pages."
    return [sentence, *([] if email_on() else [NO_EMAIL])]


@admin.register(Notice)
class NoticeAdmin(GovernedAdmin):
    audited = False
    exclude = ("recipients",)
    list_display = ("title", WHAT, ABOUT, columns.moment("created_at", "When"))
    list_filter = (filters.values("kind", "kind", KINDS), filters.exact("subject_id", "subject"), filters.when("created_at"))
    search_fields = ("title",)
    ordering = ("-id",)
    when_empty = "When an approval is wanted or a promotion is decided, it stands here, with whom it was sent to."
    facts = (
        Facts(
            "Notice",
            (
                columns.text("title"),
                WHAT,
                ABOUT,
                columns.moment("created_at", "When"),
            ),
            long=(Column("What it says", lambda notice: cells.tree(notice.facts)),),
        ),
    )
    relatives = (
        Relatives(
            "Deliveries",
            lambda ctx, notice: Delivery.objects.restrict(ctx).filter(notice=notice).select_related("webhook", "user"),
            (
                TO,
                columns.text("channel"),
                STATE,
                columns.number("attempts"),
                columns.text("last_error", "Last trouble"),
                columns.moment("sent_at", "Sent"),
            ),
            query=lambda notice: {"notice": notice.pk},
            empty="No webhook wants it, and no e-mail was to be sent.",
        ),
    )
    list_acts = (
        Act(
            name="my-emails",
            label="Choose my e-mails",
            icon="mail",
            rights=(Action.VIEW,),
            form=EmailsForm,
            run=_choose,
            explain=lambda request, obj: _address(request),
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("recipients")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"remarks": () if email_on() else (NO_EMAIL,), **(extra_context or {})})

    def intro(self, request: HttpRequest, obj: Any) -> Iterable[object]:
        return () if email_on() else (NO_EMAIL,)


@admin.register(Delivery)
class DeliveryAdmin(GovernedAdmin):
    list_display = (
        Column("Notice", lambda delivery: str(delivery.notice)),
        TO,
        STATE,
        columns.number("attempts"),
        columns.text("last_error", "Last trouble"),
        columns.moment("created_at", "Since"),
    )
    list_select_related = ("notice", "webhook", "user")
    list_filter = (
        filters.values("state", "state", list(DeliveryState.choices)),
        filters.values("channel", "channel", list(Channel.choices)),
        filters.related("webhook", "notices.Webhook", "webhook"),
        filters.exact("notice", "notice"),
        filters.when("created_at"),
    )
    search_fields = ("notice__title", "webhook__name", "user__email")
    ordering = ("-id",)
    when_empty = "A notice on its way to a webhook or a person stands here, with how it went."
    facts = (
        Facts(
            "Delivery",
            (
                columns.link("notice"),
                TO,
                columns.text("channel"),
                STATE,
                columns.number("attempts"),
                Column("Next attempt", lambda row: cells.moment(row.next_attempt_at) if row.state in ("pending", "failed") else None),
                columns.number("last_status", "Last status"),
                columns.text("last_error", "Last trouble"),
                columns.code("message_id", "Message id", order=False),
                columns.moment("created_at", "Since"),
                columns.moment("sent_at", "Sent"),
            ),
        ),
    )
    acts = (
        Act(
            name="send-again",
            label="Send again",
            icon="replay",
            tone="primary",
            rights=(Action.MANAGE_TENANT,),
            form=ReasonForm,
            run=lambda call: Done("It is on its way again.", send_again(ctx=call.ctx, delivery_id=call.obj.pk, reason=call.data["reason"])),
            when=lambda ctx, delivery: delivery.state in (DeliveryState.DEAD, DeliveryState.FAILED),
            explain=lambda request, delivery: [
                "It is sent at once, and repeated as often as a new one.",
                "The message id stays the same: a receiver that has it already does nothing twice.",
            ],
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("notice__recipients", "notice__facts")

    def intro(self, request: HttpRequest, obj: Any) -> Iterable[object]:
        return (NO_EMAIL,) if obj.channel == Channel.EMAIL and not email_on() else ()
