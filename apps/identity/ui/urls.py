from django.urls import path

from apps.identity.ui.views import choose_tenant_view, password_change_view

urlpatterns = [
    path("admin/tenant/", choose_tenant_view, name="choose_tenant"),
    # In the place of the admin's own page, which would write the whole row and no record.
    path("admin/password_change/", password_change_view, name="change_own_password"),
]
