"""Local sign-in by e-mail and password; rights are not Django's but the role table's."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.hashers import check_password
from django.http import HttpRequest

from apps.core.context import in_tenant
from apps.identity.models import User
from apps.identity.selectors import active_person, person_to_sign_in, tenants_of


class RoleBackend(BaseBackend):
    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        if not settings.LOCAL_LOGIN:
            return None
        user = person_to_sign_in((username or "").strip().lower())
        if user is None or not user.has_usable_password():
            # The same work as for a known address, so that the time tells nothing.
            User().set_password(password)
            return None

        def rehash(raw: str) -> None:
            # An older hash is made anew, in a tenant that knows the person: elsewhere their row cannot be written.
            for tenant in tenants_of(user)[:1]:
                with in_tenant(tenant.pk):
                    user.set_password(raw)
                    user.save(update_fields=["password"])

        return user if password and check_password(password, user.password, setter=rehash) and user.is_active else None

    def get_user(self, user_id: Any) -> User | None:
        """Nobody once local sign-in is switched off: sessions that began by password end with it."""
        return active_person(user_id) if settings.LOCAL_LOGIN else None
