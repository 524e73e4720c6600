"""Runs, events and orchestrations in the admin: what narrows them, what goes along into an export, and what a page says."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.http import urlencode

from apps.telemetry.admin.filtering import as_asked
from apps.telemetry.domain.asked import Kind, parse
from apps.telemetry.models import Export, Run
from apps.telemetry.selectors.asked import narrowed
from tests import factories as make
from tests.telemetry.sending import Harness, event, harness, run

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery staple"


def ago(**since: float) -> str:
    return (datetime.now(UTC) - timedelta(**since)).isoformat()


@pytest.fixture
def sender() -> Harness:
    made = harness(make.tenant("acme"), slug="bot")
    second = make.agent(made.tenant, "second")
    Harness(made.tenant, second, make.agent_token(second)).send(run("d", created_at=ago(days=3)))
    made.send(
        run("a", pack="legal", pack_version=3, tier="T1", created_at=ago(hours=2), root_task_id="root-1", mcp_servers=["github"], arm="x"),
        run("b", pack="legal", success=False, status="failed", created_at=ago(minutes=30), provider="openai", persona="p", skill="s"),
        run("c", model_id="m-1", task_type="triage", created_at=ago(minutes=5), final=False, success=None),
    )
    made.send_events(
        event("e", action="output", run_id="a", message="\x1b[1mhi\x1b[0m <i>{{ x }}</i>", created_at=ago(hours=2)),
        event("f", mcp_server="github", mcp_tool="search", run_id="b", status="failed", created_at=ago(minutes=5)),
    )
    return made


def client_of(sender: Harness, role: str = "auditor") -> Any:
    person = make.user(sender.tenant, role, email=f"{role}@acme.test", password=PASSWORD)
    client = Client()
    assert client.login(username=person.email, password=PASSWORD)
    return client


QUERIES: list[tuple[Kind, str, str]] = [
    ("runs", "within=1h", "cb"),
    ("runs", "pack=legal", "ba"),
    ("runs", "pack=+legal+&pack_version=3", "a"),
    ("runs", "pack_version=three", ""),
    ("runs", "flag=mismatch", "a"),
    ("runs", "tier=T1", "a"),
    ("runs", "success=false", "b"),
    ("runs", "final=false", "c"),
    ("runs", "status=failed&provider=openai&persona=p&skill=s", "b"),
    ("runs", "model_id=m-1&task_type=triage", "c"),
    ("runs", "mcp_server=github&root_task_id=root-1&run_id=a", "a"),
    ("runs", "arm=champion&within=24h", "cba"),
    ("runs", "agent=SECOND", "d"),
    ("runs", "agent=nobody", ""),
    ("events", "action=output", "e"),
    ("events", "mcp_server=github&mcp_tool=search&status=failed", "f"),
    ("events", "within=1h", "f"),
]


def test_lists_are_narrowed_and_an_export_takes_the_same(sender: Harness) -> None:
    client = client_of(sender)
    second = make.Agent.objects.get(slug="second")
    begin, end = (datetime.now(UTC) - timedelta(hours=hours) for hours in (3, 1))
    window = {
        f"created_at_{side}_{n}": value
        for side, at in (("from", begin), ("to", end))
        for n, value in enumerate(at.isoformat(" ", "seconds").split("+")[0].split())
    }
    ctx = make.context(sender.tenant.pk, "auditor")
    for kind, query, wanted in [*QUERIES, ("runs", urlencode(window), "a")]:
        query = query.replace("SECOND", str(second.pk))
        name = "run" if kind == "runs" else "event"
        response = client.get(f"{reverse(f'admin:telemetry_{name}_changelist')}?{query}")
        assert response.status_code == 200
        listed = "".join(getattr(row, f"{name}_id") for row in response.context["cl"].result_list)
        assert listed == wanted, query
        page = unescape(response.content.decode())
        assert f"{reverse(f'admin:telemetry_{name}_list_act', args=['export'])}?{response.wsgi_request.GET.urlencode()}" in page
        if query == "pack_version=three":
            continue
        with ctx.transaction():
            rows = narrowed(ctx, kind, parse(kind, as_asked(ctx, kind, response.wsgi_request.GET.dict())))
            assert "".join(getattr(row, f"{name}_id") for row in rows) == wanted, query


def test_export_these_asks_for_what_the_list_shows(sender: Harness) -> None:
    client = client_of(sender)
    url = f"{reverse('admin:telemetry_run_list_act', args=['export'])}?pack=legal&success=false&q=x"
    page = client.get(url).content.decode()
    assert "pack legal; success false" in page and "The search box is not taken along" in page
    once = re.search(r'name="once" value="(\w+)"', page)
    assert once is not None
    answer = client.post(url, {"format": "csv", "once": once[1]})
    export = Export.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, reverse("admin:telemetry_export_change", args=[export.pk]))
    assert (export.format, export.filters) == ("csv", {"pack": "legal", "success": "false"})
    assert "Stop it" in client.get(answer["Location"]).content.decode()
    part = client.get(reverse("admin:telemetry_export_part", args=[export.pk, "progress"])).content.decode()
    assert 'hx-trigger="every 2s"' in part and "queued" in part


def test_a_viewer_is_not_offered_to_export(sender: Harness) -> None:
    assert "Export these" not in client_of(sender, "viewer").get(reverse("admin:telemetry_run_changelist")).content.decode()


def test_a_run_says_what_its_flags_mean_and_shows_its_output_as_text(sender: Harness) -> None:
    sender.send(run("big", tokens_in=1_234_567, tokens_out=9, cached_tokens=2_000_000, created_at=ago(minutes=1)))
    client = client_of(sender)
    page = client.get(reverse("admin:telemetry_run_change", args=[Run.objects.get(run_id="a").pk])).content.decode()
    assert "what they say is stored." in page
    assert '<pre class="mc-text" x-ignore hx-disable>hi &lt;i&gt;{{ x }}&lt;/i&gt;</pre>' in page
    assert f'href="{reverse("orchestrations")}?root=root-1"' in page
    page = client.get(reverse("admin:telemetry_run_change", args=[Run.objects.get(run_id="big").pk])).content.decode()
    assert 'title="1,234,567 tokens"' in page and "1.2M" in page and "Its token counts cannot all be true" in page
    assert "Terminal output" not in page


def test_an_orchestration_is_drawn_refreshes_while_it_is_open_and_can_be_paused(sender: Harness) -> None:
    client, url = client_of(sender), reverse("orchestrations")
    sender.send(
        run("top", root_task_id="r", task_id="r", tier="T1", final=False, success=None),
        run("low", root_task_id="r", task_id="<b>low</b>", tier="T3", metadata={"parent_task_id": "mid"}, success=False),
        run("mid", root_task_id="r", task_id="mid", tier="T2", metadata={"parent_task_id": "r"}),
    )
    page = client.get(url, {"root": "r"}).content.decode()
    assert (
        page.count('<li class="mc-task') == 3
        and page.count("<ul") == page.count("</ul>")
        and page.count("<details") == page.count("</details>")
    )
    assert "&lt;b&gt;low&lt;/b&gt;" in page and 'hx-trigger="every 5s"' in page
    part = client.get(url, {"root": "r", "state": "failed"}, headers={"HX-Request": "true"}).content.decode()
    assert part.lstrip().startswith('<div id="mc-tree"') and part.count("mc-beside") == 2
    assert "No task matches" in client.get(url, {"root": "r", "tier": "T1", "state": "done"}).content.decode()
    still = client.get(url, {"root": "r", "still": "1"}).content.decode()
    assert "hx-trigger" not in still.split('id="mc-tree"')[1].split(">")[0] and "Refreshing is paused" in still
    sender.send(run("top", root_task_id="r", task_id="r", tier="T1", final=True))
    assert "Nothing is open any longer" in client.get(url, {"root": "r"}).content.decode()
    missing = client.get(url, {"root": "nowhere"})
    assert missing.status_code == 404 and "There is no such orchestration." in missing.content.decode()
    assert "None in this window" in client_of(harness(make.tenant("empty")), "viewer").get(url).content.decode()


def test_orchestrations_follow_each_other(sender: Harness) -> None:
    client, url = client_of(sender), reverse("orchestrations")
    sender.send(*[run(root_task_id=f"many-{n:02d}", created_at=ago(minutes=n)) for n in range(30)])
    page = client.get(url, {"within": "24h"})
    assert "many-00" in page.content.decode() and "many-29" not in page.content.decode()
    older = client.get(page.context["older_url"]).content.decode()
    assert "many-29" in older and "many-00" not in older and ">Latest</a>" in older
    assert client.get(url, {"after": "nonsense"}).status_code == 200
