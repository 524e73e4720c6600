"""The acts that the role table speaks of."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """Everything that a person or a harness can be allowed to do."""

    VIEW = "view"
    AUTHOR = "author"
    EVALUATE = "evaluate"
    REQUEST_PROMOTION = "request_promotion"
    APPROVE = "approve"
    PROMOTE = "promote"
    FORCE = "force"
    SUSPEND = "suspend"
    ROLL_BACK = "roll_back"
    OPERATE = "operate"
    MANAGE_MEMBERS = "manage_members"
    MANAGE_TOKENS = "manage_tokens"
    MANAGE_TENANT = "manage_tenant"
    DISTRIBUTE = "distribute"
    ADOPT = "adopt"
    BUDGETS = "budgets"
    REVEAL = "reveal"
    AUDIT = "audit"
    EXPORT = "export"
    RESOLVE = "resolve"
    TELEMETRY = "telemetry"
    HEARTBEAT = "heartbeat"
    SUGGEST = "suggest"
    REQUEST_ACTION = "request_action"
    ANSWER_EVALUATION = "answer_evaluation"
    PROMPT_READ = "prompt_read"
    PROMPT_WRITE = "prompt_write"
    PROMPT_LINK = "prompt_link"
    PROMPT_DELETE = "prompt_delete"
