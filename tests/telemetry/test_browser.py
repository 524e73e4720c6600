"""An orchestration, a run and an export in a real browser: by keyboard, while they move, on a phone, in the dark."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.test import Client
from django.urls import reverse

from apps.telemetry.models import Export, Run
from apps.telemetry.services import exporting
from apps.telemetry.services.rolling import roll_up
from tests import factories as make
from tests.admin.test_browser import Tab, browser, pytestmark
from tests.telemetry.sending import Harness, event, harness, run

__all__ = ["browser", "pytestmark"]

PASSWORD = "correct horse battery staple"
ROOT = "root-7f3a-quarterly-report"


def ago(**since: float) -> str:
    return (datetime.now(UTC) - timedelta(**since)).isoformat()


def task(n: int, tier: str, parent: str | None, task_type: str, **fields: Any) -> dict[str, Any]:
    task_id = ROOT if parent is None else f"task-{n}"
    return run(
        f"run-{n}",
        root_task_id=ROOT,
        task_id=task_id,
        tier=tier,
        task_type=task_type,
        created_at=ago(minutes=40 - n),
        started_at=ago(minutes=40 - n),
        provider="anthropic",
        model_id="claude-sonnet-4-5",
        actor="planner" if tier == "T1" else "worker",
        tokens_in=1500 * n * n,
        tokens_out=321 * n,
        cached_tokens=900 * n,
        reasoning_tokens=40 * n,
        metadata={"parent_task_id": parent} if parent else {},
        **fields,
    )


def orchestration(sender: Harness) -> None:
    """A report in the making: a plan, searches of which one failed and one ran twice, a writer that has gone silent."""
    sender.send(
        task(1, "T1", None, "quarterly_report", final=False, success=None, status="running"),
        task(2, "T2", ROOT, "collect_figures"),
        task(3, "T3", "task-2", "query_warehouse", mcp_servers=["warehouse", "github"]),
        task(4, "T3", "task-2", "query_crm", success=False, status="failed", error_code="timeout"),
        task(5, "T2", ROOT, "write_summary", final=False, success=None, status="running"),
        task(6, "T3", "task-5", "draft_section"),
        task(7, "T3", "task-99", "check_links"),
        {**task(8, "T3", "task-2", "query_crm"), "task_id": "task-4"},
    )
    colours = "\x1b[32m✓\x1b[0m"
    sender.send_events(
        event(root_task_id=ROOT, task_id=ROOT, action="plan", created_at=ago(seconds=20), run_id="run-1"),
        *[
            event(root_task_id=ROOT, run_id="run-1", action="output", seq=n, created_at=ago(seconds=30 - n),
                  message=f"{colours} step {n}: <b>{{{{ alert(1) }}}}</b> " + "all is well and this line is long " * 4 + "\n")
            for n in range(1, 9)
        ],
    )  # fmt: skip
    sender.send(run("other", root_task_id="root-0-done", task_id="root-0-done", created_at=ago(hours=2), flags=None))


def test_reading_in_a_browser(browser: Any, live_server: Any) -> None:
    sender = harness(make.tenant("acme"), slug="reporter-1")
    orchestration(sender)
    auditor = make.user(sender.tenant, "auditor", email="auditor@acme.test", password=PASSWORD)
    client = Client()
    assert client.login(username=auditor.email, password=PASSWORD)
    tab = Tab(browser, live_server.url)
    tab.take_over(client)
    page = tab.page
    tab.go(reverse("orchestrations"))
    tab.shoot("roots")
    # By keyboard: open the tree, fold a task, and it stays folded when the tree refreshes.
    page.focus(f"text={ROOT}")
    page.keyboard.press("Enter")
    page.wait_for_selector("#mc-tree")
    assert page.locator(".mc-task").count() == 7
    assert "silent for" in page.inner_text("#mc-tree") and "was never reported" in page.inner_text("#mc-tree")
    tab.shoot("tree")
    summary = page.locator("summary", has_text="collect_figures")
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator(".mc-task:visible").count() == 5
    sender.send(task(9, "T3", "task-5", "proof_read"))
    page.wait_for_selector("text=proof_read")
    assert page.locator(".mc-task:visible").count() == 6
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.click("text=Pause")
    page.wait_for_selector("text=Refreshing is paused.")
    page.select_option("#mc-state", "failed")
    page.click("button:has-text('Show')")
    page.wait_for_load_state()
    assert page.locator(".mc-task:not(.mc-beside)").count() == 0
    # What a terminal wrote is text.
    tab.go(reverse("admin:telemetry_run_change", args=[Run.objects.get(run_id="run-1").pk]))
    assert "✓ step 1: <b>{{ alert(1) }}</b> all is well" in page.inner_text("#mc-output pre")
    tab.shoot("run")
    # From the list, with its filters, to a file.
    tab.go(reverse("admin:telemetry_run_changelist", query={"task_type": "query_crm"}))
    tab.shoot("runs")
    page.click("text=Export these")
    assert "task type query_crm" in page.inner_text("main.mc-page")
    tab.shoot("export_these")
    page.click("button[type=submit]:has-text('Export these')")
    page.wait_for_selector("#mc-export")
    tab.shoot("export_queued")
    exporting.write_export(tenant_id=sender.tenant.pk, export_id=Export.objects.get().pk)
    page.click("text=Download the file")
    with page.expect_download() as download:
        page.click("button[type=submit]:has-text('Download')")
    assert download.value.path().read_text().count("query_crm") == 2
    tab.go(reverse("admin:telemetry_export_changelist"))
    tab.shoot("exports")
    roll_up(ctx=make.system(sender.tenant.pk))
    tab.go(reverse("figures"))
    tab.shoot("figures")
    # A group leads to its own figures.
    page.select_option("#mc-by", "pack")
    page.click("button:has-text('Show')")
    page.click("table .mc-link")
    assert page.input_value("#mc-pack") and page.locator("svg.mc-chart rect").count() > 0
    assert tab.complaints == []
    pages = {
        "figures": reverse("figures", query={"by": "pack", "within": "7d"}),
        "tree": reverse("orchestrations", query={"root": ROOT}),
        "roots": reverse("orchestrations"),
        "run": reverse("admin:telemetry_run_change", args=[Run.objects.get(run_id="run-1").pk]),
        "runs": reverse("admin:telemetry_run_changelist"),
        "export": reverse("admin:telemetry_export_change", args=[Export.objects.get().pk]),
    }
    phone = Tab(browser, live_server.url, width=390, dark=True)
    phone.take_over(client)
    for name, path in pages.items():
        phone.go(path)
        phone.shoot(f"phone_{name}")
        assert phone.overflow() <= 0, name
    assert phone.complaints == []
