"""Views that harnesses send texts to, apart from telemetry itself."""

from __future__ import annotations

from typing import Any

from apps.core.api.exceptions import as_problem
from apps.core.api.views import ContextMixin
from apps.telemetry.selectors.rules import redactor_of
from apps.telemetry.services.screening import screen_error


class ScreenedMixin(ContextMixin):
    """A refusal repeats nothing that the tenant's own rules replace; everybody's hold in every refusal (`problem_body`)."""

    def handle_exception(self, exc: Exception) -> Any:
        ctx = getattr(self.request._request, "ctx", None)
        found = as_problem(exc, self.get_exception_handler_context()) if ctx is not None else None
        return super().handle_exception(exc if ctx is None or found is None else screen_error(found, redactor_of(ctx.tenant_id)))
