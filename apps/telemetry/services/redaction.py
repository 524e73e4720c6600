"""A tenant's redaction policy and its own patterns. What was stored before a change stays as it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext, Topic
from apps.core.domain.redaction import KEY_RULE, RULE_NAMES
from apps.core.domain.redaction_patterns import MAX_PATTERNS, Pattern, check_together, checked
from apps.core.errors import problem
from apps.core.generations import bump
from apps.identity.permissions import require
from apps.identity.services.rows import assign, save
from apps.telemetry.models import RedactionPattern, RedactionPolicy
from apps.telemetry.selectors.rules import load_redactor

POLICY_FIELDS = ("redact_email", "redact_phone", "store_content")
# Switched off ones count too: a list that nobody can read helps nobody.
MAX_ROWS = 4 * MAX_PATTERNS
MAX_TRIED = 20_000
_TAKEN = RULE_NAMES | {KEY_RULE}


@dataclass(frozen=True, slots=True)
class Tried:
    """What would be stored of a text, and the names of the rules that fired."""

    text: str
    rules: list[str]


def set_policy(*, ctx: ActionContext, changes: Mapping[str, Any], reason: str = "") -> RedactionPolicy:
    """Changes the tenant's policy for what is received from now on. Raises Problem `permission_denied`, `invalid`, `unknown_key`."""
    with ctx.transaction():
        require(ctx, Action.MANAGE_TENANT, tenant_id=ctx.tenant_id)
        policy = RedactionPolicy.objects.select_for_update().filter(tenant_id=ctx.tenant_id).first()
        fresh = policy is None
        policy = policy or RedactionPolicy(tenant_id=ctx.tenant_id)
        moved = assign(policy, changes, POLICY_FIELDS)
        if moved:
            taken = {
                "telemetry_redactionpolicy_one": problem("wrong_state", "The policy was set by somebody else just now; look at it again.")
            }
            save(policy, taken=taken, fields=None if fresh else [*moved, "updated_at"])
            bump(ctx, Topic.REDACTION, ctx.tenant_id)
            record(ctx, "telemetry.redaction_changed", policy, data={"changes": moved}, reason=reason)
        return policy


def add_pattern(*, ctx: ActionContext, name: str, pattern: str) -> RedactionPattern:
    """A pattern of the tenant's, switched on. Raises Problem `permission_denied`, `invalid`, `slug_taken`, `wrong_state` (too many)."""
    with ctx.transaction():
        require(ctx, Action.MANAGE_TENANT, tenant_id=ctx.tenant_id)
        if RedactionPattern.objects.filter(tenant_id=ctx.tenant_id).count() >= MAX_ROWS:
            raise problem("wrong_state", f"The tenant has {MAX_ROWS} patterns already; change one of them.")
        row = RedactionPattern(tenant_id=ctx.tenant_id, name=name.strip(), pattern=pattern)
        _check(row)
        save(row, taken=_taken(row))
        bump(ctx, Topic.REDACTION, ctx.tenant_id)
        record(ctx, "telemetry.pattern_added", row, data={"name": row.name})
        return row


def update_pattern(*, ctx: ActionContext, pattern_id: UUID | str, changes: Mapping[str, Any], reason: str = "") -> RedactionPattern:
    """Changes name, pattern or enabled. Raises Problem `not_found`, `permission_denied`, `invalid`, `unknown_key`, `slug_taken`."""
    with ctx.transaction():
        row: RedactionPattern = RedactionPattern.objects.select_for_update().visible(ctx, pk=pattern_id)
        require(ctx, Action.MANAGE_TENANT, tenant_id=row.tenant_id)
        unknown = sorted(set(changes) - {"name", "pattern", "enabled"})
        if unknown:
            raise problem("unknown_key", f"'{unknown[0]}' cannot be changed; what can: name, pattern, enabled.", pointer=f"/{unknown[0]}")
        moved = [field for field, value in changes.items() if getattr(row, field) != value]
        for field in moved:
            setattr(row, field, changes[field])
        if moved:
            _check(row)
            save(row, taken=_taken(row), fields=[*moved, "updated_at"])
            bump(ctx, Topic.REDACTION, ctx.tenant_id)
            record(ctx, "telemetry.pattern_changed", row, data={"name": row.name, "changed": moved, "enabled": row.enabled}, reason=reason)
        return row


def try_text(*, ctx: ActionContext, text: str) -> Tried:
    """What the tenant's rules as they stand would make of a text; nothing is kept of it. Raises Problem `permission_denied`, `invalid`."""
    with ctx.transaction():
        require(ctx, Action.VIEW, tenant_id=ctx.tenant_id)
        if len(text) > MAX_TRIED:
            raise problem("invalid", f"Try at most {MAX_TRIED:,} characters.", pointer="/text")
        return Tried(*load_redactor(ctx.tenant_id).redact_text(text))


def _check(row: RedactionPattern) -> None:
    """Holds the pattern to its limits, and all that would be switched on together to theirs."""
    own = checked(row.name, row.pattern, taken=_TAKEN)
    if row.enabled:
        others = RedactionPattern.objects.filter(tenant_id=row.tenant_id, enabled=True).exclude(pk=row.pk).values_list("name", "pattern")
        check_together([own, *(Pattern(name, text) for name, text in others)])


def _taken(row: RedactionPattern) -> dict[str, Any]:
    return {"telemetry_redactionpattern_name": problem("slug_taken", f"There is a pattern '{row.name}' already.", pointer="/name")}
