"""Local sign-in by e-mail and password; rights are not Django's but the role table's."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.backends import BaseBackend
from django.http import HttpRequest

from apps.identity.models import User


class RoleBackend(BaseBackend):
    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        if not settings.LOCAL_LOGIN:
            return None
        user = User.objects.filter(email=(username or "").strip().lower()).first()
        if user is None or not user.has_usable_password():
            # The same work as for a known address, so that the time tells nothing.
            User().set_password(password)
            return None
        return user if password and user.check_password(password) and user.is_active else None

    def get_user(self, user_id: Any) -> User | None:
        """Nobody once local sign-in is switched off: sessions that began by password end with it."""
        return User.objects.filter(pk=user_id, is_active=True).first() if settings.LOCAL_LOGIN else None
