"""What a harness, a person or a task does with the fleet."""

from apps.fleet.services.control import order
from apps.fleet.services.heartbeats import Beaten, beat
from apps.fleet.services.requests import answer_request, request_action, use_request
from apps.fleet.services.suggestions import suggest

__all__ = ["Beaten", "answer_request", "beat", "order", "request_action", "suggest", "use_request"]
