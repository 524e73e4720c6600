"""Organisations, tenants, people, agents and tokens, as people see and govern them."""

from apps.identity.admin import agents, delegations, people, providers, schedule, tenants, tokens

__all__ = ["agents", "delegations", "people", "providers", "schedule", "tenants", "tokens"]
