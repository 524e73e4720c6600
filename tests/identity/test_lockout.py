"""Guessing passwords: counted over all processes by account and address, said the same of accounts that do not exist."""

from __future__ import annotations

import re
import threading
import time
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from apps.audit.models import Event
from apps.identity.models import Tenant
from tests import factories as make
from tests import oidc
from tests.identity.test_oidc import _secret, forger, signed_in
from tests.isolation import in_production

__all__ = ["_secret", "forger"]
pytestmark = pytest.mark.django_db
EMAIL, RIGHT = "local@acme.test", "correct horse battery staple"


@pytest.fixture
def acme() -> Tenant:
    found = make.tenant("acme")
    make.user(found, "viewer", email=EMAIL, password=RIGHT)
    return found


def attempt(password: str, *, email: str = EMAIL, address: str = "10.0.0.1", client: Client | None = None, **headers: str) -> Any:
    client = client or Client()
    return client.post("/admin/login/", {"username": email, "password": password}, REMOTE_ADDR=address, headers=headers)


def recorded() -> list[str]:
    rows = Event.objects.filter(tenant_id=make.platform().pk, action__startswith="identity.sign_in_").order_by("seq")
    return [action.removeprefix("identity.sign_in_") for action in rows.values_list("action", flat=True)]


def said(response: Any) -> str:
    errors = response.context["form"].non_field_errors()
    return re.sub(r"\d\d:\d\d", "HH:MM", " ".join(errors))


def test_the_fifth_wrong_password_locks_the_account_for_that_address(acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(4):
        wrong = attempt("wrong")
        assert wrong.status_code == 200 and "Too many" not in said(wrong)
    fifth = attempt("wrong", email=f" {EMAIL.upper()} ")
    assert fifth.status_code == 429 and 800 < int(fifth["Retry-After"]) <= 900
    assert said(fifth) == "Too many wrong passwords. Try again at HH:MM UTC, in 15 minutes."
    client = Client()
    assert attempt(RIGHT, client=client).status_code == 429 and not signed_in(client)
    assert recorded() == ["failed"] * 4 + ["blocked"]
    assert attempt(RIGHT, address="10.0.0.2", client=client).status_code == 302 and signed_in(client)
    # Who goes on guessing is not locked for longer.
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now + timedelta(minutes=14))
    monkeypatch.setattr("axes.handlers.proxy.now", timezone.now)
    assert "in 1 minute" in said(attempt("wrong"))
    monkeypatch.setattr(timezone, "now", lambda: now + timedelta(minutes=15, seconds=1))
    monkeypatch.setattr("axes.handlers.proxy.now", timezone.now)
    assert attempt(RIGHT).status_code == 302


def test_a_right_password_begins_the_count_anew(acme: Tenant) -> None:
    for _ in range(2):
        for _ in range(4):
            attempt("wrong")
        assert attempt(RIGHT).status_code == 302
    assert recorded() == ["failed"] * 8 and not AccessAttempt.objects.exists()


def test_an_account_that_does_not_exist_is_answered_alike_and_not_recorded(acme: Tenant) -> None:
    nobody = "nobody@acme.test"
    unusable = make.user(acme, "viewer", email="by-oidc@acme.test").email
    for number in range(6):
        answers = {
            (response.status_code, said(response)) for email in (EMAIL, nobody, unusable) if (response := attempt("wrong", email=email))
        }
        assert len(answers) == 1, (number, answers)
    assert recorded().count("blocked") == 2 and nobody not in str(list(Event.objects.values()))


def test_the_work_for_an_unknown_account_is_that_for_a_known_one(acme: Tenant) -> None:
    def work(email: str) -> list[str]:
        with CaptureWork() as done:
            attempt("wrong", email=email)
        return done.statements

    attempt("wrong"), attempt("wrong", email="nobody@acme.test")
    known, unknown = work(EMAIL), work("nobody@acme.test")
    assert known == unknown and len(known) > 10


class CaptureWork:
    """The statements of a request, without their values."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def __enter__(self) -> CaptureWork:
        self._wrapper = connection.execute_wrapper(self._note)
        self._wrapper.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._wrapper.__exit__(*error)

    def _note(self, execute: Any, sql: str, *rest: Any) -> Any:
        # Whether a savepoint is kept or taken back is the one difference.
        plain = re.sub(r"%s(, %s)*", "%s", sql)
        if "SAVEPOINT" not in plain:
            self.statements.append(plain)
        return execute(sql, *rest)


@pytest.mark.parametrize("name", ["10.0.0.9", "10.0.0.9:4711", "2001:db8::1", "[2001:db8::1]:4711", "nonsense"])
def test_behind_a_proxy_the_visitors_own_address_counts(acme: Tenant, settings: Any, name: str) -> None:
    settings.TRUST_PROXY = True
    for _ in range(5):
        attempt("wrong", address="10.0.0.1", **{"X-Forwarded-For": f"1.1.1.1, {name}"})
    assert attempt(RIGHT, address="10.0.0.1", **{"X-Forwarded-For": f"9.9.9.9, {name}"}).status_code == 429
    assert attempt(RIGHT, address="10.0.0.1", **{"X-Forwarded-For": "10.0.0.8"}).status_code == 302
    settings.TRUST_PROXY = False
    assert attempt(RIGHT, address="10.0.0.1", **{"X-Forwarded-For": f"9.9.9.9, {name}"}).status_code == 302


def test_sign_in_at_a_provider_is_not_locked(acme: Tenant, forger: oidc.Forger) -> None:
    for _ in range(5):
        attempt("wrong", email="ann@acme.test", address="127.0.0.1")
    assert attempt("wrong", email="ann@acme.test", address="127.0.0.1").status_code == 429
    client = Client()
    assert forger.back(client).status_code == 302 and signed_in(client)


def test_the_operator_lifts_a_lock_and_can_switch_passwords_off(acme: Tenant, settings: Any) -> None:
    for _ in range(5):
        attempt("wrong")
    assert attempt(RIGHT).status_code == 429
    with in_production():
        call_command("axes_reset_username", EMAIL, stdout=StringIO())
    client = Client()
    assert attempt(RIGHT, client=client).status_code == 302
    settings.LOCAL_LOGIN = False
    assert client.get("/admin/")["Location"].startswith("/admin/login/")
    assert b'name="password"' not in Client().get("/admin/login/").content
    assert attempt(RIGHT).status_code == 403


def test_odd_names_and_agents_are_no_fault_of_ours(acme: Tenant) -> None:
    for email in ("x" * 3000, "\x00", "", "é" * 200 + "@x.test"):
        assert attempt("wrong", email=email, **{"User-Agent": "u" * 4000, "Accept": "a" * 4000}).status_code == 200
    assert attempt("wrong", address="").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_guesses_at_one_moment_on_several_connections_are_counted_one_by_one() -> None:
    make.user(make.tenant("acme"), "viewer", email=EMAIL, password=RIGHT)
    start, answers, failures = threading.Barrier(9), [], []

    def guess() -> None:
        try:
            start.wait()
            answers.append(attempt("wrong").status_code)
        except Exception as error:  # noqa: BLE001 -- told below
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=guess) for _ in range(8)]
    for thread in threads:
        thread.start()
    start.wait()
    for thread in threads:
        thread.join()
    assert failures == []
    # Four learn that they were wrong; the fifth and all after it find the door shut, and only five were tried.
    assert sorted(answers) == [200] * 4 + [429] * 4
    assert AccessAttempt.objects.get().failures_since_start == 5 and recorded() == ["failed"] * 4 + ["blocked"]
    assert attempt(RIGHT).status_code == 429


def _one(statement: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return int(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
def test_a_second_callback_with_the_same_state_signs_nobody_in(owner_connection: Any, _secret: None) -> None:
    """Both have read the session before either has taken the state out of it."""
    make.tenant("acme")
    with oidc.forger() as running:
        make.provider(Tenant.objects.get(slug="acme"), "acme-sso", running.issuer)
        client = Client()
        client.get("/oidc/acme-sso/begin/")
        (state, kept), cookie = next(iter(client.session["oidc_states"].items())), client.cookies["sessionid"].value
        running.nonce, answers = kept["nonce"], []

        def come_back() -> None:
            browser = Client()
            browser.cookies["sessionid"] = cookie
            try:
                answers.append(browser.get("/oidc/callback/", {"state": state, "code": "c"}).status_code)
            finally:
                connection.close()

        threads = [threading.Thread(target=come_back) for _ in range(2)]
        with owner_connection.transaction():
            owner_connection.execute("SELECT * FROM django_session WHERE session_key = %s FOR UPDATE", [cookie])
            for thread in threads:
                thread.start()
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            deadline = time.monotonic() + 30
            while _one(waiting) < 2:
                assert time.monotonic() < deadline, "the two never waited for the session"
                time.sleep(0.01)
        for thread in threads:
            thread.join()
    assert sorted(answers) == [302, 403] and running.asked.count("/token") == 1
    assert Event.objects.filter(action="identity.signed_in").values("request_id").distinct().count() == 1
