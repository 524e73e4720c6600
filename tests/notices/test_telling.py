"""What leaves the portal: never what somebody wrote."""

from __future__ import annotations

import base64
import json
import logging
import time
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest
import structlog
from django.apps import apps
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from apps.notices.checks import sealing_key
from apps.notices.domain.mails import mail
from apps.notices.domain.retrying import MAX_ATTEMPTS, Outcome, delay_s, state_after
from apps.notices.domain.telling import FACTS, inner_path, one_line, told_facts
from apps.notices.domain.webhooks import signature, signed_headers
from apps.notices.models import Delivery, Notice
from apps.notices.services import create_webhook, rotate_secret, switch_webhook
from apps.notices.tasks import deliver
from tests import factories as make
from tests.notices.receivers import MailServer, Receiver, verified
from tests.notices.telling import due_now, told
from tests.promotions.test_loop import World, better, world

__all__ = ["world"]
MARK = "xylophone"


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Any:
    """Everything that is logged, as it is written."""
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as entries:
        yield lambda: json.dumps(entries, default=str) + caplog.text


def test_a_marker_in_contents_comments_and_reasons_reaches_nobody(
    world: World, receiver: Receiver, mail_server: MailServer, logged: Any
) -> None:
    """A promotion on its whole way with the marker in all that people and agents write, whatever is published on it; and events whose publisher
    was careless."""
    tenant, person = world.tenant, world.people["manager"]
    admin = make.context(tenant.pk, "tenant_admin")
    shown = create_webhook(ctx=admin, name="chat", url=receiver.url, events=["promotions.approval_requested", "promotions.decided"])
    asked = world.request(world.draft(f"{MARK} says hello")["id"], reason=MARK)
    answers = better(world.live)
    world.answer(lambda run, number: f"{answers(run, number)} {MARK}")
    world.call("author", "post", f"promotions/{asked['id']}/evaluate/", {}, 200)
    world.call("manager", "post", f"promotions/{asked['id']}/approve/", {"comment": MARK}, 200)
    world.call("manager", "post", f"promotions/{asked['id']}/start/", {"reason": MARK}, 200)
    facts = {
        **dict.fromkeys(("comment", "reason", "notes", "content", "output", "section", "secret"), f"{MARK} is what I wrote"),
        **dict.fromkeys(FACTS, f"{MARK}\n{MARK}"),
        "pack": "desk",
        "risk": MARK,
        "version": "7",
        "required": MARK,
    }
    careless = [told(tenant, person, kind=kind, facts=facts) for kind in ("promotions.approval_requested", "promotions.decided")]
    receiver.answers = [500, 200]
    deliver()
    due_now(tenant)
    deliver()
    rotate_secret(ctx=admin, webhook_id=shown.webhook.pk, reason="r")
    switch_webhook(ctx=admin, webhook_id=shown.webhook.pk, enabled=False, reason="r")

    bodies = {data["id"]: data for got in receiver.got if (data := json.loads(got.body)["data"])}
    assert [bodies[str(notice.pk)]["facts"] for notice in careless] == [{"pack": "desk", "version": "7"}] * 2
    assert set(Delivery.objects.values_list("state", flat=True)) == {"sent"} and len(mail_server.letters) >= 2
    sent = b"".join([got.body + json.dumps(got.headers).encode() for got in receiver.got] + [letter.raw for letter in mail_server.letters])
    # A letter's body may be encoded.
    read = "".join(letter.text + letter.html + str(letter.message["Subject"]) for letter in mail_server.letters)
    assert MARK.encode() not in sent and MARK not in read
    assert MARK not in logged() and "facts_left_out" in logged()
    assert MARK not in stored()
    # Neither the secret nor the address, which may hold one, nor what the other side said.
    said = ("what the receiver says", "what the mail server says")
    assert not any(each in logged() for each in (shown.secret.removeprefix("whsec_"), "s3cr3t-path", *said))
    assert not any(each in stored() for each in (shown.secret.removeprefix("whsec_"), *said))
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(e::text, ' ') FROM audit_event e")
        assert "s3cr3t-path" not in cursor.fetchone()[0]


def stored() -> str:
    """Every row of this room, as text."""
    with connection.cursor() as cursor:
        found = []
        for model in apps.get_app_config("notices").get_models():
            cursor.execute(f"SELECT coalesce(string_agg(to_jsonb(t)::text, ' '), '') FROM {model._meta.db_table} t")
            found.append(cursor.fetchone()[0])
    return " ".join(found)


def test_a_secret_in_a_title_is_redacted_and_a_path_leads_nowhere_else(db: None) -> None:
    acme = make.tenant("acme")
    notice = told(acme, title="desk ghp_" + "a1B2" * 9, path="//evil.test/x", facts={"pack": "ghp_" + "a1B2" * 9})
    stored_notice = Notice.objects.get(pk=notice.pk)
    assert "ghp_" not in stored_notice.title and stored_notice.path == "/" and stored_notice.facts == {}


@pytest.mark.parametrize(
    "path", ["https://evil.test/", "//evil.test", "/\\evil.test", "javascript:alert(1)", "/a b", "/a\r\nb", "", "x", "/é"]
)
def test_a_path_that_is_not_one_becomes_the_first_page(path: str) -> None:
    assert inner_path(path) == "/"


@given(st.dictionaries(st.sampled_from([*FACTS, "comment", "reason"]), st.text(max_size=300)))
def test_what_is_told_has_a_known_key_and_one_line(facts: dict[str, str]) -> None:
    told, left_out = told_facts(facts)
    assert set(told) | set(left_out) == set(facts) and not set(told) & set(left_out) and set(told) <= set(FACTS)
    assert all(len(value) <= 200 and "\n" not in value and "<" not in value for value in told.values())


@given(st.text(max_size=400))
def test_a_title_is_one_line_and_ends(title: str) -> None:
    line = one_line(title)
    assert len(line) <= 200 and line.isprintable() and one_line(line) == line
    made = mail(kind="promotions.decided", title=line, facts={}, link="/x", preferences="/y")
    assert made.subject.isprintable() and "<script" not in made.html


@given(st.uuids(), st.integers(1, MAX_ATTEMPTS - 1))
def test_delays_grow_are_spread_and_make_about_a_day(delivery: Any, attempts: int) -> None:
    usual = 26 * 3 ** (attempts - 1)
    assert 0.9 * usual <= delay_s(delivery, attempts) <= 1.1 * usual
    assert delay_s(delivery, attempts) == delay_s(delivery, attempts) < delay_s(delivery, attempts + 1)
    assert 21 * 3600 < sum(delay_s(delivery, n) for n in range(1, MAX_ATTEMPTS)) < 26.5 * 3600


def test_what_failed_together_does_not_come_back_together() -> None:
    delays = {round(delay_s(uuid5(NAMESPACE_URL, str(n)), 5)) for n in range(100)}
    assert len(delays) > 80


@pytest.mark.parametrize(
    ("result", "attempts", "state"),
    [
        ("sent", 1, "sent"),
        ("sent", 99, "sent"),
        ("retry", 1, "failed"),
        ("retry", MAX_ATTEMPTS - 1, "failed"),
        ("retry", MAX_ATTEMPTS, "dead"),
        ("refused", 1, "dead"),
        ("gone", 1, "dead"),
        ("unsent", 1, "pending"),
        ("unsent", 3, "failed"),
    ],
)
def test_what_becomes_of_a_delivery(result: Any, attempts: int, state: str) -> None:
    assert state_after(Outcome(result), attempts) == state


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of the Standard Webhooks specification's own libraries."""
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    assert signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    with pytest.raises(ValueError):
        signature("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "m", 1, b"")


@given(st.binary(min_size=24, max_size=64), st.binary(max_size=200), st.integers(0, 255))
def test_the_docs_example_takes_what_we_sign_and_nothing_else(key: bytes, body: bytes, position: int) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    headers = signed_headers([secret], "msg_1", int(time.time()), body)
    assert verified(secret, headers, body)
    changed = bytearray(body or b"x")
    changed[position % len(changed)] ^= 1
    assert not verified(secret, headers, bytes(changed))
    assert not verified(secret, {**headers, "webhook-id": "msg_2"}, body)


def test_a_key_that_is_not_one_is_said_by_check(settings: Any) -> None:
    assert sealing_key() == []
    for wrong in ("x", "k1:AAAA", "k1:" + "!" * 44, "derived:" + "A" * 43 + "=", ",".join(["k1:" + "A" * 43 + "="] * 2)):
        settings.NOTICES_KEY = wrong
        (error,) = sealing_key()
        assert "NOTICES_KEY" in error.msg and wrong not in error.msg
