"""The page of effective access: what a person may do to an object, who may do what to it, and where each right comes from."""

from __future__ import annotations

from itertools import groupby
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from apps.core.access import Action
from apps.core.admin import cells
from apps.core.context import ActionContext
from apps.core.errors import Problem, problem
from apps.core.http import context_of
from apps.identity.domain.access import Source
from apps.identity.holdings import Answer, access_of, acts_on, kinds, object_called, people_here, people_with_access, require_to_ask
from apps.identity.models import User

PAGE = 25


@require_safe
@login_required
def access_view(request: HttpRequest) -> HttpResponse:
    """`?object=kind:id` and `?user=` (an id or an e-mail address): either, or both; `act` and `search` narrow the people."""
    ctx: ActionContext = context_of(request)
    asked = {name: request.GET.get(name, "").strip() for name in ("object", "user", "act", "search", "page")}
    page: dict[str, Any] = {"asked": asked, "kinds": sorted(kinds()), "title": "Effective access", "subtitle": None}
    try:
        page |= _answered(ctx, asked)
    except Problem as error:
        page["refusal"] = error.detail
    context = {**admin.site.each_context(request), **page}
    return TemplateResponse(request, "identity/access.html", context, status=200 if "refusal" not in page else 422)


def _answered(ctx: ActionContext, asked: dict[str, str]) -> dict[str, Any]:
    person = _person(ctx, asked["user"]) if asked["user"] else None
    shown: dict[str, Any] = {"person": person}
    if not asked["object"]:
        return shown
    obj = object_called(ctx, asked["object"])
    require_to_ask(ctx, obj, person.pk if person else None)
    shown |= {"subject": cells.link_to(obj), "what": obj._meta.verbose_name, "acts": [act.value for act in acts_on(obj)]}
    if person is not None:
        (answer,) = access_of(ctx.tenant_id, [person], obj)
        return {**shown, "rows": [_row(act, sources) for act, sources in answer.sources.items()]}
    return {**shown, **_people(ctx, obj, asked)}


def _person(ctx: ActionContext, wanted: str) -> User:
    try:
        lookup = {"pk": UUID(wanted)}
    except ValueError:
        lookup = {"email": wanted.lower()}  # type: ignore[dict-item]
    own = User.objects.filter(pk__in=[ctx.user_id]).filter(**lookup).first()
    found = own or people_here(ctx.tenant_id).filter(**lookup).first()
    if found is None:
        raise problem("not_found", "There is no such person in this tenant.")
    return found


def _row(act: Action, sources: list[Source]) -> dict[str, Any]:
    return {"act": act.value.replace("_", " "), "allowed": cells.yes_no(bool(sources)), "sources": [_source(each) for each in sources]}


def _source(source: Source) -> dict[str, Any]:
    return {
        "sentence": source.sentence(),
        "since": cells.moment(source.since) if source.since else None,
        "until": cells.moment(source.until) if source.until else None,
    }


def _people(ctx: ActionContext, obj: Model, asked: dict[str, str]) -> dict[str, Any]:
    acts = [act for act in acts_on(obj) if not asked["act"] or act.value == asked["act"]]
    if not acts:
        raise problem("invalid", "There is no such act.")
    people = people_with_access(ctx.tenant_id, obj, Action(asked["act"]) if asked["act"] else Action.VIEW, asked["search"])
    page = Paginator(people, PAGE).get_page(asked["page"] or 1)
    address = reverse("effective_access")

    def leading(**changed: object) -> str:
        return f"{address}?{urlencode({name: value for name, value in {**asked, **changed}.items() if value})}"

    return {
        "matrix": [
            {
                "user": answer.user,
                "url": leading(user=answer.user.pk, page="", act="", search=""),
                "cells": [(act.value.replace("_", " "), answer.may(act)) for act in acts],
                "why": _why(answer, acts),
            }
            for answer in access_of(ctx.tenant_id, page.object_list, obj)
        ],
        "headers": [act.value.replace("_", " ") for act in acts],
        "page": page,
        "before": leading(page=page.previous_page_number()) if page.has_previous() else "",
        "after": leading(page=page.next_page_number()) if page.has_next() else "",
    }


def _why(answer: Answer, acts: list[Action]) -> list[dict[str, Any]]:
    """Each source once, with the acts that come from it."""
    pairs = [(source, act) for act in acts for source in answer.sources[act]]

    def told(pair: tuple[Source, Action]) -> tuple[str, str, str]:
        return (pair[0].sentence(), str(pair[0].since), str(pair[0].until))

    return [
        {**_source(found[0][0]), "acts": ", ".join(act.value.replace("_", " ") for _, act in found)}
        for _, rows in groupby(sorted(pairs, key=told), key=told)
        if (found := list(rows))
    ]
