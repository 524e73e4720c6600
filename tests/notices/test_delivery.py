"""Notices on their way, to real receivers: signed, repeated, once each, and one that is slow keeps no other waiting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.audit.models import Event
from apps.core.errors import Problem
from apps.identity.models import Membership, Tenant, User
from apps.notices.domain.retrying import MAX_ATTEMPTS
from apps.notices.models import Delivery, Notice, NoticePreference, Webhook
from apps.notices.services import choose_emails, create_webhook, rotate_secret, send_again, switch_webhook, try_webhook
from apps.notices.services.notifying import spread_waiting
from apps.notices.tasks import deliver, forget
from tests import factories as make
from tests.notices.receivers import MailServer, Receiver, running, verified
from tests.notices.telling import KIND, states, told

EVENTS = [KIND, "promotions.decided"]


@pytest.fixture
def acme(db: None) -> Tenant:
    return make.tenant("acme")


def hook(tenant: Tenant, receiver: Receiver, name: str = "chat", events: list[str] = EVENTS) -> tuple[Webhook, str]:
    shown = create_webhook(ctx=make.system(tenant.pk), name=name, url=receiver.url, events=events)
    return shown.webhook, shown.secret


def due_now(tenant: Tenant) -> None:
    """As if the time to the next attempt had passed."""
    Delivery.objects.filter(tenant=tenant, state__in=["pending", "failed"]).update(next_attempt_at=timezone.now())


def test_a_webhook_gets_a_message_that_it_can_verify(acme: Tenant, receiver: Receiver, settings: Any) -> None:
    settings.PORTAL_URL = "https://portal.example.test"
    _, secret = hook(acme, receiver)
    hook(acme, receiver, "other kinds", ["promotions.decided"])
    notice = told(acme)
    assert deliver() == 1
    (got,) = receiver.got
    assert verified(secret, got.headers, got.body)
    assert not verified(secret, got.headers, got.body + b" ") and not verified("whsec_" + "A" * 44, got.headers, got.body)
    assert not verified(secret, {**got.headers, "webhook-timestamp": str(int(time.time()) - 600)}, got.body)
    assert got.headers["content-type"] == "application/json" and got.path == "/in/s3cr3t-path"
    body = json.loads(got.body)
    assert body["type"] == KIND and body["data"] == {
        "id": str(notice.pk),
        "tenant": "acme",
        "subject": str(notice.subject_id),
        "title": "desk v2 at tenant:acme",
        "path": notice.path,
        "url": f"https://portal.example.test{notice.path}",
        "facts": {"pack": "desk", "scope": "tenant:acme", "risk": "high"},
    }
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.attempts, delivery.last_status) == ("sent", 1, 200) and delivery.sent_at
    assert deliver() == 0


def test_what_fails_is_repeated_under_the_same_id_with_a_new_time(acme: Tenant, receiver: Receiver) -> None:
    _, secret = hook(acme, receiver)
    told(acme)
    receiver.answers = [500, 302, 200]
    seen = []
    for _ in range(3):
        deliver()
        delivery = Delivery.objects.get()
        seen.append((delivery.state, delivery.attempts, delivery.last_status, delivery.last_error))
        assert deliver() == 0, "not before its time"
        due_now(acme)
    assert seen == [
        ("failed", 1, 500, "The receiver answered 500."),
        ("failed", 2, 302, "The receiver answered 302."),
        ("sent", 3, 200, ""),
    ]
    assert len(set(receiver.ids)) == 1 and len({got.body for got in receiver.got}) == 1
    assert all(verified(secret, got.headers, got.body) for got in receiver.got)


def test_after_the_last_attempt_it_is_dead_until_somebody_sends_it_again(acme: Tenant, receiver: Receiver) -> None:
    hook(acme, receiver)
    told(acme)
    receiver.answers = [503]
    for _ in range(MAX_ATTEMPTS):
        deliver()
        due_now(acme)
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.attempts, len(receiver.got)) == ("dead", MAX_ATTEMPTS, MAX_ATTEMPTS)
    assert deliver() == 0
    receiver.answers = [200]
    admin = make.context(acme.pk, "tenant_admin")
    with pytest.raises(Problem, match="permission_denied"):
        send_again(ctx=make.context(acme.pk, "manager"), delivery_id=delivery.pk)
    send_again(ctx=admin, delivery_id=delivery.pk, reason="It is back.")
    deliver()
    assert states(acme) == ["sent"] and len(set(receiver.ids)) == 1
    with pytest.raises(Problem, match="wrong_state"):
        send_again(ctx=admin, delivery_id=delivery.pk)
    assert Event.objects.filter(tenant_id=acme.pk, action="notices.sent_again").count() == 1


def test_nobody_there_and_nobody_who_answers_in_time(acme: Tenant, receiver: Receiver, settings: Any) -> None:
    settings.NOTICES_WEBHOOK_TIMEOUT_S = 0.3
    release = threading.Event()
    receiver.answers = [lambda: (release.wait(20) and 200) or 200]
    slow, _ = hook(acme, receiver, "slow")
    gone = Receiver()
    gone.server_close()
    away, _ = hook(acme, gone, "away")
    told(acme)
    deliver()
    release.set()
    said = dict(Delivery.objects.values_list("webhook_id", "last_error"))
    assert said == {
        slow.pk: "The receiver is away: it did not answer in time.",
        away.pk: "The receiver is away: it takes no connection.",
    }
    assert states(acme) == ["failed", "failed"]


def test_a_slow_receiver_keeps_no_other_waiting(acme: Tenant, receiver: Receiver, settings: Any) -> None:
    """While it holds its answer back, the others' messages arrive: its own answer waits for them."""
    settings.NOTICES_WEBHOOK_TIMEOUT_S = 30
    others = make.tenant("globex")
    with running(Receiver()) as quick:
        receiver.answers = [lambda: 200 if wait_for(lambda: len(quick.got) == 6) else 500, 200]
        hook(acme, receiver, "slow")
        hook(acme, quick, "quick")
        hook(others, quick, "quick")
        for _ in range(3):
            told(acme)
            told(others)
        deliver()
    assert set(states(acme)) == set(states(others)) == {"sent"} and len(receiver.got) == 3


def wait_for(holds: Any, seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        time.sleep(0.01)
    return bool(holds())


def test_410_switches_the_webhook_off_and_says_why(acme: Tenant, receiver: Receiver) -> None:
    webhook, _ = hook(acme, receiver)
    told(acme)
    told(acme)
    receiver.answers = [410]
    deliver()
    webhook.refresh_from_db()
    assert not webhook.enabled and "410" in webhook.disabled_reason
    assert set(states(acme)) == {"dead"}
    event = Event.objects.get(tenant_id=acme.pk, action="notices.webhook_disabled")
    assert event.actor_kind == "system" and "410" in event.data["because"]
    told(acme)
    before = len(receiver.got)
    assert deliver() == 0 and len(receiver.got) == before
    dead = Delivery.objects.first()
    assert dead is not None
    with pytest.raises(Problem, match="switched off"):
        send_again(ctx=make.system(acme.pk), delivery_id=dead.pk)
    with pytest.raises(Problem, match="switched off"):
        try_webhook(ctx=make.system(acme.pk), webhook_id=webhook.pk)


def test_while_a_secret_is_being_rotated_both_sign(acme: Tenant, receiver: Receiver) -> None:
    webhook, old = hook(acme, receiver)
    new = rotate_secret(ctx=make.system(acme.pk), webhook_id=webhook.pk).secret
    told(acme)
    deliver()
    Webhook.objects.update(previous_until=timezone.now())
    told(acme)
    deliver()
    both, after = receiver.got
    assert old != new and old.startswith("whsec_")
    assert verified(old, both.headers, both.body) and verified(new, both.headers, both.body)
    assert verified(new, after.headers, after.body) and not verified(old, after.headers, after.body)
    assert len(both.headers["webhook-signature"].split()) == 2 and len(after.headers["webhook-signature"].split()) == 1


def test_a_secret_at_rest_opens_for_its_own_row_and_key_only(acme: Tenant, receiver: Receiver, settings: Any) -> None:
    first = "k1:" + "A" * 43 + "="
    settings.NOTICES_KEY = first
    webhook, secret = hook(acme, receiver)
    other, _ = hook(acme, receiver, "other", ["promotions.decided"])
    webhook.refresh_from_db()
    assert secret.removeprefix("whsec_") not in webhook.secret and webhook.secret.startswith("k1.")
    settings.NOTICES_KEY = "k2:" + "B" * 43 + "=," + first
    told(acme)
    deliver()
    assert verified(secret, receiver.got[0].headers, receiver.got[0].body), "an older key opens still"
    Webhook.objects.filter(pk=other.pk).update(secret=webhook.secret)
    told(acme, kind="promotions.decided")
    deliver()
    assert {delivery.webhook_id: delivery.state for delivery in Delivery.objects.filter(notice__kind="promotions.decided")} == {
        webhook.pk: "sent",
        other.pk: "failed",
    }
    settings.NOTICES_KEY = "k2:" + "B" * 43 + "="
    told(acme)
    deliver()
    newest = Delivery.objects.filter(webhook=webhook).order_by("-id")[0]
    assert newest.state == "failed" and "rotate it" in newest.last_error and len(receiver.got) == 2
    rotate_secret(ctx=make.system(acme.pk), webhook_id=webhook.pk)
    webhook.refresh_from_db()
    assert webhook.secret.startswith("k2.")


def test_the_allow_list_is_asked_at_every_attempt(acme: Tenant, receiver: Receiver, settings: Any) -> None:
    hook(acme, receiver)
    told(acme)
    settings.EGRESS_ALLOWED_HOSTS = ["hooks.example.test"]
    deliver()
    delivery = Delivery.objects.get()
    assert delivery.state == "failed" and "EGRESS_ALLOWED_HOSTS" in delivery.last_error and receiver.got == []


def test_a_test_goes_to_the_one_webhook(acme: Tenant, receiver: Receiver) -> None:
    webhook, secret = hook(acme, receiver)
    hook(acme, receiver, "other")
    delivery = try_webhook(ctx=make.context(acme.pk, "tenant_admin"), webhook_id=webhook.pk)
    deliver()
    delivery.refresh_from_db()
    (got,) = receiver.got
    assert delivery.state == "sent" and json.loads(got.body)["type"] == "notices.test" and verified(secret, got.headers, got.body)


def test_what_was_waiting_is_given_up_when_a_webhook_is_switched_off(acme: Tenant, receiver: Receiver) -> None:
    webhook, _ = hook(acme, receiver)
    receiver.answers = [500, 200]
    told(acme)
    deliver()
    admin = make.context(acme.pk, "tenant_admin")
    switch_webhook(ctx=admin, webhook_id=webhook.pk, enabled=False, reason="Moved.")
    due_now(acme)
    assert deliver() == 0 and states(acme) == ["dead"]
    switch_webhook(ctx=admin, webhook_id=webhook.pk, enabled=True)
    assert deliver() == 0
    send_again(ctx=admin, delivery_id=Delivery.objects.get().pk)
    deliver()
    assert states(acme) == ["sent"]


def test_a_suspended_tenants_notices_wait(acme: Tenant, receiver: Receiver) -> None:
    hook(acme, receiver)
    told(acme)
    Tenant.objects.filter(pk=acme.pk).update(status="suspended")
    assert deliver() == 0 and receiver.got == []
    Tenant.objects.filter(pk=acme.pk).update(status="active")
    assert deliver() == 1


def test_a_notice_is_taken_back_with_what_it_tells_of(acme: Tenant, receiver: Receiver) -> None:
    hook(acme, receiver)
    with pytest.raises(LookupError), transaction.atomic():
        told(acme)
        raise LookupError
    assert not Notice.objects.exists() and deliver() == 0


# E-mail


def test_people_get_a_letter_in_plain_text_and_html_with_a_link(acme: Tenant, mail_server: MailServer) -> None:
    ann = make.user(acme, "manager", email="ann@acme.test")
    notice = told(acme, ann, title="desk v2 <b>at</b> tenant:acme")
    assert deliver() == 1
    (letter,) = mail_server.letters
    assert letter.recipients == ["ann@acme.test"] and letter.message["To"] == "ann@acme.test"
    assert letter.message["Subject"] == "Approval wanted: desk v2 <b>at</b> tenant:acme"
    link = f"https://portal.example.test{notice.path}"
    assert link in letter.text and f'href="{link}"' in letter.html and "Risk: high" in letter.text
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
    assert choices == {KIND: False, "promotions.approval_reminder": True, "promotions.decided": True}
    told(acme, wants, unwilling, left, off, strange, wants)
    told(acme, unwilling, kind="promotions.decided")
    deliver()
    assert sorted(letter.recipients[0] for letter in mail_server.letters) == ["unwilling@acme.test", "wants@acme.test"]
    assert mail_server.letters[-1].message["Subject"].startswith("Decided: ")
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


def test_what_was_told_and_done_with_long_ago_is_forgotten(acme: Tenant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    hook(acme, receiver)
    receiver.answers = [200, 500]
    then = timezone.now() - timedelta(days=100)
    with monkeypatch.context() as clock:
        clock.setattr(timezone, "now", lambda: then)
        done, waiting = told(acme), told(acme)
        deliver()
    recent = told(acme)
    deliver()
    assert forget() == 1
    assert set(Notice.objects.values_list("pk", flat=True)) == {waiting.pk, recent.pk} and states(acme) == ["failed", "failed"]
    assert not Delivery.objects.filter(notice_id=done.pk).exists()
    Delivery.objects.update(state="dead")
    with connection.cursor() as cursor:
        cursor.execute("SELECT notices_forget(%s)", [timezone.now()])
        assert cursor.fetchone() == (1,), "nothing of the last month goes, whoever asks"
    assert Notice.objects.get() == recent


def test_two_tenants_keep_to_themselves(acme: Tenant, receiver: Receiver) -> None:
    globex = make.tenant("globex")
    hook(acme, receiver)
    told(globex)
    assert deliver() == 0 and receiver.got == []
    with pytest.raises(Problem, match="not_found"):
        rotate_secret(ctx=make.context(globex.pk, "tenant_admin"), webhook_id=Webhook.objects.get().pk)


# A worker that dies

WORKER = """
import django
django.setup()
from apps.notices.tasks import deliver
deliver()
"""


@pytest.mark.django_db(transaction=True)
def test_a_worker_killed_between_sending_and_writing_it_down_sends_again_under_the_same_id(receiver: Receiver) -> None:
    acme = make.tenant("acme")
    _, secret = hook(acme, receiver)
    told(acme)
    worker: list[subprocess.Popen[bytes]] = []
    arrived = threading.Event()

    def kill_the_sender() -> int:
        arrived.wait(30)
        worker[0].kill()
        worker[0].wait()
        return 200

    receiver.answers = [kill_the_sender, 200]
    root = Path(__file__).resolve().parents[2]
    worker.append(subprocess.Popen([sys.executable, "-c", WORKER], cwd=root, env=dict(os.environ)))
    arrived.set()
    worker[0].wait(60)
    (delivery,) = Delivery.objects.all()
    assert (delivery.state, delivery.attempts) == ("pending", 1), "sent, and nobody knows"
    assert deliver() == 0, "its claim holds still"
    due_now(acme)
    assert deliver() == 1
    assert states(acme) == ["sent"] and len(receiver.got) == 2 and len(set(receiver.ids)) == 1
    assert all(verified(secret, got.headers, got.body) for got in receiver.got)


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_send_each_message_once(receiver: Receiver) -> None:
    acme = make.tenant("acme")
    hook(acme, receiver)
    for _ in range(30):
        told(acme)
    root = Path(__file__).resolve().parents[2]
    workers = [subprocess.Popen([sys.executable, "-c", WORKER], cwd=root, env=dict(os.environ)) for _ in range(3)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    assert len(receiver.ids) == len(set(receiver.ids)) == 30 and set(states(acme)) == {"sent"}
