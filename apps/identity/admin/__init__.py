"""Organisations, tenants, people, agents and tokens, as people see and govern them."""

from apps.identity.admin import access, agents, delegations, people, providers, schedule, tenants, tokens

__all__ = ["access", "agents", "delegations", "people", "providers", "schedule", "tenants", "tokens"]
