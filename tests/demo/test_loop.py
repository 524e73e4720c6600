"""`manage.py demo_loop`: the acceptance test of the loop, against a portal of processes; and what it says when something is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.management import call_command

from apps.core.history import OUTSIDE, governed, history_table
from apps.demo.fleet.portal import Portal as Client
from apps.demo.walk.walker import Stumbled, Walker, abridged
from apps.identity.models import ApiToken, Delegation, GroupMember, GroupRole, OidcProvider, Team, Tenant, TenantGroup
from apps.notices.models import Webhook
from apps.packs.models import Subscription
from apps.telemetry.models import Price, RedactionPattern, RedactionPolicy, RetentionPolicy
from tests import factories as make
from tests.demo.running import Portal

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


@pytest.fixture
def portal(transactional_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Portal]:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    running = Portal(tmp_path)
    yield running
    running.close()


@pytest.mark.e2e
def test_the_loop_holds_and_leaves_nothing_behind(portal: Portal, owner_sql: Callable[..., list[tuple[str, ...]]]) -> None:
    make.user(make.platform(), "tenant_admin", email="admin@example.com")
    watch_history(owner_sql)
    call_command("seed_demo")
    portal.start()
    before = set(Tenant.objects.values_list("slug", flat=True))
    walked = portal.manage("demo_loop")
    assert walked.returncode == 0, walked.stdout[-3000:] + walked.stderr + portal.output("worker")[-3000:]
    assert re.search(r"^All 10 steps are as they should be\.$", walked.stdout, re.MULTILINE)
    for said in (
        "409 own_promotion: ",
        "409 hard_rule: ",
        "pass         quality: ",
        "fail         format_no_regression (hard): ",
        "ok: the same batch again is 10 duplicates",
        "ok: resolve answers with version 2 after",
        "ok: resolve answers with version 1 after",
    ):
        assert said in walked.stdout
    assert set(Tenant.objects.values_list("slug", flat=True)) == before
    assert not ApiToken.objects.filter(name="demo_loop", revoked_at=None).exists()

    # Whatever was written, by processes and commands alike, somebody has written: history says who, over which channel.
    written = set(owner_sql("SELECT DISTINCT model, kind, channel FROM written"))
    assert {(kind, channel) for _, kind, channel in written if kind == OUTSIDE} == set()
    assert {("user", "api"), ("system", "task"), ("system", "cli")} <= {(kind, channel) for _, kind, channel in written}
    unused = {
        history_table(model)
        for model in (
            *(Team, Subscription, OidcProvider, GroupRole, Delegation, TenantGroup, GroupMember, Webhook),
            *(Price, RedactionPolicy, RedactionPattern, RetentionPolicy),
        )
    }
    assert {history_table(model) for model in governed()} - {model for model, *_ in written} <= unused

    # A portal that is gone is a sentence and an exit code.
    portal.kill("web")
    refused = portal.manage("demo_loop")
    assert refused.returncode == 1
    assert "Step 1: The portal does not answer at http://127.0.0.1:" in refused.stderr and "Traceback" not in refused.stderr


def watch_history(owner_sql: Callable[..., object]) -> None:
    """From now on each row of history is noted where purging does not reach."""
    owner_sql("CREATE TABLE written (model text, kind text, channel text)")
    owner_sql(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS"
        " $$ BEGIN INSERT INTO written VALUES (TG_TABLE_NAME, NEW.actor_kind, NEW.channel); RETURN NEW; END $$"
    )
    for model in governed():
        owner_sql(f"CREATE TRIGGER note BEFORE INSERT ON {history_table(model)} FOR EACH ROW EXECUTE FUNCTION note()")


def test_without_the_demo_it_says_what_to_do(portal: Portal) -> None:
    walked = portal.manage("demo_loop")
    assert walked.returncode == 1
    assert "`manage.py seed_demo` makes the demo first" in walked.stderr


def test_a_step_that_is_not_as_it_should_be_stops_the_walk(live_server: object, portal: Portal) -> None:
    acme = make.tenant("acme")
    shown: list[str] = []
    walker = Walker(Client(str(live_server)), shown.append, tokens={"agent": make.agent_token(make.agent(acme)), "nobody": "mc_wrong"})
    asked: list[tuple[Callable[[], object], str]] = [
        (lambda: walker.call("agent", "GET", "resolve?pack=none"), "answered 404 not_found, not 200"),
        (lambda: walker.call("agent", "GET", "resolve?pack=none", expect=404, code="no_champion"), "404 not_found, not 404 no_champion"),
        (lambda: walker.call("nobody", "GET", "packs/"), "answered 401 not_authenticated"),
        (lambda: walker.check(False, "two and two are five"), "Not so: two and two are five"),
        (lambda: walker.until("it rains", lambda: None, within_s=0.01), "still not: it rains"),
    ]
    for act, said in asked:
        with pytest.raises(Stumbled, match=re.escape(said)):
            act()
    assert any(line.strip().startswith("404 not_found: ") for line in shown), "the answer that was wrong is shown"


def test_what_is_shown_is_short() -> None:
    shown = abridged({"text": "long " * 100, "list": list(range(100)), "deep": {"a": {"b": {"c": {str(n): n for n in range(50)}}}}})
    assert len(shown) < 330 and "and 97 more" in shown and "{50 keys}" in shown
