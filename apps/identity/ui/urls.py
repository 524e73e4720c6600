from django.urls import path

from apps.identity.oidc import views as oidc
from apps.identity.ui.access import access_view
from apps.identity.ui.sign_in import sign_in_view
from apps.identity.ui.views import choose_tenant_view, password_change_view

urlpatterns = [
    path("admin/access/", access_view, name="effective_access"),
    path("admin/tenant/", choose_tenant_view, name="choose_tenant"),
    # In the place of the admin's own pages, which would write the whole row and no record, know no providers, and sign out here only.
    path("admin/password_change/", password_change_view, name="change_own_password"),
    path("admin/login/", sign_in_view, name="sign_in"),
    path("admin/logout/", oidc.sign_out, name="sign_out"),
    path("oidc/callback/", oidc.callback, name="oidc_callback"),
    path("oidc/confirmed/", oidc.confirmed, name="oidc_confirmed"),
    path("oidc/<slug:slug>/begin/", oidc.begin, name="oidc_begin"),
]
