"""What follows in this room from what is published."""

from __future__ import annotations

from typing import Any

from apps.core.context import ActionContext
from apps.core.events import subscribe
from apps.telemetry.models import Export
from apps.telemetry.services.exports import delete_exports


@subscribe("telemetry.erased")
def forget_in_exports(ctx: ActionContext, *, user_ref: str, **facts: Any) -> None:
    """Any file of the tenant may hold what the user was erased from; a row that names the user in its filters goes altogether."""
    delete_exports(ctx=ctx, reason="The data of a user was erased.")
    Export.objects.filter(tenant_id=ctx.tenant_id, filters__user_ref=user_ref).delete()
