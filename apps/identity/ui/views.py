"""The tenant switch of the admin, and one's own password."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import PasswordChangeView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse_lazy
from django.views.decorators.http import require_GET
from unfold.forms import AdminOwnPasswordChangeForm

from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.core.http import context_of
from apps.identity.services.passwords import change_own_password
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


class OwnPasswordForm(AdminOwnPasswordChangeForm):
    """The old password is asked for; the new one is set by the service."""

    def __init__(self, user: Any, *args: Any, ctx: ActionContext, **kwargs: Any) -> None:
        super().__init__(user, *args, **kwargs)
        self.ctx = ctx

    def save(self, commit: bool = True) -> Any:
        changed = change_own_password(ctx=self.ctx, password=self.cleaned_data["new_password1"])
        self.user.password = changed.password
        return self.user


class OwnPasswordView(PasswordChangeView):
    form_class = OwnPasswordForm
    template_name = "registration/password_change_form.html"
    success_url = reverse_lazy("admin:index")

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "ctx": context_of(self.request)}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**admin.site.each_context(self.request), **super().get_context_data(**kwargs), "title": "Change password"}

    def form_valid(self, form: Any) -> HttpResponse:
        messages.success(self.request, "Your password is changed; your other sessions have ended.")
        return super().form_valid(form)


password_change_view = login_required(OwnPasswordView.as_view())
