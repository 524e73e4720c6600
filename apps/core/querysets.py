"""The one way in: every list and look-up of admin, API and pages goes through `restrict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from django.core.exceptions import ValidationError
from django.db import DataError, models

from apps.core.access import Action, restriction
from apps.core.errors import problem

if TYPE_CHECKING:
    from apps.core.context import ActionContext


class RestrictedQuerySet(models.QuerySet[Any]):
    def restrict(self, ctx: ActionContext, action: Action = Action.VIEW) -> Self:
        """The rows on which `ctx` may do `action`."""
        return self.filter(restriction(ctx, action, self.model))

    def visible(self, ctx: ActionContext, **lookup: Any) -> Any:
        """The one row, or Problem `not_found`: what is invisible does not exist."""
        try:
            return self.restrict(ctx, Action.VIEW).get(**lookup)
        except (self.model.DoesNotExist, ValueError, ValidationError, DataError):
            raise problem("not_found", f"There is no such {self.model._meta.verbose_name}.") from None


RestrictedManager = models.Manager.from_queryset(RestrictedQuerySet)
