"""The pages of notices: by the person who may, refused to the person who may not."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from apps.notices.models import Delivery, Notice, Webhook
from apps.notices.selectors import email_choices
from apps.notices.tasks import deliver
from tests import factories as make
from tests.admin.office import Office, list_url, office, url
from tests.admin.test_acts import press, words
from tests.notices.receivers import MailServer, Receiver, verified
from tests.notices.telling import KIND, told


@pytest.fixture
def acme(db: None) -> Office:
    return office("acme", cases=1)


def add(client: Client, receiver: Receiver, **more: Any) -> Any:
    return press(client, f"{list_url(Webhook)}act/add/", **{"name": "chat", "url": receiver.url, "events": [KIND], **more})


def refused(client: Client, page: str) -> bool:
    """Whether neither the page nor its form is for this person: they are sent home, with a word why."""
    answers = [client.get(page, follow=True), client.post(page, {"once": "o", "reason": "r"}, follow=True)]
    return all("does not allow" in answer.content.decode() for answer in answers)


def test_a_webhook_by_clicking(acme: Office, receiver: Receiver) -> None:
    admin = acme.client("admin")
    shown = add(admin, receiver)
    secret = re.search(r"whsec_[A-Za-z0-9+/=]+", shown.content.decode().replace("&#x3D;", "="))
    assert secret and "no-store" in shown["Cache-Control"]
    webhook = Webhook.objects.get()
    page = admin.get(url(webhook)).content.decode()
    assert secret[0] not in page and "s3cr3t-path" not in page and webhook.secret not in page

    tried = press(admin, url(webhook, "test"))
    delivery = Delivery.objects.get()
    assert tried["Location"] == url(delivery)
    deliver()
    assert "sent" in words(admin.get(url(delivery))) and verified(secret[0], receiver.got[0].headers, receiver.got[0].body)

    form = admin.get(url(webhook, "change"))
    assert receiver.url in form.content.decode()
    press(admin, url(webhook, "change"), name="chat room")
    rotated = press(admin, url(webhook, "rotate"))
    assert "whsec_" in rotated.content.decode() and secret[0] not in rotated.content.decode()

    assert press(admin, url(webhook, "switch-off"), reason="").status_code == 422
    press(admin, url(webhook, "switch-off"), reason="Moved.")
    webhook.refresh_from_db()
    assert (webhook.name, webhook.enabled) == ("chat room", False)
    assert "It is switched off." in words(admin.get(url(webhook)))
    press(admin, url(webhook, "switch-on"))
    webhook.refresh_from_db()
    assert webhook.enabled


def test_a_host_that_is_not_allowed_is_said_at_its_field(acme: Office, receiver: Receiver) -> None:
    answer = add(acme.client("admin"), receiver, url="https://evil.test/")
    assert answer.status_code == 422 and "EGRESS_ALLOWED_HOSTS" in words(answer) and not Webhook.objects.exists()


def test_others_look_and_do_not_touch(acme: Office, receiver: Receiver) -> None:
    add(acme.client("admin"), receiver)
    webhook = Webhook.objects.get()
    for who in ("viewer", "manager"):
        client = acme.client(who)
        assert client.get(url(webhook)).status_code == client.get(list_url(Webhook)).status_code == 200
        assert refused(client, f"{list_url(Webhook)}act/add/")
        for act in ("test", "change", "rotate", "switch-off"):
            assert refused(client, url(webhook, act)), act
            assert "s3cr3t-path" not in client.get(url(webhook, act), follow=True).content.decode(), act


def test_a_dead_delivery_is_found_and_sent_again(acme: Office, receiver: Receiver) -> None:
    admin = acme.client("admin")
    add(admin, receiver)
    receiver.answers = [500, 200]
    told(acme.tenant)
    deliver()
    Delivery.objects.update(state="dead")
    delivery = Delivery.objects.get()
    for query, count in (("state=dead", 1), ("state=sent", 0), ("channel=email", 0), ("q=chat", 1), ("q=nothing", 0)):
        listed = admin.get(f"{list_url(Delivery)}?{query}").content.decode()
        assert (str(delivery.pk) in listed) == bool(count), query
    assert "The receiver answered 500." in words(admin.get(url(delivery)))
    assert refused(acme.client("manager"), url(delivery, "send-again"))
    press(admin, url(delivery, "send-again"), reason="Back.")
    deliver()
    delivery.refresh_from_db()
    assert delivery.state == "sent" and len(set(receiver.ids)) == 1
    assert admin.get(url(delivery, "send-again")).status_code == 302, "not possible now"


def test_everybody_chooses_their_own_e_mails(acme: Office, mail_server: MailServer) -> None:
    page = f"{list_url(Notice)}act/my-emails/"
    viewer, manager = acme.client("viewer"), acme.client("manager")
    shown = viewer.get(page)
    assert shown.content.decode().count("checked") == 4 and "EMAIL_HOST" not in words(shown)
    press(viewer, page, kinds=["promotions.decided"])
    assert viewer.get(page).content.decode().count("checked") == 1 and manager.get(page).content.decode().count("checked") == 4
    context = make.context(acme.tenant.pk, "viewer", user=acme.people["viewer"])
    assert email_choices(context) == {
        **dict.fromkeys((KIND, "promotions.approval_reminder", "fleet.action_requested"), False),
        "promotions.decided": True,
    }
    told(acme.tenant, acme.people["viewer"], acme.people["manager"])
    deliver()
    assert [letter.recipients for letter in mail_server.letters] == [["manager@acme.test"]]
    press(viewer, page, kinds=[])
    assert not any(email_choices(context).values())


def test_pages_say_that_e_mail_is_off(acme: Office) -> None:
    notice = told(acme.tenant, acme.people["manager"])
    deliver()
    client = acme.client("manager")
    for page in (list_url(Notice), url(notice), f"{list_url(Notice)}act/my-emails/"):
        assert "E-mail is switched off" in words(client.get(page)), page
    assert "No webhook wants it" in words(client.get(url(notice)))
