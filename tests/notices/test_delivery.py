"""Notices on their way, to real receivers: signed, repeated, once each, and one that is slow keeps no other waiting."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from apps.audit.models import Event
from apps.core.errors import Problem
from apps.identity.models import Tenant
from apps.notices.domain.retrying import MAX_ATTEMPTS
from apps.notices.models import Delivery, Notice, Webhook
from apps.notices.services import create_webhook, rotate_secret, send_again, switch_webhook, try_webhook
from apps.notices.tasks import deliver, forget
from tests import factories as make
from tests.notices.receivers import Receiver, running, verified
from tests.notices.telling import KIND, due_now, states, told

EVENTS = [KIND, "promotions.decided"]


@pytest.fixture
def acme(db: None) -> Tenant:
    return make.tenant("acme")


def hook(tenant: Tenant, receiver: Receiver, name: str = "chat", events: list[str] = EVENTS) -> tuple[Webhook, str]:
    shown = create_webhook(ctx=make.system(tenant.pk), name=name, url=receiver.url, events=events)
    return shown.webhook, shown.secret


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


def test_a_receiver_that_does_not_answer_in_time_is_asked_again(acme: Tenant, receiver: Receiver, settings: Any) -> None:
    settings.NOTICES_WEBHOOK_TIMEOUT_S = 0.5
    release = threading.Event()
    receiver.answers = [lambda: 200 if release.wait(60) else 500]
    hook(acme, receiver)
    told(acme)
    deliver()
    release.set()
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.last_status) == ("failed", None)
    assert delivery.last_error == "The receiver is away: it did not answer in time."


def test_where_nobody_listens_is_asked_again(acme: Tenant) -> None:
    # Bound and never listening: nobody else can take the port meanwhile.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        create_webhook(ctx=make.system(acme.pk), name="away", url=f"http://127.0.0.1:{taken.getsockname()[1]}/", events=EVENTS)
        told(acme)
        deliver()
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.last_status) == ("failed", None)
    assert delivery.last_error == "The receiver is away: it takes no connection."


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
