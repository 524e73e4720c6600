"""The one table of the API: which act a route needs, and on what. Each status follows from it, from the role table, and from "invisible is
404, visible but not allowed is 403".

Columns: method, path (`#x` tells a second use of a route), act, where, seen, done, exceptions.

- act: the right that the role table has to give, or that is granted on what the object stands under; `a|b`: either; `-`: everybody who is
  signed in may; `govern`: the tenant admins of `platform`; `lend:role`: who holds this role themselves, as a person.
- where: whose right. `object`: on the object, a role in its team is enough; `tenant`: in the object's whole tenant; `home`: in one's own
  tenant, whatever object is named, and before it is looked for; `home-team`: there, or in the team that is named; `mine`: in one's own
  tenant, once the object is seen; `anywhere`: in one's own or in any team of it, and each object of the body is answered for by itself.
- seen: who sees the object that the path or body names. `own`: who may view in its tenant; `library`: shared ones are seen from everywhere;
  `governed`: `own`, and `platform`'s tenant admins see all. `list`: all that one sees, be it nothing; `figures`: sums and
  counts of it. `none`: no object is named.
- done: the status when the object is seen and the act allowed; `place=` where it differs, `hidden=` for an object that is not seen (404).
  409 says that the act is known and the object's state is not one for it.
- exceptions: `who@place=status`. (A medium risk takes a manager's yes; a tenant admin stands in only where no manager is free of authorship.
  What is put together from all over the tenant takes a role in it. No token with narrow scopes, as a service account's is, begets
  another.)
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.shown.people import PEOPLE, PLACES, granted, holds, holds_anywhere, lends, sees

TABLE = """
get     packs/                        view               home       list      200
post    packs/                        author             home       none      201
get     packs/{slug}/                 view               tenant     library   200
patch   packs/{slug}/                 author             tenant     library   200
get     packs/{slug}/effective/       view               tenant     library   200;team=409   grouped@own=403
get     packs/{slug}/layers/          view               tenant     library   200
get     packs/{slug}/versions/        view               tenant     library   200
post    packs/{slug}/versions/        author             object     library   201
get     versions/{pk}/                view               tenant     library   200
get     versions/{pk}/diff/           view               tenant     library   200
get     versions/{pk}/blast-radius/   view               tenant     library   200   grouped@own=403
get     subscriptions/                view               home       list      200
post    subscriptions/                adopt              mine       library   422;shared=201  platform-admin@shared=422
get     subscriptions/{pk}/           view               tenant     own       200
delete  subscriptions/{pk}/           adopt              tenant     own       204
get     content-schema/               -                  home       none      200
post    layers/{layer_id}/rollback/   roll_back          object     library   201

get     promotions/                   view               home       list      200
post    promotions/                   request_promotion  object     library   201
get     promotions/{pk}/              view               tenant     own       200
post    promotions/{pk}/evaluate/     evaluate           object     own       200
post    promotions/{pk}/approve/      approve            object     own       200   admin@team=403 team-admin@team=403 delegate@team=403
post    promotions/{pk}/reject/       approve            object     own       200
post    promotions/approve/           approve            anywhere   none      200
post    promotions/reject/            approve            anywhere   none      200
post    promotions/{pk}/start/        promote            object     own       200
post    promotions/{pk}/advance/      promote            object     own       409
post    promotions/{pk}/hold/         promote            object     own       409
post    promotions/{pk}/abort/        promote            object     own       200
get     decisions/                    view               home       list      200
get     decisions/{pk}/               view               tenant     own       200

get     eval-sets/                    view               home       list      200
post    eval-sets/                    evaluate           home       library   201
get     eval-sets/{pk}/               view               tenant     library   200
get     eval-sets/{pk}/cases/         view               tenant     library   200
post    eval-sets/{pk}/cases/         evaluate           tenant     library   201
get     eval-runs/                    view               home       list      200
post    eval-runs/                    evaluate           object     library   201
get     eval-runs/{pk}/               view               tenant     library   200   agent@own=200 team-agent@own=200 team-agent@team=200
get     eval-runs/{pk}/cases/         view               tenant     library   200   agent@own=200 team-agent@own=200 team-agent@team=200
post    eval-runs/{pk}/outputs/       evaluate           object     library   200
get     eval-results/                 view               home       list      200
get     eval-results/{pk}/            view               tenant     library   200

get     agents/                       view               home       list      200
post    agents/                       manage_tenant      home-team  none      201;hidden=422
get     agents/{slug}/                view               tenant     own       200
patch   agents/{slug}/                manage_tenant      object     own       200
delete  agents/{slug}/                manage_tenant      object     own       204
post    agents/{slug}/suspend/        operate            object     own       200
post    agents/{slug}/activate/       operate            object     own       409
get     members/                      view               home       list      200
post    members/                      manage_members     home-team  none      201;hidden=422
post    members/#with-a-reference     manage_members     mine       own        201;hidden=422
get     members/{pk}/                 view               tenant     own       200
patch   members/{pk}/                 manage_members     object     own       200
patch   members/{pk}/#with-a-reference  manage_members   tenant     own       200
delete  members/{pk}/                 manage_members     object     own       204
get     teams/                        view               home       list      200
post    teams/                        manage_members     home       none      201
get     teams/{slug}/                 view               tenant     own       200
patch   teams/{slug}/                 manage_members     object     own       200
get     organisations/                view               home       list      200
post    organisations/                govern             home       none      201
get     organisations/{slug}/         view               tenant     governed  200
patch   organisations/{slug}/         govern             tenant     governed  200
get     tenants/                      view               home       list      200
post    tenants/                      govern             home       none      201
get     tenants/{slug}/               view               tenant     governed  200
patch   tenants/{slug}/               manage_tenant      tenant     governed  200
delete  tenants/{slug}/               manage_tenant      tenant     governed  204;shared=409
post    tenants/{slug}/suspend/       govern             tenant     governed  200;shared=409
post    tenants/{slug}/activate/      govern             tenant     governed  409
get     tokens/                       view               home       list      200
post    tokens/                       manage_tokens      object     own       201;hidden=422
post    tokens/#for-oneself           view               home       none      201   narrowed-admin@own=403 service-manager@own=403
get     tokens/{pk}/                  view               tenant     own       200
delete  tokens/{pk}/                  manage_tokens      object     own       204
post    tokens/{pk}/rotate/           manage_tokens      object     own       201
post    tokens/{pk}/rotate/#of-a-person  manage_tokens   tenant     own       201
get     service-accounts/             view               home       list      200
post    service-accounts/             manage_members     home       none      201
get     delegations/                  view               home       list      200
post    delegations/                  lend:manager       home-team  none      201;hidden=422
get     delegations/{pk}/             view               tenant     own       200
post    delegations/{pk}/end/         manage_members     object     own       200
get     groups/                       view               home       list      200
post    groups/                       manage_members     home       none      201
get     groups/{pk}/                  view               tenant     own       200
patch   groups/{pk}/                  manage_members     tenant     own       200
delete  groups/{pk}/                  manage_members     tenant     own       204
get     groups/{pk}/members/          view               tenant     own       200
post    groups/{pk}/members/          manage_members     tenant     own       201
delete  group-members/{pk}/           manage_members     tenant     own       204
get     groups/{pk}/grants/           view               tenant     own       200
post    groups/{pk}/grants/           manage_members     object     own       201
get     grants/                       view               home       list      200
delete  grants/{pk}/                  manage_members     object     own       204
get     access/                       manage_members|audit  object  own       200
get     access/#of-oneself            view               tenant     library   200
get     access/people/                manage_members|audit  mine    library   200
get     me/                           -                  home       none      200
get     audit/                        audit              home       none      200
get     audit/verify/                 audit              home       none      200
get     audit/export/                 export             home       none      200

get     webhooks/                     view               home       list      200
post    webhooks/                     manage_tenant      home       none      201
get     webhooks/{pk}/                view               tenant     own       200
patch   webhooks/{pk}/                manage_tenant      tenant     own       200
post    webhooks/{pk}/rotate/         manage_tenant      tenant     own       200
post    webhooks/{pk}/test/           manage_tenant      tenant     own       202
get     notices/                      view               home       list      200
get     notices/{pk}/                 view               tenant     own       200

get     runs/                         view               home       list      200
get     runs/{pk}/                    view               tenant     own       200
get     events/                       view               home       list      200
get     producers/                    view               home       list      200
get     producers/{pk}/               view               tenant     own       200
get     prices/                       view               home       list      200
post    prices/                       manage_tenant      home       none      201
get     prices/{pk}/                  view               tenant     library   200
delete  prices/{pk}/                  manage_tenant      tenant     library   204
get     redaction/                    view               home       none      200
patch   redaction/                    manage_tenant      home       none      200
post    redaction/try/                view               home       none      200
get     redaction/patterns/           view               home       list      200
post    redaction/patterns/           manage_tenant      home       none      201
get     redaction/patterns/{pk}/      view               tenant     own       200
patch   redaction/patterns/{pk}/      manage_tenant      tenant     own       200
get     events/{pk}/                  view               tenant     own       200
get     snapshot/                     view               home       list      200
get     snapshot/#of-a-root           view               tenant     own       200
get     metrics/                      view               home       figures   200
get     runs/facets/                  view               home       figures   200
get     events/facets/                view               home       figures   200
get     models/health/                view               home       figures   200
get     exports/                      view               home       list      200
post    exports/                      export             home       none      202
get     exports/{pk}/                 view               tenant     own       200
delete  exports/{pk}/                 export             tenant     own       204
post    exports/{pk}/cancel/          export             tenant     own       409
get     exports/{pk}/download/        export             tenant     own       200
get     archives/                     view               home       list      200
post    archives/                     manage_tenant      home       none      202
get     archives/{pk}/                view               tenant     own       200
post    archives/{pk}/verify/         audit              tenant     own       202
post    archives/{pk}/restore/        manage_tenant      tenant     own       202
get     archives/search/              audit              home       none      200
get     retention/                    view               home       none      200
patch   retention/                    manage_tenant      home       none      200
get     erasures/                     view               home       list      200
post    erasures/                     manage_tenant      home       none      202
get     erasures/{pk}/                view               tenant     own       200
get     resolve                       resolve            home       library   200   agent@team=409
post    telemetry/runs                telemetry          home       none      202
post    telemetry/events              telemetry          home       none      202
post    otlp/v1/traces                telemetry          home       none      200
get     stream                        heartbeat          home       none      307

post    heartbeat                     heartbeat          home       none      200
get     harnesses/                    view               home       list      200
get     control/                      view               home       list      200
post    control/                      operate            object     own       201;hidden=422
get     control/{pk}/                 view               tenant     own       200
get     decisions/{pk}/convergence/   view               tenant     own       200
get     actions/                      view               home       list      200
post    actions/                      request_action     home       library   201   agent@team=409
get     actions/{pk}/                 view               tenant     own       200
post    actions/{pk}/approve/         approve            object     own       200
post    actions/{pk}/deny/            approve            object     own       200
post    actions/{pk}/use/             request_action     tenant     own       200
post    suggestions/                  suggest            home       library   201
"""

# Of which object a path speaks, by its first part; the attribute that names it there.
OBJECTS = {
    "actions": ("action request", "pk"),
    "agents": ("agent", "slug"),
    "control": ("command", "pk"),
    "archives": ("archive", "pk"),
    "erasures": ("erasure", "pk"),
    "decisions": ("decision", "pk"),
    "delegations": ("delegation", "pk"),
    "eval-results": ("result", "pk"),
    "eval-runs": ("harness run", "pk"),
    "eval-sets": ("eval set", "pk"),
    "events": ("event", "pk"),
    "exports": ("export", "pk"),
    "grants": ("agent grant", "pk"),
    "group-members": ("group member", "pk"),
    "groups": ("group", "pk"),
    "layers": ("policy layer", "pk"),
    "members": ("member", "pk"),
    "notices": ("notice", "pk"),
    "organisations": ("organisation", "slug"),
    "packs": ("pack", "slug"),
    "prices": ("price", "pk"),
    "producers": ("producer", "pk"),
    "promotions": ("promotion", "pk"),
    "redaction": ("redaction pattern", "pk"),
    "runs": ("run", "pk"),
    "subscriptions": ("subscription", "pk"),
    "teams": ("team", "slug"),
    "tenants": ("tenant", "slug"),
    "tokens": ("agent token", "pk"),
    "versions": ("draft", "pk"),
    "webhooks": ("webhook", "pk"),
}
# Where it is another one.
PATHS = {
    "post eval-runs/{pk}/outputs/": "replay",
    "post promotions/{pk}/start/": "ready promotion",
    "post tokens/{pk}/rotate/#of-a-person": "person's token",
    "delete prices/{pk}/": "later price",
}
# Of which object a body or query speaks.
NAMED = {
    "post subscriptions/": "pack",
    "post promotions/": "policy draft",
    "post eval-sets/": "pack",
    "post eval-runs/": "draft",
    "post tokens/": "agent",
    "post members/#with-a-reference": "team",
    "get resolve": "pack",
    "post control/": "agent",
    "post actions/": "pack",
    "post suggestions/": "pack",
    "get access/": "agent",
    "get access/#of-oneself": "pack",
    "get access/people/": "pack",
    "get snapshot/#of-a-root": "run",
}
QUERIES = {
    "get resolve": "?pack=$pack.slug",
    "get access/": "?user=$person.email&object=agent:$agent",
    "get access/#of-oneself": "?object=pack:$pack",
    "get access/people/": "?object=pack:$pack",
    "get snapshot/#of-a-root": "?root=$run.root_task_id",
}
# Rooms whose objects belong to no team: there the place `team` is the place `own`.
WITHOUT_TEAMS = ("organisations", "tenants", "subscriptions")


@dataclass(frozen=True)
class Row:
    method: str
    path: str
    use: str
    act: str
    where: str
    seen: str
    done: dict[str, int]
    exceptions: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.method} {self.path}{self.use}"

    @property
    def kind(self) -> str:
        """Of the object that the path or body names."""
        usual = OBJECTS.get(self.path.split("/")[0], ("", ""))[0]
        return PATHS.get(self.key) or NAMED.get(self.key) or (usual if "{" in self.path else "")

    @property
    def places(self) -> list[str]:
        """Those in which the cell says something of its own."""
        if self.seen in ("list", "figures", "none"):
            return ["own", "team"] if self.where == "home-team" else ["own"]
        return [place for place in PLACES if place != "team" or not self.path.startswith(WITHOUT_TEAMS)]

    def status(self, who: str, place: str) -> int:
        """What this person gets, of an object in this place."""
        found = self.exceptions.get((who, place))
        if found is not None:
            return found
        hidden = self.done.get("hidden", 404)
        at_home = self.where in ("home", "home-team", "anywhere")
        named = not at_home or (self.where == "home-team" and place == "team")
        if named and not self.is_seen(who, place):
            return hidden
        if not self.is_allowed(who, place):
            return 403
        if at_home and self.seen == "library" and not self.is_there(who, place):
            return hidden
        return self.done.get(place, self.done["done"])

    def is_seen(self, who: str, place: str) -> bool:
        if self.seen == "governed" and governs(who):
            return True
        return sees(who, place, kind=self.kind, library=self.seen == "library")

    def is_there(self, who: str, place: str) -> bool:
        """As `is_seen`, for who need not view what they name: an agent resolves packs that it cannot list."""
        return PLACES[place][0] in (PEOPLE[who].tenant, "platform")

    def is_allowed(self, who: str, place: str) -> bool:
        tenant, in_team = PLACES[place]
        if self.act == "-" or self.seen in ("list", "figures") or (self.act == "view" and self.where != "home"):
            # Whoever sees an object may look at it.
            return True
        if self.act == "govern" or (self.seen == "governed" and governs(who)):
            return governs(who)
        if self.act.startswith("lend:"):
            return lends(who, self.act.removeprefix("lend:"), team=in_team)
        if self.where == "anywhere":
            return holds_anywhere(who, self.act)
        if self.where in ("home", "home-team", "mine"):
            return holds(who, self.act, PEOPLE[who].tenant, team=in_team and self.where == "home-team")
        return holds(who, self.act, tenant, team=in_team and self.where == "object") or granted(who, self.act, place, self.kind)


def governs(who: str) -> bool:
    return holds(who, "manage_tenant", "platform")


def _row(line: str) -> Row:
    method, path, act, where, seen, done, *exceptions = line.split()
    first, *others = done.split(";")
    path, sign, use = path.partition("#")
    return Row(
        method,
        path,
        sign + use,
        act,
        where,
        seen,
        {"done": int(first), **{place: int(status) for place, status in (each.split("=") for each in others)}},
        {(who, place): int(status) for who, place, status in (each.replace("@", "=").split("=") for each in exceptions)},
    )


ROWS = [_row(line) for line in TABLE.strip().splitlines() if line]
ROW_OF = {row.key: row for row in ROWS}
