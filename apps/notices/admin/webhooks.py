"""Webhooks: made with the secret on the page after, once; rotated, tried, switched on and off."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from apps.core.access import Action
from apps.core.admin import Act, ActForm, Call, Done, Facts, GovernedAdmin, NeededReasonForm, ReasonForm, Relatives, cells, columns
from apps.core.admin.columns import Column
from apps.notices.admin.cells import STATE
from apps.notices.domain.telling import LABELS, SUBSCRIBED
from apps.notices.models import DUE_STATES, Delivery, Webhook
from apps.notices.services import Shown, create_webhook, rotate_secret, switch_webhook, try_webhook, update_webhook

EVENTS = [(kind.value, LABELS[kind]) for kind in SUBSCRIBED]
WHAT = Column("Told of", lambda webhook: cells.words(LABELS.get(event, event) for event in webhook.events))
# The path of some receivers is a secret: the whole address stands in the form that changes it, for those who may.
WHERE = Column("Receiver", lambda webhook: cells.code(webhook.host))
ON = Column("On", lambda webhook: cells.yes_no(webhook.enabled), order="enabled")
MANAGE = (Action.MANAGE_TENANT,)


class WebhookForm(ActForm):
    name = forms.CharField(max_length=100, help_text="What it is for, so that somebody can tell later.")
    url = forms.CharField(max_length=2000, label="Address", widget=forms.URLInput(attrs={"placeholder": "https://hooks.example.com/…"}))
    events = forms.MultipleChoiceField(choices=EVENTS, widget=forms.CheckboxSelectMultiple, label="Tell it when")

    def prepare(self) -> None:
        hosts = ", ".join(settings.EGRESS_ALLOWED_HOSTS[:10]) or "none yet; the operator sets EGRESS_ALLOWED_HOSTS"
        self.fields["url"].help_text = f"https://, on a host that this installation calls: {hosts}."
        if isinstance(self.obj, Webhook):
            self.initial = {**self.initial, "name": self.obj.name, "url": self.obj.url, "events": self.obj.events}


def _page(call: Call, shown: Shown) -> Done:
    site: Any = admin.site._registry[Webhook]
    context = {
        **site.page_context(call.request),
        "title": "The secret of the webhook",
        "secret": shown.secret,
        "webhook": shown.webhook,
        "link": cells.link_to(shown.webhook, "its page"),
    }
    response: HttpResponse = TemplateResponse(call.request, "notices/secret.html", context)
    response["Cache-Control"] = "no-store"
    return Done(page=response)


def _change(call: Call) -> Done:
    return Done("The webhook is changed.", update_webhook(ctx=call.ctx, webhook_id=call.obj.pk, changes=call.data))


def _try(call: Call) -> Done:
    made = try_webhook(ctx=call.ctx, webhook_id=call.obj.pk)
    return Done("The test is on its way. Load this page again in a moment to see how it went.", made)


def _switch(enabled: bool, message: str) -> Any:
    def run(call: Call) -> Done:
        return Done(message, switch_webhook(ctx=call.ctx, webhook_id=call.obj.pk, enabled=enabled, reason=call.data["reason"]))

    return run


ONCE = [
    "The secret is shown once, on the next page. We keep it sealed, to sign with.",
    "Whoever has it can forge messages to the receiver; give it to the receiver by its secret store, not by mail.",
]


@admin.register(Webhook)
class WebhookAdmin(GovernedAdmin):
    exclude = ("secret", "previous_secret")
    list_display = ("name", WHERE, WHAT, ON, columns.moment("created_at", "Since"))
    list_filter = (("enabled", admin.BooleanFieldListFilter),)
    search_fields = ("name",)
    ordering = ("name",)
    when_empty = "A webhook posts notices to a program of yours, signed. Add one here; docs/notices.md says how to verify what it gets."
    facts = (
        Facts(
            "Webhook",
            (
                columns.text("name"),
                WHERE,
                WHAT,
                ON,
                columns.text("disabled_reason", "Off because"),
                columns.moment("previous_until", "The secret before signs until"),
                columns.moment("created_at", "Since"),
                columns.moment("updated_at", "Last changed"),
            ),
        ),
    )
    relatives = (
        Relatives(
            "Deliveries",
            lambda ctx, webhook: (
                Delivery.objects.restrict(ctx).filter(webhook=webhook).select_related("notice").defer("notice__recipients")
            ),
            (
                Column("Notice", lambda delivery: cells.link_to(delivery, delivery.notice)),
                STATE,
                columns.number("attempts"),
                columns.text("last_error", "Last trouble"),
                columns.moment("created_at", "Since"),
            ),
            query=lambda webhook: {"webhook": webhook.pk},
            empty="Nothing was sent yet. “Send a test” tries it.",
        ),
    )
    acts = (
        Act(
            name="test",
            label="Send a test",
            icon="send",
            tone="primary",
            rights=MANAGE,
            form=ActForm,
            run=_try,
            when=lambda ctx, webhook: webhook.enabled,
            explain=lambda request, webhook: [f"A signed message of type notices.test is posted to {webhook.host}."],
        ),
        Act(name="change", label="Change", icon="edit", rights=MANAGE, form=WebhookForm, run=_change),
        Act(
            name="rotate",
            label="Rotate the secret",
            icon="key",
            rights=MANAGE,
            form=ReasonForm,
            run=lambda call: _page(call, rotate_secret(ctx=call.ctx, webhook_id=call.obj.pk, reason=call.data["reason"])),
            explain=lambda request, webhook: [
                *ONCE,
                "For 24 hours messages are signed with both; the one before this is then of no use any more.",
                *(["The overlap of the last rotation ends now: the secret of before it is dropped."] if webhook.previous_secret else []),
            ],
        ),
        Act(
            name="switch-off",
            label="Switch off",
            icon="block",
            tone="danger",
            rights=MANAGE,
            form=NeededReasonForm,
            run=_switch(False, "Nothing is sent to it any longer."),
            when=lambda ctx, webhook: webhook.enabled,
            explain=lambda request, webhook: _given_up(webhook),
        ),
        Act(
            name="switch-on",
            label="Switch on",
            icon="play_circle",
            tone="primary",
            rights=MANAGE,
            form=ReasonForm,
            run=_switch(True, "Notices are sent to it again."),
            when=lambda ctx, webhook: not webhook.enabled,
            explain=lambda request, webhook: ["From now on; what was given up is sent again one by one, under Deliveries."],
        ),
    )
    list_acts = (
        Act(
            name="add",
            label="Add a webhook",
            icon="webhook",
            tone="primary",
            rights=MANAGE,
            form=WebhookForm,
            run=lambda call: _page(call, create_webhook(ctx=call.ctx, **call.data)),
            explain=lambda request, obj: ONCE,
        ),
    )

    def intro(self, request: HttpRequest, obj: Any) -> Iterable[object]:
        return () if obj.enabled else (f"It is switched off. {obj.disabled_reason}",)


def _given_up(webhook: Webhook) -> list[str]:
    waiting = Delivery.objects.filter(webhook=webhook, state__in=DUE_STATES).count()
    lost = (
        f"{waiting:,} deliver{'y' if waiting == 1 else 'ies'} that wait{'s' if waiting == 1 else ''} for it will be given up."
        if waiting
        else ""
    )
    return ["Nothing is sent to it until it is switched on again.", lost]
