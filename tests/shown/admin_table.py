"""The one table of the admin: who sees a model's pages, and which act needs which right. What is seen and done follows from it, from the
role table, and from "what is invisible does not exist". The words are those of `api_table`.

PAGES: model, right to look, seen, the kind of object in `world`.
ACTS: model, act (`*` before an act of the list), right, where, seen, kind, what the press of its button answers.

- right: as in `api_table`; `view+`: its rows stand under what can be granted on, so who is in a group has a list of them; `self`: the
  person whose page it is; `lend`: who has a role of their own to hand over.
- seen: as in `api_table`; `waits`: what this person's approval brings on.
- where: as in `api_table`; `offered-anywhere`: its page opens for whoever holds the right in any team, and the service decides by the object.
- answer: 302 is done, and one is led on; 200 is done, with a page of its own; `idle` is so already, and led on; 409 and 422 say why it cannot
  be in this state. Of these three the page is not opened either. `place=` where it differs.
- exceptions: `who@place=` an answer, `refused` or `hidden`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.shown.api_table import governs
from tests.shown.people import LENDABLE, PEOPLE, PLACES, granted, holds, holds_anywhere, lends, sees

PAGES = """
audit.Event                        audit   own       audit event
identity.Organisation              view    governed  organisation
identity.Tenant                    view    governed  tenant
identity.Team                      view+   own       team
identity.Membership                view    own       member
identity.User                      view    governed  person
identity.Agent                     view+   own       agent
identity.OidcProvider              view    own       provider
identity.GroupRole                 view    own       group role
identity.AgentToken                view+   own       agent token
identity.ApiToken                  view    own       person's token
django_celery_beat.PeriodicTask    govern  own       task
packs.Pack                         view+   library   pack
packs.Subscription                 view+   own       subscription
packs.Layer                        view+   library   layer
packs.PointerChange                view+   library   pointer
packs.PackVersion                  view+   library   draft
telemetry.Run                      view+   own       run
telemetry.Event                    view+   own       event
telemetry.RunScore                 view+   own       score
telemetry.Producer                 view+   own       producer
telemetry.Export                   view    own       export
telemetry.Price                    view    library   price
telemetry.RedactionPolicy          view    own       redaction policy
telemetry.RedactionPattern         view    own       redaction pattern
telemetry.ModelHealth              view    own       model health
telemetry.Archive                  view    own       archive
telemetry.RetentionPolicy          view    own       retention policy
telemetry.Erasure                  view    own       erasure
evals.EvalSet                      view+   library   eval set
evals.EvalCase                     view+   library   case
evals.EvalRun                      view+   library   answered run
evals.EvalItem                     view+   library   item
evals.EvalResult                   view+   library   result
promotions.Promotion               view+   own       promotion
promotions.Approval                view+   own       approval
promotions.Decision                view+   own       decision
identity.TenantGroup               view    own       group
identity.GroupMember               view    own       group member
identity.TeamGroupPermission       view    own       team grant
identity.AgentGroupPermission      view    own       agent grant
packs.PackGroupPermission          view    own       pack grant
evals.EvalSetGroupPermission       view    own       eval set grant
identity.Delegation                view    own       delegation
notices.Notice                     view    own       notice
notices.Delivery                   view    own       delivery
notices.Webhook                    view    own       webhook
promotions.Awaited                 approve waits     promotion
fleet.Harness                      view+   own       harness
fleet.Command                      view+   own       command
fleet.ActionRequest                view+   own       action request
"""

ACTS = """
telemetry.Archive      *archive           manage_tenant      home      none      -                302
telemetry.Archive      verify             audit              tenant    own       archive          302
telemetry.Archive      restore            manage_tenant      tenant    own       archive          302
telemetry.RetentionPolicy  *set           manage_tenant      home      none      -                302
telemetry.Erasure      *erase             manage_tenant      home      none      -                302
audit.Event            *verify            audit              home      none      -                200
audit.Event            *export            export             home      none      -                200
identity.Organisation  *create            govern             home      none      -                302
identity.Organisation  rename             govern             tenant    governed  organisation     302
identity.Tenant        *create            govern             home      none      -                302
identity.Tenant        change             manage_tenant      tenant    governed  tenant           302
identity.Tenant        suspend            govern             tenant    governed  tenant           302;shared=409
identity.Tenant        activate           govern             tenant    governed  tenant           409
identity.Tenant        delete             manage_tenant      tenant    governed  tenant           302;shared=409
identity.Team          *create            manage_members     home      none      -                302
identity.Team          grant              manage_members     object    own       team             302
identity.Team          rename             manage_members     object    own       team             302
identity.Membership    *add               manage_members     home      none      -                302
identity.Membership    change             manage_members     object    own       member           302
identity.Membership    remove             manage_members     object    own       member           302
identity.Membership    *add-service       manage_members     home      none      -                302
identity.User          switch-off         govern             tenant    governed  person           302
identity.User          switch-on          govern             tenant    governed  person           409
identity.User          hand-over          self               tenant    governed  person           302
identity.Delegation    *hand-over         lend               home      none      -                302
identity.Delegation    end                manage_members     object    own       delegation       302
identity.TenantGroup   *create            manage_members     home      none      -                302
identity.TenantGroup   add                manage_members     tenant    own       group            302
identity.TenantGroup   grant              manage_members     tenant    own       group            302
identity.TenantGroup   change             manage_members     tenant    own       group            302
identity.TenantGroup   delete             manage_members     tenant    own       group            302
identity.GroupMember   remove             manage_members     tenant    own       group member     302
identity.TeamGroupPermission   revoke     manage_members     object    own       team grant       302
identity.AgentGroupPermission  revoke     manage_members     object    own       agent grant      302
packs.PackGroupPermission      revoke     manage_members     tenant    own       pack grant       302
evals.EvalSetGroupPermission   revoke     manage_members     tenant    own       eval set grant   302
identity.Agent         grant              manage_members     object    own       agent            302
identity.Agent         *create            manage_tenant      home      none      -                302
identity.Agent         change             manage_tenant      object    own       agent            302
identity.Agent         suspend            operate            object    own       agent            302
identity.Agent         activate           operate            object    own       agent            409
identity.Agent         retire             manage_tenant      object    own       agent            302
identity.Agent         issue-token        manage_tokens      object    own       agent            200
identity.OidcProvider  switch-off         manage_tenant      tenant    own       provider         302
identity.OidcProvider  switch-on          manage_tenant      tenant    own       provider         idle
identity.GroupRole     *add               manage_members     home      none      -                302
identity.GroupRole     remove             manage_members     object    own       group role       302
identity.AgentToken    *issue             manage_tokens      home      none      -                200
identity.AgentToken    rotate             manage_tokens      object    own       agent token      200
identity.AgentToken    revoke             manage_tokens      object    own       agent token      302
identity.ApiToken      *issue             view               home      none      -                200
identity.ApiToken      rotate             manage_tokens      tenant    own       person's token   200
identity.ApiToken      revoke             manage_tokens      tenant    own       person's token   302
packs.Pack             *create            author             home      none      -                302
packs.Pack             write              author             offered-anywhere  library  pack      302
packs.Pack             change             author             tenant    library   pack             302
packs.Pack             subscribe          adopt              home      library   spare pack       422;shared=302  platform-admin@shared=422
packs.Pack             grant              manage_members     mine      library   pack             302
packs.Pack             eval-set           evaluate           home      library   pack             302
packs.Subscription     pin                adopt              tenant    own       subscription     302
packs.Subscription     unsubscribe        adopt              tenant    own       subscription     302
packs.Layer            write              author             object    library   layer            302
packs.Layer            roll-back          roll_back          object    library   policy layer     302
packs.Layer            retire             request_promotion  object    library   policy layer     302
packs.PackVersion      edit               author             object    library   draft            302
packs.PackVersion      evaluate           evaluate           object    library   draft            302
packs.PackVersion      request-promotion  request_promotion  object    library   policy draft     302
evals.EvalSet          *create            evaluate           home      none      -                302
evals.EvalSet          grant              manage_members     tenant    library   eval set         302
evals.EvalSet          add-cases          evaluate           tenant    library   eval set         302
promotions.Promotion approve approve object own promotion 302 admin@team=refused team-admin@team=refused delegate@team=refused
promotions.Promotion   start              promote            object    own       ready promotion  302
promotions.Promotion   evaluate           evaluate           object    own       promotion        302
promotions.Promotion   reject             approve            object    own       promotion        302
promotions.Promotion   force              force              object    own       promotion        409
promotions.Promotion   abort              promote            object    own       promotion        302
telemetry.Run          *export            export             home      none      -                302
telemetry.Event        *export            export             home      none      -                302
telemetry.Export       download           export             tenant    own       export           200
telemetry.Export       cancel             export             tenant    own       export           409
telemetry.Export       delete             export             tenant    own       export           302
telemetry.Price        *add               manage_tenant      home      none      -                302
telemetry.Price        follow             manage_tenant      home      library   price            302
telemetry.Price        withdraw           manage_tenant      tenant    library   later price      302
telemetry.RedactionPolicy   *set          manage_tenant      home      none      -                302
telemetry.RedactionPolicy   *try          view               home      none      -                200
telemetry.RedactionPattern  *add          manage_tenant      home      none      -                302
telemetry.RedactionPattern  *try          view               home      none      -                200
telemetry.RedactionPattern  change        manage_tenant      tenant    own       redaction pattern  302
telemetry.RedactionPattern  switch-off    manage_tenant      tenant    own       redaction pattern  302
telemetry.RedactionPattern  switch-on     manage_tenant      tenant    own       redaction pattern  idle
notices.Notice         *my-emails         view               home      none      -                302
notices.Delivery       send-again         manage_tenant      tenant    own       delivery         302
notices.Webhook        *add               manage_tenant      home      none      -                200
notices.Webhook        test               manage_tenant      tenant    own       webhook          302
notices.Webhook        change             manage_tenant      tenant    own       webhook          302
notices.Webhook        rotate             manage_tenant      tenant    own       webhook          200
notices.Webhook        switch-off         manage_tenant      tenant    own       webhook          302
notices.Webhook        switch-on          manage_tenant      tenant    own       webhook          idle
identity.Agent         fleet-pause        operate            object    own       agent            302
identity.Agent         fleet-resume       operate            object    own       agent            302
identity.Agent         fleet-restart      operate            object    own       agent            302
identity.Agent         fleet-stop         operate            object    own       agent            302
fleet.Command          *order             operate            home      none      -                302
fleet.ActionRequest    approve            approve            object    own       action request   302
fleet.ActionRequest    deny               approve            object    own       action request   302
"""

# Who signs in to the admin: a session is never narrowed, and programs have none.
VISITORS = [
    name
    for name, person in PEOPLE.items()
    if person.role != "agent" and not person.service and not person.scopes and person.dead in ("", "membership")
]


@dataclass(frozen=True)
class Page:
    model: str
    right: str
    seen: str
    kind: str

    def opens(self, who: str) -> bool:
        """Whether the model has a list for this person at all."""
        if self.right == "govern":
            return governs(who)
        if self.seen == "waits":
            return holds_anywhere(who, self.right)
        if self.right == "view+" and PEOPLE[who].granted:
            return True
        return holds(who, self.right.removesuffix("+"), PEOPLE[who].tenant)

    def shows(self, who: str, place: str, kind: str = "") -> bool:
        if self.seen == "waits":
            return ROW_OF["promotions.Promotion", "approve"].answer(who, place) == "302"
        if self.seen == "governed" and governs(who):
            return True
        return self.opens(who) and sees(who, place, kind=kind or self.kind, library=self.seen == "library")


@dataclass(frozen=True)
class ActRow:
    model: str
    act: str
    of_list: bool
    right: str
    where: str
    seen: str
    kind: str
    done: dict[str, str]
    exceptions: dict[tuple[str, str], str]

    @property
    def places(self) -> list[str]:
        return ["own"] if self.of_list else list(PLACES)

    def may(self, who: str, place: str) -> bool:
        tenant, in_team = PLACES[place]
        if self.right in ("self", "lend"):
            # The places' people are none of those who come.
            return self.right == "lend" and any(lends(who, role, team=True) for role in LENDABLE)
        if self.right == "govern" or (self.seen == "governed" and governs(who)):
            return governs(who)
        if self.where in ("home", "mine"):
            return holds(who, self.right, PEOPLE[who].tenant)
        return holds(who, self.right, tenant, team=in_team and self.where != "tenant") or granted(who, self.right, place, self.kind)

    def answer(self, who: str, place: str) -> str:
        """What pressing the button answers: a status, `refused`, or `hidden` where the object is not seen."""
        if (who, place) in self.exceptions:
            return self.exceptions[who, place]
        page = PAGE_OF[self.model]
        if not self.of_list and page.opens(who) and not page.shows(who, place, self.kind):
            return "hidden"
        if not page.opens(who) or not self.may(who, place):
            return "refused"
        return self.done.get(place, self.done["done"])

    def offered(self, who: str, place: str) -> bool:
        """Whether the button stands on the page, and the act's own page opens."""
        page = PAGE_OF[self.model]
        if not page.opens(who) or (not self.of_list and not page.shows(who, place, self.kind)):
            return False
        if self.where == "offered-anywhere":
            return holds_anywhere(who, self.right) or self.right in PEOPLE[who].granted
        return self.may(who, place) and self.answer(who, place) in ("200", "302")


def _page(line: str) -> Page:
    model, right, seen, *kind = line.split()
    return Page(model, right, seen, " ".join(kind))


def _act(line: str) -> ActRow:
    model, act, right, where, seen, *rest = line.split()
    at = next(index for index, word in enumerate(rest) if word[:3].isdigit() or word == "idle")
    first, *others = rest[at].split(";")
    exceptions = (each.replace("@", "=").split("=") for each in rest[at + 1 :])
    return ActRow(
        model,
        act.removeprefix("*"),
        act.startswith("*"),
        right,
        where,
        seen,
        " ".join(rest[:at]),
        {"done": first, **dict(each.split("=") for each in others)},
        {(who, place): answer for who, place, answer in exceptions},
    )


PAGE_ROWS = [_page(line) for line in PAGES.strip().splitlines()]
PAGE_OF = {row.model: row for row in PAGE_ROWS}
ACT_ROWS = [_act(line) for line in ACTS.strip().splitlines()]
ROW_OF = {(row.model, row.act): row for row in ACT_ROWS}
