"""Sending, without the database: it runs in threads, and what it needs comes along.

What the other side says is never kept: an outcome has its status and a sentence of ours.
"""

from __future__ import annotations

import smtplib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.base import BaseEmailBackend

from apps.core.egress import EgressFailed, EgressRefused, fetch
from apps.notices.domain.mails import Mail
from apps.notices.domain.retrying import Outcome
from apps.notices.domain.webhooks import signed_headers


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    delivery_id: UUID
    message_id: str
    url: str
    secrets: tuple[str, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class MailMessage:
    delivery_id: UUID
    message_id: str
    address: str
    mail: Mail


Message = WebhookMessage | MailMessage
M = TypeVar("M", WebhookMessage, MailMessage)
Outcomes = list[tuple[UUID, Outcome]]


def send(messages: Sequence[Message], seconds: float) -> Outcomes:
    """Sends to one target, one message after the other. Where the other side is away, it is so for all of them; when the time is over, the
    rest stays unsent."""
    until = time.monotonic() + seconds
    letters = [message for message in messages if isinstance(message, MailMessage)]
    if letters:
        return _send_letters(letters, until)
    return _each([message for message in messages if isinstance(message, WebhookMessage)], post, until)


def _each(messages: Sequence[M], one: Callable[[M], Outcome], until: float) -> Outcomes:
    done: Outcomes = []
    away: Outcome | None = None
    for message in messages:
        if away is None and time.monotonic() > until:
            done.append((message.delivery_id, Outcome("unsent")))
            continue
        outcome = away or one(message)
        if outcome.result == "retry" and outcome.status is None:
            away = outcome
        done.append((message.delivery_id, outcome))
    return done


def post(message: WebhookMessage) -> Outcome:
    """One signed POST. Its answer's body stays unread."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "MissionControl-Webhooks/1",
        **signed_headers(message.secrets, message.message_id, int(time.time()), message.body),
    }
    limit = settings.NOTICES_WEBHOOK_TIMEOUT_S
    try:
        answer = fetch("POST", message.url, headers=headers, content=message.body, connect_s=min(5.0, limit), total_s=limit, max_bytes=0)
    except EgressRefused as refused:
        return Outcome("retry", None, f"Not sent. {refused.detail}")
    except EgressFailed as failed:
        return Outcome("retry", None, f"The receiver is away: {failed}.")
    if 200 <= answer.status < 300:
        return Outcome("sent", answer.status)
    return Outcome("gone" if answer.status == 410 else "retry", answer.status, f"The receiver answered {answer.status}.")


def _send_letters(letters: Sequence[MailMessage], until: float) -> Outcomes:
    """All over one connection."""
    try:
        connection = get_connection(fail_silently=False)
        connection.open()
    except (smtplib.SMTPException, OSError) as error:
        trouble = _trouble(error)
        return [(letter.delivery_id, trouble) for letter in letters]
    try:
        return _each(letters, lambda letter: _send_letter(connection, letter), until)
    finally:
        connection.close()


def _send_letter(connection: BaseEmailBackend, letter: MailMessage) -> Outcome:
    host = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].strip(" >") or "localhost"
    message = EmailMultiAlternatives(
        letter.mail.subject,
        letter.mail.text,
        to=[letter.address],
        connection=connection,
        # The same at every attempt: a repetition is one message for the reader's mail program.
        headers={"Message-ID": f"<{letter.message_id}@{host}>", "Auto-Submitted": "auto-generated", "X-Auto-Response-Suppress": "All"},
    )
    message.attach_alternative(letter.mail.html, "text/html")
    try:
        message.send()
    except ValueError:
        return Outcome("refused", None, "The address or the sender is not one that a mail can have.")
    except (smtplib.SMTPException, OSError) as error:
        return _trouble(error)
    return Outcome("sent", 250)


def _trouble(error: Exception) -> Outcome:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code = next(iter(error.recipients.values()))[0]
        return Outcome("refused" if code >= 500 else "retry", code, f"The mail server refused the address ({code}).")
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return Outcome("retry", None, "The mail server refused the login (EMAIL_HOST_USER, EMAIL_HOST_PASSWORD).")
    if isinstance(error, smtplib.SMTPResponseException) and not isinstance(error, smtplib.SMTPConnectError):
        return Outcome("retry", error.smtp_code, f"The mail server answered {error.smtp_code}.")
    return Outcome("retry", None, "The mail server is away.")
