"""Notices by e-mail, to a real mail server: to whom, what they say, and what becomes of those that are refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.audit.models import Event
from apps.core.errors import Problem
from apps.identity.models import Membership, Tenant, User
from apps.notices.models import Delivery, Notice, NoticePreference
from apps.notices.services import choose_emails
from apps.notices.services.notifying import spread_waiting
from apps.notices.tasks import deliver
from tests import factories as make
from tests.notices.receivers import MailServer
from tests.notices.telling import KIND, due_now, states, told


@pytest.fixture
def acme(db: None) -> Tenant:
    return make.tenant("acme")


def test_people_get_a_letter_in_plain_text_and_html_with_a_link(acme: Tenant, mail_server: MailServer) -> None:
    ann = make.user(acme, "manager", email="ann@acme.test")
    facts = {"risk": "high", "expires_at": "2026-11-27T16:31:54.951045+00:00"}
    notice = told(acme, ann, title="desk v2 <b>at</b> tenant:acme", facts=facts)
    assert deliver() == 1
    (letter,) = mail_server.letters
    assert letter.recipients == ["ann@acme.test"] and letter.message["To"] == "ann@acme.test"
    assert letter.message["Subject"] == "Approval wanted: desk v2 <b>at</b> tenant:acme"
    link = f"https://portal.example.test{notice.path}"
    assert link in letter.text and f'href="{link}"' in letter.html and "Risk: high" in letter.text
    assert "Expires at: 2026-11-27 16:31 UTC" in letter.text
    assert "<b>at</b>" not in letter.html and "&lt;b&gt;at&lt;/b&gt;" in letter.html
    assert letter.message["Message-ID"].startswith(f"<msg_{Delivery.objects.get().pk.hex}@") and letter.message["Auto-Submitted"]


def test_a_title_cannot_bring_headers_along(acme: Tenant, mail_server: MailServer) -> None:
    ann = make.user(acme, "manager", email="ann@acme.test")
    told(acme, ann, title="desk\r\nBcc: eve@evil.test\r\n\r\nbody\u2028x\x00y")
    deliver()
    (letter,) = mail_server.letters
    assert letter.message["Bcc"] is None and letter.recipients == ["ann@acme.test"]
    assert letter.message["Subject"] == "Approval wanted: desk Bcc: eve@evil.test body x y"


def test_who_is_no_member_any_more_or_does_not_want_it_gets_nothing(acme: Tenant, mail_server: MailServer) -> None:
    wants, unwilling, left, off, strange = (
        make.user(acme, "manager", email="wants@acme.test"),
        make.user(acme, "manager", email="unwilling@acme.test"),
        make.user(acme, "manager", email="left@acme.test"),
        make.user(acme, "manager", email="off@acme.test"),
        make.user(make.tenant("globex"), "manager", email="strange@globex.test"),
    )
    Membership.objects.create(tenant=acme, user=wants, role="author")
    Membership.objects.filter(user=left).update(until=timezone.now() - timedelta(hours=1))
    User.objects.filter(pk=off.pk).update(is_active=False)
    choices = choose_emails(ctx=make.context(acme.pk, "manager", user=unwilling), wanted={KIND: False})
    assert choices == {KIND: False, "promotions.approval_reminder": True, "promotions.decided": True, "fleet.action_requested": True}
    told(acme, wants, unwilling, left, off, strange, wants)
    told(acme, unwilling, kind="promotions.decided")
    deliver()
    assert sorted(letter.recipients[0] for letter in mail_server.letters) == ["unwilling@acme.test", "wants@acme.test"]
    assert mail_server.letters[-1].message["Subject"].startswith("Promotion: ")
    assert Event.objects.get(tenant_id=acme.pk, action="notices.emails_chosen").data == {KIND: False}
    choose_emails(ctx=make.context(acme.pk, "manager", user=unwilling), wanted={KIND: True})
    told(acme, unwilling)
    assert deliver() == 1 and NoticePreference.objects.count() == 1
    with pytest.raises(Problem, match="no kind"):
        choose_emails(ctx=make.context(acme.pk, "manager", user=unwilling), wanted={"promotions.secret": True})


def test_an_address_that_is_refused_costs_no_other(acme: Tenant, mail_server: MailServer) -> None:
    people = [make.user(acme, "manager", email=f"{name}@acme.test") for name in ("ann", "bob", "cas")]
    mail_server.refuses = {"ann@acme.test": 550, "bob@acme.test": 450}
    told(acme, *people)
    deliver()
    found = {row.user.email: (row.state, row.last_status) for row in Delivery.objects.select_related("user") if row.user}
    assert found == {"ann@acme.test": ("dead", 550), "bob@acme.test": ("failed", 450), "cas@acme.test": ("sent", 250)}
    assert mail_server.connections == 1
    assert not Delivery.objects.filter(last_error__contains="what the mail server says").exists()


def test_a_mail_server_that_is_away_is_asked_again_later(acme: Tenant, mail_server: MailServer, settings: Any) -> None:
    settings.EMAIL_PORT = 1
    told(acme, *[make.user(acme, "manager") for _ in range(3)])
    deliver()
    assert states(acme) == ["failed"] * 3
    settings.EMAIL_PORT = mail_server.port
    due_now(acme)
    deliver()
    assert states(acme) == ["sent"] * 3 and mail_server.connections == 1


def test_without_a_mail_server_no_letter_is_made(acme: Tenant) -> None:
    told(acme, make.user(acme, "manager"))
    assert deliver() == 0 and not Delivery.objects.exists() and Notice.objects.get().spread_at


def test_ten_thousand_recipients_take_no_query_each(acme: Tenant, mail_server: MailServer) -> None:
    people = User.objects.bulk_create([User(email=f"p{n}@acme.test", password="!") for n in range(10_000)])
    Membership.objects.bulk_create([Membership(tenant=acme, user=person, role="manager") for person in people])
    with CaptureQueriesContext(connection) as telling:
        told(acme, *people)
    with CaptureQueriesContext(connection) as spreading:
        assert spread_waiting(ctx=make.system(acme.pk)) == 1
    assert Delivery.objects.count() == 10_000
    assert len(telling) < 15 and len(spreading) < 25, (len(telling), len(spreading))
