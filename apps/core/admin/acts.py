"""Acts: what a person may do to an object, each on a page of its own that says what will happen, each calling one service."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from django import forms
from django.contrib import messages
from django.db import IntegrityError, transaction
from django.db.models import BooleanField, ExpressionWrapper, Model
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from apps.core.access import Action, restriction
from apps.core.admin import cells
from apps.core.context import ActionContext
from apps.core.errors import Problem, problem
from apps.core.http import context_of
from apps.core.ids import new_id
from apps.core.models import IdempotencyRecord

Tone = Literal["primary", "danger", "plain"]


class ActForm(forms.Form):
    """The form of an act. `once` is drawn when the page is shown: the same page sent twice acts once."""

    once = forms.CharField(max_length=64, widget=forms.HiddenInput)

    def __init__(self, data: Any = None, *, request: HttpRequest, obj: Any = None, initial: dict[str, Any] | None = None) -> None:
        super().__init__(data, initial={"once": new_id().hex, **(initial or {})}, label_suffix="")
        self.request, self.obj = request, obj
        self.prepare()
        for each in self.fields.values():
            if not isinstance(each.widget, forms.CheckboxInput | forms.RadioSelect | forms.CheckboxSelectMultiple):
                each.widget.attrs["class"] = f"mc-input {each.widget.attrs.get('class', '')}".strip()

    @property
    def ctx(self) -> ActionContext:
        found: ActionContext = context_of(self.request)
        return found

    def prepare(self) -> None:
        """Sets choices and first values that depend on the person or the object."""

    def offer(self, name: str, choices: Iterable[tuple[str, str]]) -> None:
        """Sets what can be chosen in this field."""
        select = self.fields[name]
        assert isinstance(select, forms.ChoiceField)
        select.choices = list(choices)

    def refuse(self, error: Problem) -> None:
        """Puts each finding of a refusal at its field, the rest on top."""
        if not error.errors or len(error.errors) > 1:
            self.add_error(None, error.detail)
        for found in error.errors:
            name, _, below = found.pointer.removeprefix("/").partition("/")
            known = name in self.fields and not self.fields[name].widget.is_hidden
            self.add_error(name if known else None, f"/{below}: {found.detail}" if known and below else found.detail)


class ReasonForm(ActForm):
    """Why, for the log and for those who come later."""

    reason = forms.CharField(
        max_length=10_000, required=False, widget=forms.Textarea(attrs={"rows": 3}), help_text="For the log; may stay empty."
    )


class NeededReasonForm(ActForm):
    reason = forms.CharField(
        max_length=10_000, widget=forms.Textarea(attrs={"rows": 3}), help_text="Needed: it stands in the decision and in the log."
    )


@dataclass(frozen=True, slots=True)
class Call:
    """One press of an act's button. `obj` is None for the acts of a list."""

    request: HttpRequest
    ctx: ActionContext
    obj: Any
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """What to say, and where to go: to an object (else to the one acted on), to a URL, or to a page of the act's own."""

    message: str = ""
    to: Model | str | None = None
    page: HttpResponseBase | None = None


def _always(ctx: ActionContext, obj: Any) -> bool:
    return True


def _nothing(request: HttpRequest, obj: Any) -> Iterable[object]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Act:
    """`rights`: any one of them, on the object (or in the tenant, for a list's act); `allowed` is asked instead where the right is not one
    on the object itself. `when`: what the state's transition table allows. `explain`: the consequences, a sentence each. `run` calls one
    service, which asks for the right once more."""

    name: str
    label: str
    run: Callable[[Call], Done]
    rights: tuple[Action, ...] = ()
    allowed: Callable[[ActionContext, Any], bool] | None = None
    form: type[ActForm] = ReasonForm
    icon: str = ""
    tone: Tone = "plain"
    when: Callable[[ActionContext, Any], bool] = _always
    explain: Callable[[HttpRequest, Any], Iterable[object]] = _nothing
    wide: bool = False
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Button:
    label: str
    url: str
    icon: str
    tone: Tone


def rights_on(ctx: ActionContext, obj: Model, actions: set[Action]) -> frozenset[Action]:
    """Which of these actions `ctx` may do on the object: the role table's answer, by one query."""
    if not actions:
        return frozenset()
    names = {
        action.value: ExpressionWrapper(restriction(ctx, action, type(obj)), output_field=BooleanField()) for action in sorted(actions)
    }
    row = type(obj)._default_manager.filter(pk=obj.pk).annotate(**{f"may_{name}": answer for name, answer in names.items()})
    found = row.values(*[f"may_{name}" for name in names]).first() or {}
    return frozenset(action for action in actions if found.get(f"may_{action.value}"))


def permitted(ctx: ActionContext, offered: Sequence[Act], obj: Model) -> list[Act]:
    """The acts that `ctx` has the right to on the object, whatever its state."""
    rights = rights_on(ctx, obj, {right for act in offered if act.allowed is None for right in act.rights})
    return [act for act in offered if (act.allowed(ctx, obj) if act.allowed is not None else rights.intersection(act.rights))]


def show_form(
    request: HttpRequest, act: Act, form: ActForm, *, obj: Any, back: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    page = {
        **context,
        **act.extra,
        "act": act,
        "form": form,
        "title": act.label,
        "subtitle": str(obj) if obj is not None else None,
        "original": obj,
        "consequences": [sentence for sentence in act.explain(request, obj) if sentence],
        "back": back,
    }
    return TemplateResponse(request, "core/act.html", page, status=status)


def answer(request: HttpRequest, act: Act, *, obj: Any, back: str, context: dict[str, Any]) -> HttpResponseBase:
    """Shows the act's page, or does it and goes on. The caller has checked the right to it."""
    if request.method in ("GET", "HEAD"):
        return show_form(request, act, act.form(request=request, obj=obj), obj=obj, back=back, context=context)
    if request.method != "POST":
        raise problem("method_not_allowed", "Acts are shown by GET and done by POST.")
    form = act.form(request.POST, request=request, obj=obj)
    if not form.is_valid():
        return show_form(request, act, form, obj=obj, back=back, context=context, status=422)
    ctx: ActionContext = context_of(request)
    data = {name: value for name, value in form.cleaned_data.items() if name != "once"}
    try:
        with ctx.transaction():
            if not _first(ctx, request, form.cleaned_data["once"]):
                messages.info(request, f"“{act.label}” was done already; nothing was done twice.")
                return redirect(back)
            done = act.run(Call(request, ctx, obj, data))
    except Problem as error:
        if error.code in ("not_found", "permission_denied") and not error.errors:
            raise
        form.refuse(error)
        return show_form(request, act, form, obj=obj, back=back, context=context, status=error.status)
    if done.page is not None:
        return done.page
    if done.message:
        messages.success(request, done.message)
    if isinstance(done.to, str):
        return redirect(done.to)
    return redirect(cells.admin_url(done.to) if done.to is not None else back)


def _first(ctx: ActionContext, request: HttpRequest, once: str) -> bool:
    """Whether this page is sent for the first time. A second click waits here for the first one's transaction."""
    try:
        with transaction.atomic():
            IdempotencyRecord.objects.create(
                tenant_id=ctx.tenant_id,
                actor=ctx.actor.key[:80],
                route=f"POST {request.path}"[:300],
                key=once,
                body_hash=hashlib.sha256(once.encode()).digest(),
                status=302,
            )
    except IntegrityError:
        return False
    return True
