"""The role table (`domain.md` 2): who may do what. Every question of access in the portal is answered from here."""

from __future__ import annotations

from apps.core.domain.actions import Action as A  # noqa: N817 -- a table reads better with short names

# The prompt library's matrix (`domain.md` 12): who reads; users, who also write and delete; admins, who also link.
_READER = frozenset({A.VIEW, A.PROMPT_READ})
_AUTHOR = _READER | {A.AUTHOR, A.EVALUATE, A.REQUEST_PROMOTION, A.PROMPT_WRITE, A.PROMPT_DELETE}
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
    A.PROMPT_LINK,
}

ROLE_ACTIONS: dict[str, frozenset[A]] = {
    "viewer": _READER,
    "author": _AUTHOR,
    "operator": _READER | {A.OPERATE, A.ROLL_BACK},
    "manager": _MANAGER,
    "tenant_admin": _TENANT_ADMIN,
    "auditor": _READER | {A.AUDIT, A.EXPORT},
    "agent": frozenset({A.RESOLVE, A.TELEMETRY, A.HEARTBEAT, A.SUGGEST, A.REQUEST_ACTION, A.ANSWER_EVALUATION, A.PROMPT_READ}),
    # The named system actor of tasks and maintenance.
    "system": frozenset(A),
}

# What a person can be a member as.
MEMBER_ROLES = ("viewer", "author", "operator", "manager", "tenant_admin", "auditor")


# What hands out or keeps power beyond a delegation's end stays with who holds the role: nobody adds members, issues tokens, maps groups
# or reads secrets by a right that is lent.
NOT_DELEGABLE = frozenset({A.MANAGE_MEMBERS, A.MANAGE_TOKENS, A.MANAGE_TENANT, A.REVEAL})


def allows(role: str, action: A, *, delegated: bool = False) -> bool:
    return action in actions_of(role, delegated=delegated)


def actions_of(role: str, *, delegated: bool = False) -> frozenset[A]:
    """What the role may do; `delegated`: held by delegation."""
    found = ROLE_ACTIONS.get(role, frozenset())
    return found - NOT_DELEGABLE if delegated else found
