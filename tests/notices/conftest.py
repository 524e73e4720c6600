from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.notices.receivers import MailServer, Receiver, running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running(Receiver()) as server:
        yield server


@pytest.fixture
def mail_server(settings: Any) -> Iterator[MailServer]:
    """E-mail is on, by a server that takes it. (Django's test set-up puts another backend in place of SMTP.)"""
    with running(MailServer()) as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
        settings.PORTAL_URL = "https://portal.example.test"
        yield server
