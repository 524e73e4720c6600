"""What PostgreSQL holds of the fleet."""

from apps.fleet.models.commands import Command, Delivery
from apps.fleet.models.harnesses import Harness, Serving
from apps.fleet.models.requests import ActionRequest, Suggestion

__all__ = ["ActionRequest", "Command", "Delivery", "Harness", "Serving", "Suggestion"]
