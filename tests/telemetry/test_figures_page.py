"""The page of figures: sums of what was added up, groups that lead on, and what it says where there is nothing to show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse

from apps.telemetry.tasks import roll_up_task
from tests import factories as make
from tests.telemetry.sending import Harness, harness, run
from tests.telemetry.test_admin_reading import client_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def sender() -> Harness:
    found = harness()
    at = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    found.send(
        run("a", pack="legal", provider="maker", model_id="one", latency_ms=100, tokens_in=1_500, cost_usd="0.25", created_at=at),
        run("b", pack="legal", provider="maker", model_id="two", latency_ms=300, success=False, created_at=at),
        run("c", pack="hr", latency_ms=200, cost_usd=None, created_at=at),
    )
    roll_up_task()
    return found


def page(client: Client, **query: str) -> str:
    response = client.get(reverse("figures"), query)
    assert response.status_code == 200
    return unescape(response.content.decode())


def test_the_whole_and_its_groups_are_sums_that_lead_to_their_own(sender: Harness) -> None:
    client = client_of(sender)
    text = page(client)
    assert "3 runs, 1 failed" in text and "at most 3" in text and "mc-figures-groups" not in text
    text = page(client, by="pack")
    assert text.index(">legal</a>") < text.index(">hr</a>")
    assert 'href="/admin/figures/?within=24h&by=none&pack=legal"' in text
    assert "$" not in page(client, pack="hr").split("<main")[1].split("</main")[0], "a cost that nobody knows is not nothing"
    text = page(client, by="model")
    assert ">maker one</a>" in text and "none named" in text
    text = page(client, pack="legal", within="7d")
    assert "2 runs, 1 failed" in text and 'title="1,500 tokens"' in text and "$0.2625" in text and ">50.0 %<" in text
    assert 'href="/admin/telemetry/run/?pack=legal&within=7d"' in text and ">All runs</a>" in text


def test_where_there_is_nothing_it_says_so_and_what_is_wrong_is_told(sender: Harness) -> None:
    client = client_of(sender)
    assert "No run of this window" in page(client, pack="nothing")
    assert "No run of this window" in page(client_of(harness(make.tenant("empty")), "viewer"), by="agent")
    assert "3 runs" in page(client, within="forever", by="nothing")
    for query, status, said in (({"pack_version": "two"}, 422, "a whole number"), ({"agent": "nobody"}, 404, "There is no such agent.")):
        refused = client.get(reverse("figures"), query)
        assert refused.status_code == status and said in refused.content.decode()
    # Another tenant's agent is nobody's business.
    stranger = harness(make.tenant("globex"))
    assert client.get(reverse("figures"), {"agent": stranger.agent.slug + "-x"}).status_code == 404


def test_who_may_not_read_every_users_runs_gets_no_figures_of_single_users(sender: Harness) -> None:
    team = make.team(sender.agent.tenant, "support")
    at = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    other = harness(sender.agent.tenant, team=team)
    other.send(run("d", created_at=at), run("e", user_ref="u-1", created_at=at))
    roll_up_task()
    client = Client()
    client.force_login(make.user(sender.agent.tenant, "manager", team=team))
    for within in ("1h", "24h"):
        text = page(client, within=within)
        assert "five users or more" in text
    assert "4 runs, 1 failed" in text
