"""Webhooks, notices and their deliveries, as people see and govern them."""

from apps.notices.admin import notices, webhooks

__all__ = ["notices", "webhooks"]
