from __future__ import annotations
import time, json
import pytest
from django.db import connection, transaction, Error
from tests import factories as make
from apps.packs.models import *
from apps.promotions.models import *
from apps.evals.models import *
from apps.audit.models import Event
from apps.core.errors import Problem

pytestmark = pytest.mark.django_db

def refuse(label, f):
    try:
        with transaction.atomic():
            f()
    except Error as e:
        print("refused", label, type(e).__name__, str(e).splitlines()[0][:90])
    else:
        print("!!! ACCEPTED", label)

def test_direct():
    acme = make.tenant("acme"); make.own_pack(acme, "desk")
    live = make.champion(acme, "desk", "tenant:acme")
    draft = make.version(acme,"desk","tenant:acme")
    for M in (PackVersion, Event, Decision, Approval, EvalResult, PointerChange, Layer, Pack, Promotion, EvalRun, EvalCase, EvalSet):
        refuse(f"{M.__name__} delete", lambda: M.objects.all()._raw_delete("default"))
    for M, fields in {PackVersion: dict(content={}, canonical=b"", digest="x", number=9, notes="x", parent_id=None, created_by_id=None, layer_id=live.layer_id, tenant_id=acme.pk, author_kind="human"),
              Event: dict(action="x", data={}, hash=b"x"), Decision: dict(reason="x", decision="force", verdict={}), Approval: dict(approved=True, binding="x", comment="x", user_id=None),
              EvalResult: dict(output="x", deterministic_score=1, detail={}), Promotion: dict(layer_id=live.layer_id, challenger_id=draft.pk, requested_by_id=None, reason="x", aim="policy", tenant_id=acme.pk),
              Layer: dict(scope="x", tenant_id=acme.pk, pack_id=live.layer.pack_id), EvalRun: dict(prefix_digest="x", rubric=[], total=1), EvalCase: dict(expected={}, input="x"), PointerChange: dict(version_id=None)}.items():
        for name, value in fields.items():
            refuse(f"{M.__name__}.{name}", lambda: M.objects.all().update(**{name: value}))
    refuse("two champions", lambda: (PackVersion.objects.filter(pk=draft.pk).update(status="champion")))
    def other():
        Layer.objects.filter(pk=live.layer_id).update(champion_id=None)
        with connection.cursor() as c: c.execute("SET CONSTRAINTS ALL IMMEDIATE")
    refuse("pointer without status", other)
    def save():
        draft.content = {"a":1}; draft.save()
    refuse("save", save)
    refuse("truncate", lambda: connection.cursor().execute("TRUNCATE packs_packversion CASCADE"))
    refuse("owner role", lambda: connection.cursor().execute("ALTER TABLE packs_packversion DISABLE TRIGGER ALL"))

def timed(label, f):
    t=time.perf_counter()
    try: r=f()
    except Problem as e: r=e; print(label, "Problem", e.code, str(e)[:150])
    print(f"{label}: {time.perf_counter()-t:.2f}s"); return r

def test_huge(client):
    acme = make.tenant("acme"); make.own_pack(acme, "desk")
    agent = make.agent(acme, "h1"); token = make.agent_token(agent); admin = make.api_token(make.user(acme,"tenant_admin"), acme)
    H=make.bearer(admin)
    def post(scope, content):
        r=client.post("/api/v1/packs/desk/versions/", json.dumps({"scope":scope,"content":content}), content_type="application/json", headers=H)
        print(scope, r.status_code, r.content[:200] if r.status_code>=400 else len(r.content)); return r
    sections={f"s{n}": {"text": f"t{n}", "order": n, "file":"AGENTS","mode":"append"} for n in range(9000)}
    r=timed("9000 sections", lambda: post("tenant:acme", {"sections":sections}))
    print(len(json.dumps(sections)))
    sections={f"s{n}": {"text": "x", "order": n, "file":"AGENTS","mode":"append"} for n in range(6000)}
    r=timed("6000 sections", lambda: post("tenant:acme", {"sections":sections}))
    if r.status_code==201:
        from apps.promotions.services.going_live import bootstrap
        timed("boot", lambda: bootstrap(ctx=make.system(acme.pk), version_id=r.json()["id"]))
        r0=timed("resolve", lambda: client.get("/api/v1/resolve?pack=desk", headers=make.bearer(token)))
        print(r0.status_code, len(r0.content))
        sections2={f"s{n}": {"text": "yy", "order": n, "file":"AGENTS","mode":"replace"} for n in range(6000)}
        r2=timed("child 6000", lambda: post("agent:acme/h1", {"sections":sections2}))
        r3=timed("edit 6000", lambda: post("tenant:acme", {"sections":sections2}))
        if r3.status_code==201:
            timed("diff", lambda: client.get(f"/api/v1/versions/{r3.json()['id']}/diff/", headers=H))
            timed("blast", lambda: client.get(f"/api/v1/versions/{r3.json()['id']}/blast-radius/", headers=H))
            timed("promote", lambda: print(client.post("/api/v1/promotions/", json.dumps({"version":r3.json()['id'],"aim":"policy"}), content_type="application/json", headers=H).status_code))
    cons=[{"rule":"forbid_text","value":f"(a|b)*c{n}"} for n in range(3000)]
    timed("constraints", lambda: post("agent:acme/h1", {"constraints":cons, "sections":{"big":{"text":"ab"*100000,"order":1,"file":"AGENTS","mode":"append"}}}))
    rub=[{"id": f"c{n}", "check":"contains","weight":1,"dimension":"quality","params":{"text":"x"}} for n in range(4000)]
    timed("rubric", lambda: post("agent:acme/h1", {"rubric":rub}))
    tools={"deny":[f"a.b{n}.*" for n in range(20000)], "risk":{f"t{n}":"low" for n in range(5000)}}
    timed("tools", lambda: post("agent:acme/h1", {"tools":tools}))

def test_names(client):
    acme = make.tenant("acme"); make.own_pack(acme, "desk")
    for name in ["*", ".*", "a.*.b", "a.**", "a.*", "", " ", "a b", "a\n", "x"*5000, "é.*", "a..*", "."]:
        try: make.version(acme,"desk","tenant:acme",{"tools":{"allow":[name]}}); print("ok", repr(name[:20]))
        except Problem as e: print("no", repr(name[:20]), e.code)
    def nest(n, leaf):
        for _ in range(n): leaf={"not": leaf}
        return leaf
    for label, schema in {"loop":{"$ref":"#"}, "loop2":{"allOf":[{"$ref":"#"}]}, "loop3":{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}, "deep":nest(55,{"type":"string"}), "prop":{"properties":{"a":{"$ref":"#"}}}}.items():
        try:
            v=make.version(acme,"desk","tenant:acme",{"contracts":{"t":schema}}); print(label,"ok")
        except Problem as e: print(label, e.code, str(e)[:100])
    from apps.evals.domain.checks import score_output
    for label, schema in {"loop":{"$ref":"#"}, "loop3":{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}, "patt":{"pattern":"(a*)*b"}}.items():
        try: print(label, score_output([{"id":"a","check":"json_schema","weight":1,"dimension":"format","params":{"schema":schema}}], output='{"a":1}', case={}, facts={}))
        except BaseException as e: print("!!!", label, type(e).__name__)
    for label, out in {"deep": "["*100000, "nan":"NaN", "big":"9"*100000, "dup":'{"a":1,"a":2}', "nul":'"\x00"'}.items():
        try: print(label, str(score_output([{"id":"a","check":"json_schema","weight":1,"dimension":"format","params":{"schema":{"type":"object"}}}], output=out, case={}, facts={}))[:150])
        except BaseException as e: print("!!!", label, type(e).__name__)

def test_users(client):
    acme = make.tenant("acme"); make.own_pack(acme, "desk"); make.champion(acme,"desk","tenant:acme")
    token = make.agent_token(make.agent(acme, "h1"))
    from urllib.parse import quote
    for u in ["u", "a b", "a/b/../c", "é"*200, "\x01", "x"*201, "\ud800".encode("utf-8","surrogatepass"), "", "‮", "a\nb", "%"]:
        r=client.get("/api/v1/resolve?pack=desk&user="+quote(u), headers=make.bearer(token)); print(repr(u)[:20], r.status_code)
        r=client.get("/api/v1/packs/desk/effective/?user="+quote(u), headers=make.bearer(make.api_token(make.user(acme,"viewer"),acme))); print("   people", r.status_code)
    for pack in ["DESK","desk ", "x"*300, "presets", "é", "desk\n"]:
        r=client.get("/api/v1/resolve?pack="+quote(pack), headers=make.bearer(token)); print(repr(pack)[:20], r.status_code, r.json()["code"])
