from django.urls import path

from apps.identity.ui.views import choose_tenant_view

urlpatterns = [path("admin/tenant/", choose_tenant_view, name="choose_tenant")]
