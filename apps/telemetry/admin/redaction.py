"""The redaction policy of a tenant and its own patterns, tried on a text before they count."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.template.response import TemplateResponse

from apps.core.access import Action
from apps.core.admin import Act, ActForm, Call, Done, Facts, GovernedAdmin, ReasonForm, cells, columns
from apps.core.admin.columns import Column
from apps.core.domain.redaction_patterns import MAX_LENGTH
from apps.telemetry.models import Content, RedactionPattern, RedactionPolicy
from apps.telemetry.services import add_pattern, set_policy, try_text, update_pattern
from apps.telemetry.services.redaction import MAX_TRIED, POLICY_FIELDS

MANAGE = (Action.MANAGE_TENANT,)
FROM_NOW_ON = "It holds for what is received from now on; what is stored stays as it is."
ALWAYS = "Secrets (keys, tokens, passwords, card numbers) are always replaced; what follows comes besides."
SYNTAX = "RE2 syntax. One capturing group, if there is one, is what is replaced; else the whole match."


class PolicyForm(ReasonForm):
    redact_email = forms.BooleanField(required=False, label="Replace e-mail addresses")
    redact_phone = forms.BooleanField(required=False, label="Replace telephone numbers")
    store_content = forms.ChoiceField(
        choices=Content.choices, label="Keep", help_text="Metrics only: input, output, messages and payloads are dropped."
    )
    field_order = ("redact_email", "redact_phone", "store_content", "reason")

    def prepare(self) -> None:
        policy = RedactionPolicy.objects.filter(tenant_id=self.ctx.tenant_id).first() or RedactionPolicy()
        self.initial = {**self.initial, **{name: getattr(policy, name) for name in POLICY_FIELDS}}


class PatternForm(ReasonForm):
    name = forms.CharField(max_length=40, help_text="What stands in the mark: [redacted:name]. Small letters and underscores.")
    pattern = forms.CharField(
        max_length=MAX_LENGTH, help_text=SYNTAX, widget=forms.TextInput(attrs={"placeholder": r"EMP-\d{6}", "spellcheck": "false"})
    )
    field_order = ("name", "pattern", "reason")

    def prepare(self) -> None:
        if isinstance(self.obj, RedactionPattern):
            self.initial = {**self.initial, "name": self.obj.name, "pattern": self.obj.pattern}


class NewPatternForm(ActForm):
    name = PatternForm.base_fields["name"]
    pattern = PatternForm.base_fields["pattern"]


class TryForm(ActForm):
    text = forms.CharField(
        max_length=MAX_TRIED, strip=False, widget=forms.Textarea(attrs={"rows": 10, "spellcheck": "false"}), help_text="It is not kept."
    )


def _set(call: Call) -> Done:
    changes = {name: call.data[name] for name in POLICY_FIELDS}
    return Done("The redaction policy is set.", set_policy(ctx=call.ctx, changes=changes, reason=call.data["reason"]))


def _change(call: Call) -> Done:
    changes = {name: call.data[name] for name in ("name", "pattern")}
    return Done(
        "The pattern is changed.", update_pattern(ctx=call.ctx, pattern_id=call.obj.pk, changes=changes, reason=call.data["reason"])
    )


def _switch(enabled: bool, message: str) -> Any:
    def run(call: Call) -> Done:
        found = update_pattern(ctx=call.ctx, pattern_id=call.obj.pk, changes={"enabled": enabled}, reason=call.data["reason"])
        return Done(message, found)

    return run


def _try(call: Call) -> Done:
    site: Any = admin.site._registry[RedactionPattern]
    context = {
        **site.page_context(call.request),
        "title": "What would be stored",
        "tried": try_text(ctx=call.ctx, text=call.data["text"]),
        "again": call.request.path,
    }
    response = TemplateResponse(call.request, "telemetry/tried.html", context)
    response["Cache-Control"] = "no-store"
    return Done(page=response)


TRY = Act(
    name="try",
    label="Try it on a text",
    icon="rule",
    rights=(Action.VIEW,),
    form=TryForm,
    run=_try,
    explain=lambda request, obj: ["The next page shows what would be stored of it, and which rules fired."],
)
ON = Column("On", lambda pattern: cells.yes_no(pattern.enabled), order="enabled")
EMAIL, PHONE = columns.yes_no("redact_email", "E-mail addresses go"), columns.yes_no("redact_phone", "Telephone numbers go")
KEEPS = Column("Keeps", lambda policy: policy.get_store_content_display())


@admin.register(RedactionPolicy)
class RedactionPolicyAdmin(GovernedAdmin):
    list_display = (columns.itself("Policy"), EMAIL, PHONE, KEEPS, columns.moment("updated_at", "Last changed"))
    when_empty = "Nothing but secrets is redacted, and texts are kept. “Set the policy” changes it."
    facts = (Facts("Besides secrets", (EMAIL, PHONE, KEEPS, columns.moment("updated_at", "Last changed"))),)
    list_acts = (
        Act(
            name="set",
            label="Set the policy",
            icon="privacy_tip",
            tone="primary",
            rights=MANAGE,
            form=PolicyForm,
            run=_set,
            explain=lambda request, obj: [ALWAYS, FROM_NOW_ON],
        ),
        TRY,
    )


@admin.register(RedactionPattern)
class RedactionPatternAdmin(GovernedAdmin):
    list_display = ("name", columns.code("pattern"), ON, columns.moment("updated_at", "Last changed"))
    list_filter = (("enabled", admin.BooleanFieldListFilter),)
    search_fields = ("name", "pattern")
    ordering = ("name",)
    when_empty = (
        "A pattern replaces what only you know to be secret, such as numbers of employees. Add one here; docs/redaction.md says how."
    )
    facts = (
        Facts(
            "Pattern",
            (
                columns.text("name"),
                columns.code("pattern"),
                ON,
                columns.moment("created_at", "Since"),
                columns.moment("updated_at", "Last changed"),
            ),
        ),
    )
    acts = (
        Act(
            name="change",
            label="Change",
            icon="edit",
            rights=MANAGE,
            form=PatternForm,
            run=_change,
            explain=lambda request, obj: [FROM_NOW_ON],
        ),
        Act(
            name="switch-off",
            label="Switch off",
            icon="block",
            tone="danger",
            rights=MANAGE,
            form=ReasonForm,
            run=_switch(False, "What it finds is stored from now on."),
            when=lambda ctx, pattern: pattern.enabled,
            explain=lambda request, pattern: ["What it finds is stored from now on."],
        ),
        Act(
            name="switch-on",
            label="Switch on",
            icon="play_circle",
            tone="primary",
            rights=MANAGE,
            form=ReasonForm,
            run=_switch(True, "What it finds is replaced from now on."),
            when=lambda ctx, pattern: not pattern.enabled,
            explain=lambda request, pattern: [FROM_NOW_ON],
        ),
    )
    list_acts = (
        Act(
            name="add",
            label="Add a pattern",
            icon="add",
            tone="primary",
            rights=MANAGE,
            form=NewPatternForm,
            run=lambda call: Done("The pattern is added and on.", add_pattern(ctx=call.ctx, **call.data)),
            explain=lambda request, obj: [FROM_NOW_ON, "It is refused where it would match the empty text or most of what people write."],
        ),
        TRY,
    )
