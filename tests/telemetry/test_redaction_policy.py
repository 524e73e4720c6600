"""What a tenant has redacted besides secrets: by policy, by patterns of its own, and how much it keeps at all."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from apps.audit.models import Event as AuditEvent
from apps.core.errors import Problem
from apps.telemetry.models import Event, Producer, RedactionPattern, RedactionPolicy, Run
from apps.telemetry.services import add_pattern, set_policy, update_pattern
from tests import factories as make
from tests.telemetry.sending import Harness, event, harness, run

pytestmark = pytest.mark.django_db
MAIL = "anna@acme.example"


@pytest.fixture
def sender() -> Harness:
    return harness()


def test_contacts_and_own_patterns_go_in_texts_names_keys_and_references(sender: Harness) -> None:
    ctx = make.system(sender.tenant.pk)
    sender.send(run("before", input=f"write {MAIL}"))
    set_policy(ctx=ctx, changes={"redact_email": True})
    pattern = add_pattern(ctx=ctx, name="staff_number", pattern=r"EMP-(\d{6})")
    sent = {"input": f"write {MAIL}", "persona": f"of {MAIL}", "metadata": {MAIL: "EMP-123456"}, "user_ref": MAIL}
    sender.send(run("one", **sent), run("two", **{**sent, "user_ref": "bob@acme.example"}))
    assert Run.objects.get(run_id="before").input == f"write {MAIL}"
    one, two = Run.objects.filter(run_id__in=["one", "two"]).order_by("run_id")
    assert (one.input, one.persona) == ("write [redacted:email]", "of [redacted:email]")
    assert one.metadata == {"[redacted:email]": "EMP-[redacted:staff_number]"}
    assert (one.flags, one.redactions) == (["redacted"], ["email", "staff_number"])
    assert one.user_ref.startswith("[redacted:email]~")
    assert one.user_ref != two.user_ref
    # Another tenant is untouched.
    other = harness()
    other.send(run("other", input=f"{MAIL} EMP-123456"))
    assert Run.objects.get(run_id="other").input == f"{MAIL} EMP-123456"
    update_pattern(ctx=ctx, pattern_id=pattern.pk, changes={"enabled": False})
    sender.send(run("after", input="EMP-123456"))
    assert Run.objects.get(run_id="after").input == "EMP-123456"


def test_an_item_whose_key_would_be_replaced_is_rejected_alone(sender: Harness) -> None:
    set_policy(ctx=make.system(sender.tenant.pk), changes={"redact_email": True, "redact_phone": True})
    receipt = sender.send(run("20261130093000123"), run(f"r-{MAIL}"), run("0049301234567"), run("+49 30 1234567"))
    assert receipt["accepted"] == 2
    assert [(each["index"], each["code"], each["pointer"]) for each in receipt["rejected"]] == [
        (1, "invalid", "/runs/1/run_id"),
        (3, "invalid", "/runs/3/run_id"),
    ]
    assert MAIL not in str(receipt)
    refused = sender.post("runs", {"runs": [run()], "producer": MAIL, "seq": 1})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/producer")
    assert MAIL not in refused.content.decode()
    assert not Producer.objects.exists()


def test_metrics_only_keeps_no_content(sender: Harness) -> None:
    set_policy(ctx=make.system(sender.tenant.pk), changes={"store_content": "metrics_only"})
    sender.send(run("r", checks={"ok": True}, metadata={"host": "gw"}, agent="somebody-else"), run("bare", input=None, output=None))
    sender.send_events(event("e", payload={"a": 1}))
    stored = Run.objects.get(run_id="r")
    assert (stored.input, stored.output, stored.checks, stored.flags) == (None, None, {"ok": True}, ["metrics_only", "mismatch"])
    assert stored.metadata["host"] == "gw"
    assert Run.objects.get(run_id="bare").flags == []
    found = Event.objects.get()
    assert (found.message, found.payload, found.flags) == (None, None, ["metrics_only"])


def test_the_policy_over_http(sender: Harness) -> None:
    tokens = {role: make.bearer(make.api_token(make.user(sender.tenant, role), sender.tenant)) for role in ("tenant_admin", "viewer")}

    def call(who: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return getattr(Client(), method)(f"/api/v1/{path}", body, content_type="application/json", headers={**tokens[who], **headers})

    before = call("viewer", "get", "redaction/")
    assert before.json() == {"redact_email": False, "redact_phone": False, "store_content": "redacted"}
    assert call("viewer", "patch", "redaction/", {"redact_email": True}).status_code == 403
    changed = call("tenant_admin", "patch", "redaction/", {"redact_email": True}, **{"If-Match": before["ETag"]})
    assert (changed.status_code, changed.json()["redact_email"]) == (200, True)
    assert call("tenant_admin", "patch", "redaction/", {"redact_phone": True}, **{"If-Match": before["ETag"]}).status_code == 412
    refused = call("tenant_admin", "post", "redaction/patterns/", {"name": "words", "pattern": r"\w+"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/pattern")
    made = call("tenant_admin", "post", "redaction/patterns/", {"name": "staff_number", "pattern": "EMP-[0-9]{6}"})
    assert made.status_code == 201, made.content
    tried = call("viewer", "post", "redaction/try/", {"text": f"EMP-123456 {MAIL}"})
    assert tried.json() == {"text": "[redacted:staff_number] [redacted:email]", "rules": ["email", "staff_number"]}
    path = f"redaction/patterns/{made.json()['id']}/"
    assert call("tenant_admin", "patch", path, {"enabled": False}).json()["enabled"] is False
    assert call("viewer", "post", "redaction/try/", {"text": "EMP-123456"}).json()["rules"] == []
    actions = set(AuditEvent.objects.filter(tenant_id=sender.tenant.pk).values_list("action", flat=True))
    assert {"telemetry.redaction_changed", "telemetry.pattern_added", "telemetry.pattern_changed"} <= actions
    assert (RedactionPolicy.history.count(), RedactionPattern.history.count()) == (1, 2)


def test_patterns_are_bounded_over_all_that_are_on(sender: Harness) -> None:
    ctx = make.system(sender.tenant.pk)
    for name in ("a_a", "b_b", "c_c"):
        add_pattern(ctx=ctx, name=name, pattern=f"{name}[xy]{{170}}")
    with pytest.raises(Problem, match="All patterns together"):
        add_pattern(ctx=ctx, name="d_d", pattern="d_d[xy]{170}")
    with pytest.raises(Problem, match="There is a pattern"):
        add_pattern(ctx=ctx, name="a_a", pattern="abc")
    update_pattern(ctx=ctx, pattern_id=RedactionPattern.objects.get(name="a_a").pk, changes={"enabled": False})
    add_pattern(ctx=ctx, name="d_d", pattern="d_d[xy]{170}")
