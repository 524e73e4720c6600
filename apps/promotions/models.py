"""Promotions on their way, the approvals they collect, and the decisions that remain."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from apps.core.history import History
from apps.core.models import TenantOwned
from apps.packs.models import grant_paths


class State(models.TextChoices):
    COLLECTING = "collecting"
    BLOCKED = "blocked"
    AWAITING_APPROVAL = "awaiting_approval"
    READY = "ready"
    RUNNING = "running"
    HELD = "held"
    PROMOTED = "promoted"
    REJECTED = "rejected"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled_back"
    EXPIRED = "expired"


OPEN_STATES = [State.COLLECTING, State.BLOCKED, State.AWAITING_APPROVAL, State.READY, State.RUNNING, State.HELD]


class Aim(models.TextChoices):
    IMPROVE = "improve"
    NON_INFERIOR = "non_inferior"
    POLICY = "policy"


class Invalid(models.TextChoices):
    WAIT = "wait"
    SUSPEND = "suspend"


class DecisionKind(models.TextChoices):
    PROMOTE = "promote"
    REJECT = "reject"
    ROLLBACK = "rollback"
    FORCE = "force"
    RETIRE = "retire"
    SUSPEND = "suspend"


class Promotion(TenantOwned):
    """A challenger's way to champion of its layer; with `challenger` null and `retire`, the way to an empty layer.

    Not shared, nor are its approvals and decisions: those of `platform` name the tenants whom they reach, and people.
    """

    layer = models.ForeignKey("packs.Layer", on_delete=models.PROTECT, related_name="promotions")
    champion = models.ForeignKey("packs.PackVersion", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    challenger = models.ForeignKey("packs.PackVersion", on_delete=models.PROTECT, null=True, blank=True, related_name="promotions")
    retire = models.BooleanField(default=False)
    aim = models.CharField(max_length=15, choices=Aim.choices, default=Aim.IMPROVE)
    invalid = models.CharField("invalid descendants", max_length=10, choices=Invalid.choices, default=Invalid.WAIT)
    plan = models.JSONField(default=list)
    reason = models.TextField(blank=True)
    state = models.CharField(max_length=20, choices=State.choices, default=State.COLLECTING)
    forced = models.BooleanField(default=False)
    risk_level = models.CharField(max_length=10, blank=True)
    risk_reasons = models.JSONField(default=list)
    thresholds = models.JSONField(default=dict)
    verdict = models.JSONField(default=dict)
    # What approvals are bound to; another value voids those given.
    binding = models.CharField(max_length=71, blank=True)
    blast = models.JSONField(default=dict)
    requested_by = models.ForeignKey("identity.User", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    evaluated_at = models.DateTimeField(null=True, blank=True)
    # Since when it waits for approval without a pause; null in every other state.
    awaiting_since = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    expired_because = models.CharField(max_length=300, blank=True)

    # Its way, not each judgement: those stand in the log, and the last one in the row.
    history = History(
        without=[
            *("plan", "reason", "risk_reasons", "thresholds", "verdict", "binding", "blast"),
            *("evaluated_at", "awaiting_since", "expired_because"),
        ]
    )

    TEAM_PATH = "layer__team_id"
    GRANT_PATHS = grant_paths("layer__")

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=State.values), name="promotions_promotion_state"),
            models.CheckConstraint(
                condition=Q(retire=True, challenger__isnull=True) | Q(retire=False, challenger__isnull=False),
                name="promotions_promotion_subject",
            ),
            models.UniqueConstraint(fields=["challenger"], condition=Q(state__in=OPEN_STATES), name="promotions_promotion_one_open"),
        ]
        indexes = [models.Index(fields=["tenant", "state", "-created_at"], name="promotions_by_state")]

    def __str__(self) -> str:
        return f"{self.challenger or 'retirement'} of {self.layer}"


class Awaited(Promotion):
    """Promotions as the inbox shows them: those that wait for the approval of who looks."""

    class Meta:
        proxy = True
        ordering = ["awaiting_since"]
        verbose_name = "approval waiting for me"
        verbose_name_plural = "approvals waiting for me"


class Approval(TenantOwned):
    """A person's yes or no, bound to what they saw. Append-only, except that it can be voided."""

    promotion = models.ForeignKey(Promotion, on_delete=models.PROTECT, related_name="approvals")
    user = models.ForeignKey("identity.User", on_delete=models.PROTECT, related_name="+")
    # Whose right was used, where it was a delegated one.
    on_behalf_of = models.ForeignKey("identity.User", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    roles = models.JSONField(default=list)
    approved = models.BooleanField()
    comment = models.TextField(blank=True)
    binding = models.CharField(max_length=71)
    created_at = models.DateTimeField(auto_now_add=True)
    voided_at = models.DateTimeField(null=True, blank=True)
    voided_reason = models.CharField(max_length=200, blank=True)

    TEAM_PATH = "promotion__layer__team_id"
    GRANT_PATHS = grant_paths("promotion__layer__")

    class Meta:
        ordering = ["created_at"]
        constraints = [models.CheckConstraint(condition=~Q(user=models.F("on_behalf_of")), name="promotions_approval_two_people")]

    def __str__(self) -> str:
        return f"{'approved' if self.approved else 'rejected'} by {self.user}"


class ApprovalReminder(TenantOwned):
    """That people were reminded of a demand, so that nobody is again. Append-only."""

    promotion = models.ForeignKey(Promotion, on_delete=models.PROTECT, related_name="reminders")
    kind = models.CharField(max_length=10, choices=[("first", "first"), ("last", "last")])
    # Of which demand: the promotion's `awaiting_since` then.
    since = models.DateTimeField()
    recipients = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)

    TEAM_PATH = "promotion__layer__team_id"

    class Meta:
        ordering = ["created_at"]
        constraints = [
            models.UniqueConstraint(fields=["promotion", "since", "kind"], name="promotions_approvalreminder_once"),
            models.CheckConstraint(condition=Q(kind__in=["first", "last"]), name="promotions_approvalreminder_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} reminder of {self.promotion_id}"


class Decision(TenantOwned):
    """What was decided about a layer. Append-only; `id` is the decision_id."""

    layer = models.ForeignKey("packs.Layer", on_delete=models.PROTECT, related_name="decisions")
    promotion = models.ForeignKey(Promotion, on_delete=models.PROTECT, null=True, blank=True, related_name="decisions")
    scope_type = models.CharField(max_length=10)
    scope_id = models.CharField(max_length=300)
    champion_version = models.ForeignKey("packs.PackVersion", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    challenger_version = models.ForeignKey("packs.PackVersion", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    decision = models.CharField(max_length=10, choices=DecisionKind.choices)
    reason = models.TextField(blank=True)
    verdict = models.JSONField(default=dict)
    approvals = models.JSONField(default=list)
    decided_by = models.ForeignKey("identity.User", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    actor_label = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    TEAM_PATH = "layer__team_id"
    GRANT_PATHS = grant_paths("layer__")

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.CheckConstraint(condition=Q(decision__in=DecisionKind.values), name="promotions_decision_kind")]
        indexes = [models.Index(fields=["layer", "-created_at"], name="promotions_decision_layer")]

    def __str__(self) -> str:
        return f"{self.decision} on {self.layer}"
