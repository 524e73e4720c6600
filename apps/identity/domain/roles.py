"""The role table (`domain.md` 2): who may do what. Every question of access in the portal is answered from here."""

from __future__ import annotations

from apps.core.domain.actions import Action as A  # noqa: N817 -- a table reads better with short names

_AUTHOR = frozenset({A.VIEW, A.AUTHOR, A.EVALUATE, A.REQUEST_PROMOTION})
_MANAGER = _AUTHOR | {A.APPROVE, A.PROMOTE, A.ROLL_BACK}
_TENANT_ADMIN = _MANAGER | {
    A.FORCE,
    A.SUSPEND,
    A.OPERATE,
    A.MANAGE_MEMBERS,
    A.MANAGE_TOKENS,
    A.MANAGE_TENANT,
    A.DISTRIBUTE,
    A.ADOPT,
    A.BUDGETS,
    A.REVEAL,
    A.AUDIT,
    A.EXPORT,
}

ROLE_ACTIONS: dict[str, frozenset[A]] = {
    "viewer": frozenset({A.VIEW}),
    "author": _AUTHOR,
    "operator": frozenset({A.VIEW, A.OPERATE, A.ROLL_BACK}),
    "manager": _MANAGER,
    "tenant_admin": _TENANT_ADMIN,
    "auditor": frozenset({A.VIEW, A.AUDIT, A.EXPORT}),
    "agent": frozenset({A.RESOLVE, A.TELEMETRY, A.HEARTBEAT, A.SUGGEST, A.ANSWER_EVALUATION}),
    # The named system actor of tasks and maintenance.
    "system": frozenset(A),
}

# What a person can be a member as.
MEMBER_ROLES = ("viewer", "author", "operator", "manager", "tenant_admin", "auditor")


def allows(role: str, action: A) -> bool:
    return action in ROLE_ACTIONS.get(role, frozenset())
