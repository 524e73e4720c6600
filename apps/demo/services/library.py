"""The demo's packs in the shared library, the layers of the demo's tenants on them, subscriptions and eval sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from apps.core.context import EVERY_USER, ActionContext, in_tenant
from apps.core.errors import Problem, problem
from apps.demo import catalogue
from apps.evals.models import EvalSet
from apps.evals.services.cases import add_cases, create_eval_set
from apps.identity.selectors import platform_id
from apps.packs.domain.scopes import Scope
from apps.packs.models import AuthorKind, Layer, Pack, Subscription
from apps.packs.services.packs import create_pack, subscribe
from apps.packs.services.versions import create_version
from apps.promotions.services.going_live import bootstrap

ContextOf = Callable[[str], ActionContext]
PLATFORM = "platform"


def seed_library(ctx_of: ContextOf, made: Counter[str]) -> None:
    """Makes what is missing, weakest scope first, so that each layer is checked against those it stands on. Counts into `made`."""
    _packs(ctx_of, made)
    _subscriptions(ctx_of, made)
    _layers(ctx_of, made)
    _eval_sets(ctx_of, made)


def _packs(ctx_of: ContextOf, made: Counter[str]) -> None:
    wanted = catalogue.packs()
    with in_tenant(platform_id()):
        known = set(Pack.objects.filter(tenant_id=platform_id(), slug__in=[pack.slug for pack in wanted]).values_list("slug", flat=True))
    for pack in wanted:
        if pack.slug not in known:
            _create(ctx_of(PLATFORM), pack)
            made["packs"] += 1


def _create(ctx: ActionContext, pack: catalogue.Pack) -> None:
    try:
        create_pack(ctx=ctx, slug=pack.slug, kind=pack.kind, title=pack.title, domain=pack.domain, description=pack.description)
    except Problem as error:
        if error.code != "slug_taken":
            raise
        detail = f"A tenant has a pack '{pack.slug}' of its own, so the demo's cannot join the shared library."
        raise problem("slug_taken", detail) from None


def _subscriptions(ctx_of: ContextOf, made: Counter[str]) -> None:
    for tenant in catalogue.organisation().tenants:
        ctx = ctx_of(tenant.slug)
        with in_tenant(ctx.tenant_id):
            known = set(Subscription.objects.filter(tenant_id=ctx.tenant_id).values_list("pack__slug", flat=True))
        for pack in tenant.subscriptions:
            if pack not in known:
                subscribe(ctx=ctx, pack_slug=pack)
                made["subscriptions"] += 1


def _layers(ctx_of: ContextOf, made: Counter[str]) -> None:
    """The first version of each layer goes live without the gate: there is nothing to compare it with."""
    known = _known_layers(ctx_of)
    for pack in catalogue.packs():
        for layer in pack.layers:
            if (pack.slug, layer.scope) in known:
                continue
            scope = Scope.parse(layer.scope)
            ctx = ctx_of(scope.tenant_slug or PLATFORM)
            with ctx.transaction():
                version = create_version(
                    ctx=ctx,
                    pack_slug=pack.slug,
                    scope=layer.scope,
                    content=layer.content,
                    notes=layer.notes,
                    author_kind=AuthorKind.IMPORT,
                )
                bootstrap(ctx=ctx, version_id=version.pk)
            made["layers"] += 1


def _known_layers(ctx_of: ContextOf) -> set[tuple[str, str]]:
    """(pack, scope) of the layers that are there; one that a person has emptied counts."""
    packs = catalogue.packs()
    found: set[tuple[str, str]] = set()
    for owner in sorted({Scope.parse(layer.scope).tenant_slug or PLATFORM for pack in packs for layer in pack.layers}):
        tenant_id = ctx_of(owner).tenant_id
        with in_tenant(tenant_id, EVERY_USER):
            rows = Layer.objects.filter(tenant_id=tenant_id, pack__slug__in=[pack.slug for pack in packs], versions__isnull=False)
            found |= set(rows.values_list("pack__slug", "scope"))
    return found


def _eval_sets(ctx_of: ContextOf, made: Counter[str]) -> None:
    for cases in catalogue.eval_sets():
        ctx = ctx_of(cases.tenant)
        with ctx.transaction():
            if EvalSet.objects.filter(tenant_id=ctx.tenant_id, slug=cases.slug).exists():
                continue
            target = create_eval_set(ctx=ctx, pack=cases.pack, slug=cases.slug, title=cases.title, description=cases.description)
            add_cases(ctx=ctx, eval_set_id=target.pk, cases=[as_sent(case) for case in cases.cases])
        made["eval sets"] += 1
        made["cases"] += len(cases.cases)


def as_sent(case: catalogue.Case) -> dict[str, object]:
    """A case as the portal takes it."""
    return {"input": case.input, "expected": case.expected, "tags": list(case.tags), "task_type": case.task_type, "split": case.split}
