"""Archived days, how long things are kept, and erasures."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils import timezone

from apps.core.access import Action
from apps.core.admin import Act, ActForm, Call, Done, Facts, GovernedAdmin, NeededReasonForm, ReasonForm, Relatives, cells, columns, filters
from apps.core.admin.columns import Column
from apps.telemetry.domain.archives import DEFAULT_HOT_DAYS, MAX_ARCHIVE_DAYS, MAX_HOT_DAYS
from apps.telemetry.models import Archive, ArchivePart, ArchiveState, Erasure, RetentionPolicy
from apps.telemetry.services.archives import CHECKABLE, request_verification
from apps.telemetry.services.erasing import request_erasure
from apps.telemetry.services.restoring import DEFAULT_DAYS, MAX_DAYS, request_restore
from apps.telemetry.services.retention import policy_of, request_archive, set_retention, shortens

NO_STORE = "This installation has no archive: its operator sets ARCHIVE_STORE (docs/retention.md). Nothing leaves the database meanwhile."
TONES = {
    ArchiveState.PENDING: "wait",
    ArchiveState.WRITTEN: "wait",
    ArchiveState.VERIFIED: "good",
    ArchiveState.DROPPED: "good",
    ArchiveState.RESTORING: "wait",
    ArchiveState.RESTORED: "good",
    ArchiveState.EXPIRED: "plain",
}
MANAGE = (Action.MANAGE_TENANT,)
DAY = forms.DateInput(attrs={"type": "date"})


def _state(archive: Archive) -> object:
    if archive.error:
        return cells.badge(f"{archive.get_state_display()}, failing", "bad")
    return cells.badge(archive.get_state_display(), TONES[ArchiveState(archive.state)])


def _progress(archive: Archive) -> object:
    parts = list(ArchivePart.objects.filter(archive=archive, generation=archive.generation).values_list("verified_at", "restored_at"))
    if archive.state == ArchiveState.RESTORING:
        return f"{sum(restored is not None for _, restored in parts)} of {len(parts)} files brought back"
    if archive.state in (ArchiveState.PENDING, ArchiveState.WRITTEN):
        return (
            f"{sum(verified is not None for verified, _ in parts)} of {len(parts)} files written and read again" if parts else "not begun"
        )
    return None


def _kept(policy: RetentionPolicy) -> str:
    return f"{policy.archive_days:,} days" if policy.archive_days else "for good"


def _erasure_state(erasure: Erasure) -> object:
    tone = {"waiting": "wait", "running": "wait", "done": "good"}[erasure.state]
    return cells.badge(f"{erasure.state}, failing" if erasure.error else erasure.state, "bad" if erasure.error else tone)


STATE = Column("State", _state, order="state")
SIZE = Column("Size", lambda row: filesizeformat(row.bytes), order="bytes")


class DayForm(ReasonForm):
    field_order = ("day", "reason")
    day = forms.DateField(widget=DAY, help_text="A day that is over, by UTC.")

    def prepare(self) -> None:
        self.initial["day"] = timezone.now().date() - timedelta(days=1)


class RestoreForm(ReasonForm):
    field_order = ("days", "confirm", "reason")
    days = forms.IntegerField(min_value=1, max_value=MAX_DAYS, initial=DEFAULT_DAYS, help_text="For so many days; then the rows go again.")
    confirm = forms.DateField(widget=DAY, label="The day, to confirm")

    def clean_confirm(self) -> Any:
        if self.cleaned_data["confirm"] != self.obj.day:
            raise forms.ValidationError("This is not the day of the archive.")
        return self.cleaned_data["confirm"]


class RetentionForm(ReasonForm):
    field_order = ("hot_days", "archive_days", "confirm", "reason")
    hot_days = forms.IntegerField(min_value=1, max_value=MAX_HOT_DAYS, label="Days in the database")
    archive_days = forms.IntegerField(
        min_value=1, max_value=MAX_ARCHIVE_DAYS, required=False, label="Days in the archive", help_text="Empty: for good."
    )
    confirm = forms.IntegerField(
        required=False, label="The same again, to confirm", help_text="Only for fewer days in the archive: older ones are removed for good."
    )

    def prepare(self) -> None:
        policy = policy_of(self.ctx)
        self.initial = {**self.initial, "hot_days": policy.hot_days, "archive_days": policy.archive_days}

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        days = data.get("archive_days")
        if shortens(policy_of(self.ctx), days) and data.get("confirm") != days:
            self.add_error("confirm", "Older archives are removed for good. Repeat the days in the archive to confirm.")
        return data


class ErasureForm(NeededReasonForm):
    field_order = ("user_ref", "confirm", "reason")
    user_ref = forms.CharField(max_length=200, label="User", help_text="As the harness names them.")
    confirm = forms.CharField(max_length=200, label="The same again, to confirm")

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if data.get("user_ref") != data.get("confirm"):
            self.add_error("confirm", "The two are not the same.")
        return data


def _retention(call: Call) -> Done:
    changes = {name: call.data[name] for name in ("hot_days", "archive_days")}
    return Done("It is set; the next hourly run goes by it.", set_retention(ctx=call.ctx, changes=changes, reason=call.data["reason"]))


def _erase(call: Call) -> Done:
    made = request_erasure(ctx=call.ctx, user_ref=call.data["user_ref"], reason=call.data["reason"])
    return Done("It is under way; this page says how far it is.", made)


def _restore(call: Call) -> Done:
    made = request_restore(ctx=call.ctx, archive_id=call.obj.pk, days=call.data["days"], reason=call.data["reason"])
    return Done("It is on its way back. Load this page again to see how far it is.", made)


@admin.register(Archive)
class ArchiveAdmin(GovernedAdmin):
    list_display = (
        Column("Day", str, order="day"),
        STATE,
        columns.number("rows"),
        SIZE,
        columns.moment("verified_at", "Verified"),
        columns.moment("dropped_at", "Left the database"),
    )
    list_filter = (filters.values("state", "state", list(ArchiveState.choices)), filters.when("first_at"))
    ordering = ("-day",)
    when_empty = "A day is archived once its hot window has passed, within the hour. “Archive a day” does it before."
    facts = (
        Facts(
            "Archive",
            (
                STATE,
                Column("Progress", _progress),
                columns.text("error", "Last trouble"),
                columns.number("rows"),
                SIZE,
                columns.moment("first_at", "First"),
                columns.moment("last_at", "Last"),
                columns.number("generation"),
                columns.moment("verified_at", "Verified"),
                columns.moment("checked_at", "Read in full last"),
                columns.moment("dropped_at", "Left the database"),
                columns.moment("restored_until", "Back until"),
            ),
            long=(columns.code("manifest", order=False), columns.code("manifest_sha256", "SHA-256 of the manifest", order=False)),
        ),
    )
    relatives = (
        Relatives(
            "Files",
            lambda ctx, archive: ArchivePart.objects.restrict(ctx).filter(archive=archive, generation=archive.generation),
            (columns.text("kind"), columns.number("rows"), SIZE, columns.code("path"), columns.moment("verified_at", "Verified")),
            empty="None is planned yet.",
            limit=50,
        ),
    )
    acts = (
        Act(
            name="verify",
            label="Verify",
            icon="verified",
            tone="primary",
            rights=(Action.AUDIT,),
            form=ActForm,
            run=lambda call: Done("Its files are being read.", request_verification(ctx=call.ctx, archive_id=call.obj.pk)),
            when=lambda ctx, archive: archive.state in CHECKABLE,
            explain=lambda request, archive: ["Every file is read again in full, and held against the manifest."],
        ),
        Act(
            name="restore",
            label="Restore",
            icon="settings_backup_restore",
            rights=MANAGE,
            form=RestoreForm,
            run=_restore,
            when=lambda ctx, archive: archive.state == ArchiveState.DROPPED,
            explain=lambda request, archive: [
                f"{archive.rows:,} rows come back into the database, to be read. They are not scored again and not archived again.",
                "The archive stays.",
            ],
        ),
    )
    list_acts = (
        Act(
            name="archive",
            label="Archive a day",
            icon="archive",
            tone="primary",
            rights=MANAGE,
            form=DayForm,
            run=lambda call: Done("It is on its way.", request_archive(ctx=call.ctx, day=call.data["day"], reason=call.data["reason"])),
            explain=lambda request, obj: ["Its rows stay in the database until their hot window has passed."],
        ),
    )

    def list_intro(self, request: HttpRequest) -> Iterable[object]:
        return () if settings.ARCHIVE_STORE else (NO_STORE,)

    def intro(self, request: HttpRequest, obj: Archive) -> Iterable[object]:
        return (f"The last attempt failed and is repeated: {obj.error}",) if obj.error else ()


@admin.register(RetentionPolicy)
class RetentionPolicyAdmin(GovernedAdmin):
    list_display = (
        Column("In the database", str, order="hot_days"),
        Column("In the archive", _kept),
        columns.moment("updated_at", "Since"),
    )
    when_empty = f"Nothing is set: rows stay in the database for {DEFAULT_HOT_DAYS} days, archives for good."
    facts = (
        Facts(
            "Retention policy",
            (
                columns.number("hot_days", "Days in the database"),
                Column("In the archive", _kept),
                columns.moment("updated_at", "Since"),
            ),
        ),
    )
    list_acts = (
        Act(
            name="set",
            label="Set how long",
            icon="auto_delete",
            tone="primary",
            rights=MANAGE,
            form=RetentionForm,
            run=_retention,
            explain=lambda request, obj: [
                "Fewer days in the database: older rows leave it with the next hourly run, once they are archived and verified.",
                "Fewer days in the archive: older archives are removed then. There is no way back.",
            ],
        ),
    )


@admin.register(Erasure)
class ErasureAdmin(GovernedAdmin):
    exclude = ("subject", "salt", "hash", "runs", "read")
    list_display = (
        columns.moment("created_at", "Asked"),
        Column("State", _erasure_state, order="state"),
        columns.number("hot_rows", "Rows removed"),
        columns.number("archived_rows", "From archives"),
        columns.moment("done_at", "Done"),
    )
    list_filter = (filters.values("state", "state", list(Erasure.State.choices)), filters.when("created_at"))
    ordering = ("-id",)
    when_empty = "An erasure removes all telemetry of one user, from the database and from archives."
    facts = (
        Facts(
            "Erasure",
            (
                Column("State", _erasure_state),
                Column("Now", lambda erasure: None if erasure.state == Erasure.State.DONE else erasure.get_phase_display()),
                Column("Archives done up to", lambda erasure: f"{erasure.upto:%Y-%m-%d}" if erasure.upto else None),
                columns.number("hot_rows", "Rows removed from the database"),
                columns.number("archived_rows", "Rows removed from archives"),
                columns.text("error", "Last trouble"),
                columns.moment("created_at", "Asked"),
                columns.moment("done_at", "Done"),
            ),
        ),
    )
    list_acts = (
        Act(
            name="erase",
            label="Erase a user",
            icon="person_remove",
            tone="danger",
            rights=MANAGE,
            form=ErasureForm,
            run=_erase,
            explain=lambda request, obj: [
                "All runs that name this user, their events and scores, of before now, are removed: from the database, and from every archive.",
                "Archives are written anew without them. There is no way back.",
                "The log keeps that it was done and why; whom it was about only as a salted hash.",
            ],
        ),
    )

    def intro(self, request: HttpRequest, obj: Erasure) -> Iterable[object]:
        return (f"The last attempt failed and is repeated: {obj.error}",) if obj.error else ()
