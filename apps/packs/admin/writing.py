"""Writing versions: the form on a pack, on a layer and on a draft."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.core.access import Action
from apps.core.admin import Act, ActForm, Call, Done
from apps.core.context import ActionContext
from apps.core.errors import Problem
from apps.identity.models import Agent, Team, Tenant
from apps.identity.permissions import anywhere
from apps.identity.selectors import platform_id
from apps.packs.admin import editing
from apps.packs.models import Layer, Pack, PackKind, PackVersion, VersionStatus
from apps.packs.services.versions import create_version

SKELETON = """\
sections:
  role:
    text: |
      You answer questions of …
    order: 10
    file: AGENTS
"""
POLICY_SKELETON = """\
constraints:
  - rule: deny_tool
    value: shell.*
    reason: …
"""


class Suggested(forms.TextInput):
    """A text with suggestions that the browser offers."""

    offered: list[str] = []

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        drawn = super().render(name, value, {**(attrs or {}), "list": f"{name}-offered"}, renderer)
        options = format_html_join("", '<option value="{}"></option>', ((each,) for each in self.offered))
        return format_html('{}<datalist id="{}">{}</datalist>', drawn, f"{name}-offered", options)


class WriteForm(ActForm):
    content = forms.CharField(
        strip=False,
        widget=forms.Textarea(attrs={"rows": 30, "class": "mc-source", "spellcheck": "false", "autocapitalize": "off", "wrap": "off"}),
        help_text="YAML or JSON. Integers only: percent x 100, micro-dollars, milliseconds.",
    )
    notes = forms.CharField(required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 3}), help_text="What changed, and why.")
    parent = forms.UUIDField(required=False, widget=forms.HiddenInput)

    def begin(self, content: Any, parent: PackVersion | None, kind: str) -> None:
        skeleton = POLICY_SKELETON if kind == PackKind.POLICY else SKELETON
        self.fields["content"].initial = editing.dump(content) or skeleton
        self.fields["parent"].initial = str(parent.pk) if parent else ""

    def refuse(self, error: Problem) -> None:
        """A stale parent is answered with the merged content on the new champion, ready to be looked at and sent again."""
        merge: Any = error.extra.get("three_way")
        if error.code != "stale_parent" or merge is None:
            super().refuse(error)
            return
        assert isinstance(self.data, QueryDict)
        data = self.data.copy()
        data["content"], data["parent"] = editing.dump(merge["merged"]), error.extra.get("champion") or ""
        self.data = data
        self.add_error(None, error.detail)
        self.add_error("content", "Below is your change merged onto the champion of now. Read it, then send it again.")
        for conflict in merge["conflicts"]:
            self.add_error(
                "content",
                f"{conflict['pointer']}: both of you changed this; the champion's stands here, yours was {conflict.get('mine')!r}.",
            )


class WriteForPackForm(WriteForm):
    scope = forms.CharField(
        max_length=300, widget=Suggested, help_text="Where it holds, such as tenant:acme, team:acme/support or agent:acme/helpdesk-1."
    )
    field_order = ("scope",)

    def prepare(self) -> None:
        pack: Pack = self.obj
        offered = scopes_offered(self.ctx, pack)
        widget = self.fields["scope"].widget
        assert isinstance(widget, Suggested)
        widget.offered, self.fields["scope"].initial = offered, offered[0] if offered else ""
        layer = Layer.objects.restrict(self.ctx).filter(pack=pack, scope=offered[0]).select_related("champion").first() if offered else None
        champion = layer.champion if layer else None
        self.begin(champion.content if champion else None, champion, pack.kind)
        # Another scope has another champion: the service takes the present one.
        self.fields["parent"].initial = ""


class WriteForLayerForm(WriteForm):
    def prepare(self) -> None:
        layer: Layer = self.obj
        self.begin(layer.champion.content if layer.champion else None, layer.champion, layer.pack.kind)


class EditForm(WriteForm):
    def prepare(self) -> None:
        draft: PackVersion = self.obj
        self.begin(draft.content, draft.parent, draft.layer.pack.kind)
        self.fields["notes"].initial = draft.notes


def scopes_offered(ctx: ActionContext, pack: Pack) -> list[str]:
    """The scopes at which the context's people may write this pack, the usual one first. Users are too many to be offered."""
    if ctx.tenant_id == platform_id():
        domain = [f"domain:{pack.domain}"] if pack.domain else []
        return [*domain, "global", "segment:enterprise", "segment:individual"]
    here = Tenant.objects.get(pk=ctx.tenant_id).slug
    teams = Team.objects.restrict(ctx).filter(tenant_id=ctx.tenant_id).values_list("slug", flat=True)[:200]
    agents = Agent.objects.restrict(ctx).filter(tenant_id=ctx.tenant_id).values_list("slug", flat=True)[:200]
    return [f"tenant:{here}", *(f"team:{here}/{slug}" for slug in teams), *(f"agent:{here}/{slug}" for slug in agents)]


def _write(call: Call, pack: str, scope: str, replaces: PackVersion | None = None) -> Done:
    made = create_version(
        ctx=call.ctx,
        pack_slug=pack,
        scope=scope,
        content=editing.load(call.data["content"]),
        notes=call.data["notes"],
        parent_id=call.data["parent"],
        replaces_id=replaces.pk if replaces else None,
    )
    return Done(f"Version {made.number} is written. It changes nothing until it is promoted.", made)


def _authors_somewhere(ctx: ActionContext, obj: Any) -> bool:
    return anywhere(ctx, Action.AUTHOR)


DRAFT = "A draft is written. Nothing that an agent resolves changes until it is promoted."
CHECKED = "It is checked against the schema and every ancestor's constraints; findings are shown at their place."

WRITE_FOR_PACK = Act(
    name="write",
    label="Write a version",
    icon="edit_note",
    tone="primary",
    allowed=_authors_somewhere,
    form=WriteForPackForm,
    wide=True,
    run=lambda call: _write(call, call.obj.slug, call.data["scope"].strip()),
    explain=lambda request, pack: [DRAFT, CHECKED, "To start from a layer's champion, press this button on the layer's own page."],
)
WRITE_FOR_LAYER = Act(
    name="write",
    label="Write a version",
    icon="edit_note",
    tone="primary",
    rights=(Action.AUTHOR,),
    form=WriteForLayerForm,
    wide=True,
    run=lambda call: _write(call, call.obj.pack.slug, call.obj.scope),
    explain=lambda request, layer: [
        f"A draft is written for {layer}, {f'starting from {layer.champion}, the champion' if layer.champion else 'the first at this scope'}.",
        "Nothing that an agent resolves changes until it is promoted.",
        CHECKED,
    ],
)
EDIT = Act(
    name="edit",
    label="Edit",
    icon="edit_note",
    rights=(Action.AUTHOR,),
    form=EditForm,
    wide=True,
    run=lambda call: _write(call, call.obj.layer.pack.slug, call.obj.layer.scope, replaces=call.obj),
    when=lambda ctx, version: version.status == VersionStatus.DRAFT,
    explain=lambda request, version: [
        f"Versions never change: this writes the next number, and version {version.number} is archived as superseded.",
        CHECKED,
    ],
)
