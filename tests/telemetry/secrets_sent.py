"""Seeded secrets, and every way in for them: the harness's, and what people write about a harness.

A way in is a function of a harness and a secret that sends it wherever that way takes text, and gives the responses: a new one is a line in
WAYS.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from django.test import Client

from apps.evals.models import EvalRun, EvalSet
from apps.evals.services.runs import start_eval_run
from apps.identity.models import Tenant
from apps.telemetry.domain.items import EventItem, RunItem
from apps.telemetry.services import add_pattern, set_policy
from tests import factories as make
from tests.telemetry import spans
from tests.telemetry.sending import Harness, harness

# What is sent, and what of it must not be found anywhere. Put together here, so that no scanner of this repository takes them for real.
_T = "Zq7Xw2Lp9Rt4Vb6Nc1"
SECRETS = {
    "openai": ("sk" + "-proj-" + _T * 2 + "aA", _T * 2),
    "anthropic": ("sk" + "-ant-api03-" + _T * 3, _T * 3),
    "github": ("gh" + "p_" + _T * 2, _T * 2),
    "aws": ("AK" + "IA" + "QWERTYUIOPASDF23", "QWERTYUIOPASDF23"),
    "jwt": ("ey" + "J" + _T + ".ey" + "J" + _T * 2 + "." + _T, "J" + _T + ".ey"),
    "pem": ("-----BEGIN PRIV" + "ATE KEY-----\n" + _T * 4 + "\n-----END PRIV" + "ATE KEY-----", _T * 4),
    "connection": ("postgres://app:" + "pW" + _T + "@db/app", "pW" + _T),
    "own token": ("mc" + "_abcdefabcdef_" + _T * 2 + "x", _T * 2 + "x"),
    "assignment": ("DB_PASS" + "WORD=" + "tulip42" + _T, "tulip42" + _T),
    "card": ("4012 8888" + " 8888 1881", "8888 1881"),
    "tenant's own": ("EMP-" + "482" + "913", "482913"),
    "e-mail": ("anna.quetzal" + "@acme.example", "anna.quetzal"),
}
# What only the tenant's policy replaces.
BY_POLICY = frozenset({SECRETS["tenant's own"][0], SECRETS["e-mail"][0]})
# A value that only its key gives away.
UNDER_A_KEY = "plain-" + "quetzal-feathers"

PACK = "desk"
# One check that repeats what an answer holds, and one that repeats which tools were called.
RUBRIC = [
    {"id": "shape", "check": "json_schema", "weight": 50, "dimension": "format", "params": {"schema": {"enum": ["never"]}}},
    {"id": "tools", "check": "tool_policy", "weight": 50, "dimension": "safety"},
]


def furnished() -> Tenant:
    """A tenant with a policy and a pattern of its own, and what its harnesses need to be asked and to ask."""
    tenant = make.tenant("acme")
    system = make.system(tenant.pk)
    set_policy(ctx=system, changes={"redact_email": True, "redact_phone": True})
    add_pattern(ctx=system, name="staff_number", pattern=r"EMP-(\d{6})")
    pack = make.own_pack(tenant, PACK)
    body = make.content(rubric=RUBRIC, tools={"allow": ["mail.send"]}, autonomy={"ceiling": "A3"})
    make.champion(tenant, PACK, "tenant:acme", body)
    draft = make.version(tenant, PACK, "tenant:acme", {**body, **make.content("You answer exactly.")})
    cases: EvalSet = make.eval_set(tenant, pack, len(SECRETS))
    start_eval_run(ctx=system, eval_set_id=cases.pk, version_id=draft.pk, runner="harness")
    return tenant


def new_harness(tenant: Tenant) -> Harness:
    return harness(tenant, autonomy="A2", default_pack=PACK)


def _texts(kind: type, but: set[str], secret: str) -> dict[str, Any]:
    """The secret in every field that takes text."""
    annotations = kind.__annotations__
    return {name: f"x {secret} y" for name, shape in annotations.items() if shape.startswith(("Name", "Id", "Text")) and name not in but}


def _deep(secret: str) -> dict[str, Any]:
    """In keys, nested, in JSON inside of a string, as the arguments and results of a tool of MCP hold it."""
    inside = json.dumps({"headers": {"note": secret, "password": UNDER_A_KEY}, "lines": [f"\t{secret}\n"]})
    return {
        secret: 1,
        "arguments": {"q": [secret, {"deep": secret}], "password": UNDER_A_KEY},
        "result": inside,
        "twice": json.dumps({"in": inside}),
    }


def _line(secret: str) -> str:
    return " ".join(secret.splitlines())


def _word(secret: str) -> str:
    """In one word, where that is the secret still."""
    return secret if "\n" in secret else secret.replace(" ", "-")


def _post(sender: Harness, kind: str, body: Any, **environ: Any) -> Any:
    return sender.post(kind, body, **environ)


def json_runs(sender: Harness, secret: str) -> Iterator[Any]:
    at, slug = datetime.now(UTC).isoformat(), sender.agent.slug
    good = {
        "run_id": f"r-{slug}",
        "started_at": at,
        **_texts(RunItem, {"run_id"}, secret),
        "mcp_servers": [secret],
        "safety_flags": [secret],
    }
    good |= {"metadata": _deep(secret), "checks": {"no_secrets": True, **_deep(secret)}}
    in_json = {"run_id": f"j-{slug}", "started_at": at, "input": _deep(secret), "output": [secret, _deep(secret)]}
    yield _post(sender, "runs", {"runs": [good, in_json], "producer": "gw-1", "seq": 1})
    # Too old: not stored, and said in the log.
    old = {**good, "run_id": f"old-{slug}", "started_at": "2020-01-01T00:00:00Z"}
    yield _post(sender, "runs", {"runs": [old], "producer": "gw-1", "seq": 9})
    yield _post(sender, "runs", {"runs": [{**good, "final": False, "run_id": f"open-{slug}"}]})
    yield _post(sender, "runs", {"runs": [{**good, "run_id": f"open-{slug}"}]})
    bad = [
        {"run_id": secret},
        {"tier": secret},
        {secret: 1},
        {"latency_ms": secret},
        {"started_at": secret},
        {"pack_version": {secret: secret}},
    ]
    yield _post(sender, "runs", {"runs": [{"run_id": f"b-{index}", "started_at": at, **each} for index, each in enumerate(bad)]})
    yield from _broken(sender, "runs", {"run_id": "b", "started_at": at}, secret)


def json_events(sender: Harness, secret: str) -> Iterator[Any]:
    good = {"event_id": f"e-{sender.agent.slug}", **_texts(EventItem, {"event_id"}, secret), "payload": _deep(secret)}
    yield _post(sender, "events", {"events": [good], "producer": "gw-1", "seq": 2})
    bad = [{"event_id": secret}, {"tier": secret}, {secret: 1}, {"seq": secret}, {"created_at": secret}]
    yield _post(sender, "events", {"events": [{"event_id": f"b-{index}", "action": "a", **each} for index, each in enumerate(bad)]})
    yield from _broken(sender, "events", {"event_id": "b", "action": "a"}, secret)


def _broken(sender: Harness, kind: str, item: dict[str, Any], secret: str) -> Iterator[Any]:
    """Envelopes and requests that are refused as a whole."""
    line = secret.splitlines()[0]
    yield _post(sender, kind, {kind: [item], "producer": secret, "seq": 3})
    yield _post(sender, kind, {kind: [item], secret: 1})
    yield _post(sender, kind, {kind: secret})
    yield _post(sender, kind, secret.encode())
    yield _post(sender, kind, {kind: [item]}, CONTENT_TYPE=f"text/{line}")
    yield _post(sender, kind, {kind: [item]}, HTTP_CONTENT_ENCODING=line)
    yield _post(sender, kind, {kind: [item]}, HTTP_AUTHORIZATION=f"Bearer {line}")


def _trace(secret: str) -> list[Mapping[str, Any]]:
    """An agent with a call of a model, of a tool and of a server of MCP, each with the secret wherever a span takes text."""
    text, trace, top = f"x {secret} y", spans.new_trace(), spans.span("")["id"]
    inside = {"trace": trace, "parent": top, "error": text, "events": [("exception", _thrown(text)), (text, {text: text})]}
    said = {"gen_ai.input.messages": json.dumps([{"role": "user", "content": secret}]), "gen_ai.output.messages": [text, _deep(secret)]}
    ours = {f"mc.{name}": text for name in ("root_task_id", "user_ref", "pack", "task_type", "tenant", "agent", "persona", "tier")}
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": text, **ours, **said, text: _deep(secret)}
    model = {"gen_ai.operation.name": "chat", "gen_ai.request.model": text, "gen_ai.provider.name": text, "llm.prompts.0.content": text}
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": text, "gen_ai.tool.call.arguments": json.dumps(_deep(secret))}
    mcp = {"mcp.method.name": text, "mcp.tool.name": text, "mcp.server.name": text, "mcp.request.argument": _deep(secret)}
    return [
        spans.span(text, {**model, **said}, **inside),
        spans.span(text, {**tool, "gen_ai.tool.call.result": json.dumps(_deep(secret))}, **inside),
        spans.span(text, {**mcp, "mcp.response.value": text}, **inside),
        spans.span(text, {"gen_ai.operation.name": text, "error.type": text, "gen_ai.usage.input_tokens": text}, **inside),
        spans.span(f"openclaw.{secret}", {"openclaw.outcome": text, "openclaw.agent": text}, **inside),
        spans.span(text, agent, trace=trace, id=top, error=text, events=[("exception", _thrown(text))]),
        # Refused: it has no time.
        spans.span(text, agent, start=0, end=0),
    ]


def _thrown(text: str) -> dict[str, str]:
    return {f"exception.{name}": text for name in ("type", "message", "stacktrace")}


def otlp(sender: Harness, secret: str) -> Iterator[Any]:
    line, resource = secret.splitlines()[0], {"service.name": secret, "user.id": secret, "mc.team": secret, secret: secret}
    for encoded, media_type in ((spans.as_protobuf, spans.PROTOBUF), (spans.as_json, "application/json")):
        body = encoded(_trace(secret), resource=resource, scope=secret)
        # Sent again it is a duplicate.
        yield spans.post(sender, body, media_type)
        yield spans.post(sender, body, media_type)
        yield spans.post(sender, secret.encode(), media_type)
        yield spans.post(sender, json.dumps({"resourceSpans": [{secret: secret}, secret]}).encode(), media_type)
        yield spans.post(sender, body, media_type, HTTP_CONTENT_ENCODING=line)
        yield spans.post(sender, body, media_type, HTTP_AUTHORIZATION=f"Bearer {line}")
        broken = {"traceId": secret, "spanId": secret, "startTimeUnixNano": secret, "attributes": [{"key": secret, "value": secret}]}
        yield spans.post(sender, json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [broken]}]}]}).encode(), media_type)


def heartbeats(sender: Harness, secret: str) -> Iterator[Any]:
    served = [{"pack": PACK, "digest": "sha256:" + "0" * 64}]
    yield _post(
        sender, "/api/v1/heartbeat", {"instance": f"host {_line(secret)}", "status": f"busy with {_line(secret)}", "serving": served}
    )
    for bad in (
        {"instance": f"{_line(secret)}\n"},
        {"serving": [{"pack": secret}]},
        {"acks": [secret]},
        {secret: 1},
        {"ttl_s": secret},
        secret,
    ):
        yield _post(sender, "/api/v1/heartbeat", bad)


def suggestions(sender: Harness, secret: str) -> Iterator[Any]:
    good = {"pack": PACK, "content": make.content("You answer kindly.")}
    yield _post(sender, "/api/v1/suggestions/", {**good, "notes": "They thanked me."})
    for bad in (
        {"content": make.content(f"Say {secret}.")},
        {"content": {**make.content(), secret: secret}},
        {"content": {**make.content(), "notes": {"password": UNDER_A_KEY}}},
        {"notes": f"They said {secret}."},
        {"scope": f"user:acme/{_word(secret)}"},
        {"scope": secret},
        {"pack": secret},
    ):
        yield _post(sender, "/api/v1/suggestions/", {**good, **bad})


def action_requests(sender: Harness, secret: str) -> Iterator[Any]:
    good = {"tool": "mail.send", "arguments": _deep(secret), "reason": f"They wait: {secret}", "run_id": f"x {secret} y"}
    asked = _post(sender, "/api/v1/actions/", good)
    yield asked
    for bad in ({"tool": secret}, {"tool": _word(secret)}, {"pack": secret}, {"arguments": secret}, {"expires_in_s": secret}):
        yield _post(sender, "/api/v1/actions/", {**good, **bad})
    if secret not in BY_POLICY:
        # Before anybody knows whose request it is: everybody's rules.
        yield _post(sender, "/api/v1/actions/", good, HTTP_IDEMPOTENCY_KEY=_line(secret))
        yield _post(sender, "/api/v1/actions/", good, HTTP_X_REQUEST_ID=_line(secret))
    manager = _person(sender, "manager")
    yield manager("post", f"actions/{asked.json()['id']}/approve/", {"comment": f"Not with {secret}."})
    yield manager("post", f"actions/{asked.json()['id']}/deny/", {"comment": f"Not with {secret}."})


def orders(sender: Harness, secret: str) -> Iterator[Any]:
    operator, target = _person(sender, "tenant_admin"), f"agent:acme/{sender.agent.slug}"
    good = {"target": target, "action": "pause", "reason": f"It repeats {secret}."}
    yield operator("post", "control/", good)
    for bad in ({"target": f"tree:{secret}"}, {"target": secret}, {"target": f"agent:acme/{secret}"}, {"action": secret}):
        yield operator("post", "control/", {**good, **bad})
    # The command goes out with the answer.
    yield _post(sender, "/api/v1/heartbeat", {"instance": f"host {_line(secret)}"})


def outputs(sender: Harness, secret: str) -> Iterator[Any]:
    """Answers to the cases of an evaluation: the same twice, another, and what is no answer."""
    path = f"/api/v1/eval-runs/{EvalRun.objects.filter(version__isnull=False, tenant=sender.tenant).latest('created_at').pk}"
    leased = Client().get(f"{path}/cases/", {"lease": 1}, headers=make.bearer(sender.token)).json()
    [case] = leased["cases"]
    answer = {"case": case["case"], "repeat": case["repeat"], "output": json.dumps(_deep(secret)), "run_id": f"x {secret} y"}
    answer["tools"] = [secret, f"x {secret}"]
    bad = [{"case": secret}, {secret: 1}, {"cost_usd": secret}, {"repeat": secret}, {"tools": {secret: secret}}]
    for batch in ([answer], [answer], [{**answer, "output": secret}], [{**answer, **each} for each in bad], [secret]):
        yield _post(sender, f"{path}/outputs/", {"lease_id": leased["lease_id"], "outputs": batch})
    yield _post(sender, f"{path}/outputs/", {"lease_id": secret, "outputs": [answer]})
    yield _post(sender, f"{path}/outputs/", {"lease_id": leased["lease_id"], "outputs": secret})


def _person(sender: Harness, role: str) -> Callable[..., Any]:
    headers = make.bearer(make.api_token(make.user(sender.tenant, role), sender.tenant))

    def call(method: str, path: str, body: Any = None, **more: str) -> Any:
        client = getattr(Client(), method)
        return client(f"/api/v1/{path}", json.dumps(body), content_type="application/json", headers={**headers, **more})

    return call


def questions(sender: Harness, secret: str) -> Iterator[Any]:
    """What is asked for is not stored, and must not be logged."""
    person = make.bearer(make.api_token(make.user(sender.tenant, "viewer"), sender.tenant))
    for path in ("runs/", "events/", "resolve"):
        yield Client().get(f"/api/v1/{path}", {"run_id": secret, "pack": secret}, headers=person)
    for path in ("runs", "actions", "eval-runs", "nothing"):
        yield Client().get(f"/api/v1/{path}/{quote(secret, safe='')}/", headers=person)
    yield Client().get("/api/v1/resolve", {"pack": PACK, "user": _word(secret)}, headers=make.bearer(sender.token))
    yield Client().post(
        "/api/v1/redaction/try/", {"text": secret}, content_type="application/json", headers={**person, "Idempotency-Key": "k"}
    )


WAYS: list[Callable[[Harness, str], Iterator[Any]]] = [
    *(json_runs, json_events, otlp, heartbeats, suggestions, action_requests, orders, outputs, questions),
]
