"""What is sent to the routes of the API's table."""

from __future__ import annotations

from typing import Any

# What a body holds where the OpenAPI document and the place's values do not say enough; `$kind` is the id of the place's object, `@key` its
# value of that name.
BODIES: dict[str, dict[str, Any]] = {
    "post members/": {"email": "new@example.test", "role": "viewer", "team": "@team"},
    "post members/#with-a-reference": {"email": "new@example.test", "role": "viewer", "team": "$team.slug", "user_ref": "u-1"},
    "patch members/{pk}/": {"role": "operator"},
    "patch members/{pk}/#with-a-reference": {"user_ref": "u-1"},
    "post eval-runs/": {"version": "$draft", "eval_set": "$eval set", "runner": "replay"},
    "post eval-runs/{pk}/outputs/": {"lease_id": None, "outputs": [{"case": "$case", "repeat": 1, "output": "hello"}]},
    "post tokens/#for-oneself": {"name": "mine"},
    "post subscriptions/": {"pack": "$pack.slug"},
    "post promotions/{pk}/approve/": {"comment": "yes"},
    "post promotions/approve/": {"promotions": [{"id": "$promotion"}], "read": ["$promotion"]},
    "post promotions/reject/": {"promotions": [{"id": "$promotion"}], "comment": "no"},
    "post delegations/": {"to_user": "$stand-in.email", "role": "manager", "team": "@team", "until": "@soon"},
    "post exports/": {"kind": "runs", "format": "csv", "filters": {"tier": "T1"}},
    "post prices/": {
        "provider": "maker",
        "model_id": "m-1*",
        "effective_from": "2030-01-01",
        "input": "3",
        "cache_read": "0.30",
        "cache_write": "3.75",
        "output": "15",
    },
    "patch redaction/": {"redact_email": True},
    "post redaction/try/": {"text": "hello"},
    "post redaction/patterns/": {"name": "staff_number", "pattern": "EMP-[0-9]{6}"},
    "patch redaction/patterns/{pk}/": {"enabled": False},
    "post archives/": {"day": "@unarchived_day"},
    "post archives/{pk}/restore/": {"confirm": "@archived_day"},
    "patch retention/": {"hot_days": 9},
    "post erasures/": {"user_ref": "u-9", "confirm": "u-9", "reason": "asked"},
    "post telemetry/runs": {"producer": "p", "seq": 1, "runs": [{"run_id": "r", "started_at": "2026-01-01T00:00:00Z"}]},
    "post heartbeat": {"status": "working", "serving": []},
    "post control/": {"target": "agent:$tenant.slug/$agent.slug", "action": "resume"},
    "post actions/": {"tool": "mail.send", "pack": "$pack.slug"},
    "post suggestions/": {"pack": "$pack.slug", "content": "@content"},
    "post telemetry/events": {"producer": "p", "seq": 1, "events": [{"event_id": "e", "action": "output"}]},
    "post otlp/v1/traces": {"resourceSpans": [{"scopeSpans": [{"spans": []}]}]},
}
