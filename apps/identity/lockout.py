"""Guessing passwords: django-axes counts in the database, over all processes, by account and address; here is who and where that is."""

from __future__ import annotations

import hashlib
import ipaddress
from datetime import datetime, timedelta
from typing import Any

from axes.attempts import get_cool_off_threshold
from axes.backends import AxesStandaloneBackend
from axes.models import AccessAttempt
from django.conf import settings
from django.db import connection
from django.db.models import Max
from django.http import HttpRequest

from apps.core.limits import address_of


class LimitedBackend(AxesStandaloneBackend):
    """Stands before the others: where an account is locked for an address, no password is tried. It signs nobody in. Without a request
    nobody is guessing."""

    def authenticate(self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any) -> None:
        """Raises PermissionDenied where it is locked."""
        if request is not None and username is not None:
            super().authenticate(request, username=username, password=password, **kwargs)


def account(request: HttpRequest | None, credentials: dict[str, Any] | None) -> str:
    """The account that is tried, as addresses are stored; whether it exists makes no difference."""
    sent = (credentials or {}).get("username") or (request.POST.get("username") if request is not None else None)
    return str(sent or "").strip().lower()[:255]


def address(request: HttpRequest) -> str | None:
    """Where the attempt comes from: the visitor's own address also behind a proxy that is trusted. None for what is no address."""
    found = address_of(request)
    # `1.2.3.4:5678` and `[2001:db8::1]:5678` name a port as well.
    bare = found[1:].partition("]")[0] if found.startswith("[") else found.partition(":")[0] if found.count(":") == 1 else found
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return None


def one_at_a_time(request: HttpRequest, email: str) -> None:
    """Until this transaction ends, nobody else tries this account from this address: guesses at one moment are counted one by one."""
    key = hashlib.sha256(f"{address(request)}\n{account(request, {'username': email})}".encode()).digest()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [int.from_bytes(key[:8], signed=True)])


def open_again(request: HttpRequest, email: str) -> datetime:
    """When a locked account can be tried again from the request's address."""
    mine = AccessAttempt.objects.filter(username=account(request, {"username": email}), ip_address=address(request))
    latest: datetime = mine.aggregate(latest=Max("attempt_time"))["latest"] or get_cool_off_threshold(request)
    return latest + cool_off()


def cool_off() -> timedelta:
    found: timedelta = settings.AXES_COOLOFF_TIME
    return found
