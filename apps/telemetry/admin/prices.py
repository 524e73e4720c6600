"""What models cost: rows are added, each from a day on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from apps.core.access import Action, holds
from apps.core.admin import Act, ActForm, Call, Done, Facts, GovernedAdmin, ReasonForm, cells, columns
from apps.core.admin.columns import Column
from apps.identity.domain.platform import platform_id
from apps.telemetry.models import Price
from apps.telemetry.services import add_price, withdraw_price
from apps.telemetry.services.pricing import AMOUNTS, MAX_MICROS

MANAGE = (Action.MANAGE_TENANT,)
WHOSE = Column("Whose", lambda price: "everybody's" if price.tenant_id == platform_id() else cells.badge("own", "good"))
FIGURES = tuple(columns.money(f"{name}_micros", name.replace("_", " ").capitalize(), order=False) for name in AMOUNTS)


def _today() -> date:
    return datetime.now(UTC).date()


def _later(price: Price) -> bool:
    return bool(price.effective_from > _today())


class PriceForm(ActForm):
    """Another row: begun with the values of the one it follows."""

    provider = forms.CharField(max_length=100, help_text="As your harnesses report it (anthropic, openai, …), or * for any.")
    model_id = forms.CharField(max_length=200, label="Model", help_text="Exact, or with * at the end for all that begin so.")
    effective_from = forms.DateField(label="From (UTC)", widget=forms.DateInput(attrs={"type": "date"}))
    note = forms.CharField(max_length=300, required=False, help_text="Where the price is from.")

    def prepare(self) -> None:
        for name in AMOUNTS:
            help_text = "US dollars for a million tokens." + (" It includes reasoning." if name == "output" else "")
            self.fields[name] = forms.DecimalField(
                label=name.replace("_", " ").capitalize(),
                min_value=0,
                max_value=MAX_MICROS // 10**6,
                max_digits=13,
                decimal_places=6,
                help_text=help_text,
            )
        self.order_fields(("provider", "model_id", "effective_from", *AMOUNTS, "note"))
        self.initial["effective_from"] = _today() + timedelta(days=1)
        if isinstance(self.obj, Price):
            amounts = {name: Decimal(getattr(self.obj, f"{name}_micros")).scaleb(-6).normalize() for name in AMOUNTS}
            figures = {name: f"{each:f}" for name, each in amounts.items()}
            self.initial = {**self.initial, "provider": self.obj.provider, "model_id": self.obj.model_id, **figures}


def _add(call: Call) -> Done:
    amounts = {name: call.data[name] for name in AMOUNTS}
    rest = {name: value for name, value in call.data.items() if name not in AMOUNTS}
    return Done("The price is added.", add_price(ctx=call.ctx, amounts=amounts, **rest))


def _withdraw(call: Call) -> Done:
    withdraw_price(ctx=call.ctx, price_id=call.obj.pk, reason=call.data["reason"])
    return Done("The price is taken back.", cells.list_url(Price))


def _consequences(request: HttpRequest, obj: object) -> list[str]:
    return [
        "Runs that begin on that day or later and report no cost are priced by it; what is stored keeps its cost.",
        "A price in force never changes: to correct it, add another from tomorrow on.",
    ]


@admin.register(Price)
class PriceAdmin(GovernedAdmin):
    list_display = (
        columns.itself("Price"),
        "provider",
        columns.text("model_id", "Model"),
        columns.day("effective_from", "From"),
        *FIGURES,
        WHOSE,
    )
    search_fields = ("provider", "model_id")
    search_help_text = "Provider or model"
    ordering = ("provider", "model_id", "-effective_from")
    when_empty = "Without prices runs keep the cost that their harness reports, and others have none."
    facts = (
        Facts(
            "Price",
            (
                columns.text("provider"),
                columns.text("model_id", "Model"),
                columns.day("effective_from", "From (UTC)"),
                WHOSE,
                columns.text("note"),
                columns.moment("created_at", "Added"),
            ),
        ),
        Facts("US dollars for a million tokens", FIGURES),
    )
    acts = (
        Act(
            name="follow",
            label="Add a price that follows",
            icon="edit_calendar",
            tone="primary",
            allowed=lambda ctx, price: holds(ctx, Action.MANAGE_TENANT),
            form=PriceForm,
            run=_add,
            explain=_consequences,
        ),
        Act(
            name="withdraw",
            label="Take back",
            icon="undo",
            tone="danger",
            rights=MANAGE,
            form=ReasonForm,
            run=_withdraw,
            when=lambda ctx, price: _later(price),
            explain=lambda request, price: [
                f"It is not in force yet; nothing was priced by it. What is in force before {price.effective_from} goes on."
            ],
        ),
    )
    list_acts = (
        Act(name="add", label="Add a price", icon="add", tone="primary", rights=MANAGE, form=PriceForm, run=_add, explain=_consequences),
    )

    def intro(self, request: HttpRequest, obj: Price) -> Iterable[object]:
        return ("It is not in force yet.",) if _later(obj) else ()
