"""Promotions, the approvals they collect, and decisions, as people see and steer them."""

from apps.promotions.admin import decisions, inbox, promotions, requesting

__all__ = ["decisions", "inbox", "promotions", "requesting"]
