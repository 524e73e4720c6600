"""The tenant switch of the admin."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_GET

from apps.core.errors import problem
from apps.identity.sessions import choose_tenant


@require_GET
@login_required
def choose_tenant_view(request: HttpRequest) -> HttpResponse:
    """Binds the session to another tenant. A GET, since it changes only what this browser looks at, and only among one's own."""
    wanted = request.GET.get("tenant", "")
    tenant = next((tenant for tenant in request.tenants if str(tenant.pk) == wanted), None)  # type: ignore[attr-defined]
    if tenant is None:
        raise problem("not_found", "You hold no role in that tenant.")
    choose_tenant(request, tenant)
    messages.info(request, f"You now work in {tenant.name}.")
    return redirect("admin:index")
