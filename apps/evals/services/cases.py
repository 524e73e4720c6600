"""Eval sets and their cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Max

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.domain.canonical import canonical_bytes, check_json, pointer
from apps.core.errors import FieldError, Problem, problem
from apps.evals.models import EvalCase, EvalSet, Split
from apps.identity.models import slug_validator
from apps.identity.permissions import require
from apps.packs.models import Pack, PackKind

MAX_CASES_PER_CALL = 1000
MAX_INPUT_BYTES = 64 * 1024
MAX_EXPECTED_BYTES = 16 * 1024
MAX_TAGS = 20
MAX_TAG = 63
MAX_TASK_TYPE = 100
MAX_FINDINGS = 100
CASE_KEYS = ("input", "expected", "tags", "task_type", "split")


def create_eval_set(*, ctx: ActionContext, pack: str, slug: str, title: str, description: str = "") -> EvalSet:
    """An empty set of cases for one pack, the tenant's own or a shared one. Raises Problem `not_found`, `invalid`, `slug_taken`."""
    with ctx.transaction():
        target = Pack.objects.restrict(ctx).filter(slug=pack).first()
        require(ctx, Action.EVALUATE, tenant_id=ctx.tenant_id, on=[target] if target else None)
        if target is None:
            raise problem("not_found", f"There is no pack '{pack}' here.")
        if target.kind == PackKind.POLICY:
            raise problem(
                "invalid", "A policy pack answers nothing by itself; make the set for a domain pack that it applies to.", pointer="/pack"
            )
        try:
            slug_validator(slug)
        except ValidationError as error:
            raise problem("invalid", error.messages[0], pointer="/slug") from None
        try:
            with transaction.atomic():
                made = EvalSet.objects.create(tenant_id=ctx.tenant_id, pack=target, slug=slug, title=title or slug, description=description)
        except IntegrityError:
            raise problem("slug_taken", f"There is an eval set '{slug}' already; choose another slug.", pointer="/slug") from None
        record(ctx, "evals.set_created", made, data={"slug": slug, "pack": target.slug})
        return made


def add_cases(*, ctx: ActionContext, eval_set_id: UUID, cases: Sequence[Any]) -> list[EvalCase]:
    """Appends cases to a set and numbers them on. All or nothing: bad ones are named by pointer (`/cases/3/input`).

    A case is `{input, expected?, tags?, task_type?, split?}`: `input` a text or an object, `split` `train` or `validation` (the default). It is
    stored as its author wrote it, invented secrets included: safety cases need them. What agents answer is redacted.
    Raises Problem `not_found`, `permission_denied`, `invalid`, `unknown_key`, `not_available` (split `holdout`).
    """
    with ctx.transaction():
        visible = EvalSet.objects.visible(ctx, pk=eval_set_id)
        require(ctx, Action.EVALUATE, tenant_id=visible.tenant_id, on=visible)
        if not 1 <= len(cases) <= MAX_CASES_PER_CALL:
            raise problem("invalid", f"Send 1 to {MAX_CASES_PER_CALL} cases at a time, not {len(cases)}.", pointer="/cases")
        _check(cases)
        # Two calls at once number their cases one after the other.
        target = EvalSet.objects.select_for_update().get(pk=visible.pk)
        last = target.cases.aggregate(last=Max("number"))["last"] or 0
        made = [
            EvalCase(
                tenant_id=target.tenant_id,
                eval_set=target,
                number=number,
                input=case["input"],
                expected=case.get("expected") or {},
                tags=case.get("tags") or [],
                task_type=case.get("task_type") or "",
                split=case.get("split") or Split.VALIDATION,
            )
            for number, case in enumerate(cases, start=last + 1)
        ]
        EvalCase.objects.bulk_create(made)
        record(ctx, "evals.cases_added", target, data={"first": last + 1, "last": last + len(made)})
        return made


def _check(cases: Sequence[Any]) -> None:
    findings: list[FieldError] = []
    for index, case in enumerate(cases):
        findings += _findings(f"/cases/{index}", case)
        if len(findings) >= MAX_FINDINGS:
            break
    if not findings:
        return
    codes = {finding.code for finding in findings}
    summary = (
        findings[0].detail if len(findings) == 1 else f"{len(findings)} findings. The first, at {findings[0].pointer}: {findings[0].detail}"
    )
    raise problem(codes.pop() if len(codes) == 1 else "invalid", summary, errors=findings[:MAX_FINDINGS])


def _findings(at: str, case: Any) -> Iterator[FieldError]:
    if not isinstance(case, Mapping):
        yield FieldError(at, "invalid", f"A case is an object with {', '.join(CASE_KEYS)}.")
        return
    try:
        check_json(case)
    except Problem as error:
        yield from (FieldError(at + found.pointer, found.code, found.detail) for found in error.errors)
        return
    for key in case:
        if key not in CASE_KEYS:
            yield FieldError(at + pointer(key), "unknown_key", f"Unknown key '{key}'; a case has {', '.join(CASE_KEYS)}.")
    given, expected = case.get("input"), case.get("expected")
    if not isinstance(given, str | Mapping) or not given:
        yield FieldError(f"{at}/input", "invalid", "`input` is missing: a text or an object for the agent.")
    elif (size := len(canonical_bytes(given))) > MAX_INPUT_BYTES:
        yield FieldError(f"{at}/input", "invalid", f"{size} bytes; at most {MAX_INPUT_BYTES} are taken.")
    if expected is not None and not isinstance(expected, Mapping):
        yield FieldError(f"{at}/expected", "invalid", "`expected` is an object that the checks read.")
    elif expected is not None and (size := len(canonical_bytes(expected))) > MAX_EXPECTED_BYTES:
        yield FieldError(f"{at}/expected", "invalid", f"{size} bytes; at most {MAX_EXPECTED_BYTES} are taken.")
    yield from _label_findings(at, case)


def _label_findings(at: str, case: Mapping[str, Any]) -> Iterator[FieldError]:
    tags = case.get("tags")
    if tags is not None and not (
        isinstance(tags, list | tuple) and len(tags) <= MAX_TAGS and all(isinstance(tag, str) and 0 < len(tag) <= MAX_TAG for tag in tags)
    ):
        yield FieldError(f"{at}/tags", "invalid", f"At most {MAX_TAGS} texts of 1 to {MAX_TAG} characters.")
    task_type = case.get("task_type")
    if task_type is not None and not (isinstance(task_type, str) and len(task_type) <= MAX_TASK_TYPE):
        yield FieldError(f"{at}/task_type", "invalid", f"A text of at most {MAX_TASK_TYPE} characters.")
    split = case.get("split")
    if split == "holdout":
        yield FieldError(f"{at}/split", "not_available", "The sealed holdout is not available yet; use `train` or `validation`.")
    elif split is not None and split not in Split.values:
        yield FieldError(f"{at}/split", "invalid", "`split` is `train` or `validation`.")
