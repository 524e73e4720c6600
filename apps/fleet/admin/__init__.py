"""The fleet as people see and steer it."""

from apps.fleet.admin import agents, commands, harnesses, requests

__all__ = ["agents", "commands", "harnesses", "requests"]
