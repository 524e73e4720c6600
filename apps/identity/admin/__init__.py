"""Organisations, tenants, people, agents and tokens, as people see and govern them."""

from apps.identity.admin import access, agents, people, providers, schedule, tenants, tokens

__all__ = ["access", "agents", "people", "providers", "schedule", "tenants", "tokens"]
