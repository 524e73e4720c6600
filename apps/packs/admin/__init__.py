"""Packs, layers, versions and subscriptions, as people see and write them."""

from apps.packs.admin import effective, layers, packs, versions

__all__ = ["effective", "layers", "packs", "versions"]
