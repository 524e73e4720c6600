"""Evaluation sets, runs of a version over a set, leases of cases, and results."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from apps.core.history import History
from apps.core.models import TenantOwned
from apps.evals.querysets import EvalResultManager, EvalRunManager
from apps.identity.domain.access import permissions
from apps.identity.groups import ObjectGrant, grant_indexes
from apps.identity.models import slug_validator
from apps.packs.models import grant_paths


class Split(models.TextChoices):
    TRAIN = "train"
    VALIDATION = "validation"


class Runner(models.TextChoices):
    HARNESS = "harness"
    REPLAY = "replay"


class EvalRunState(models.TextChoices):
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class EvalSet(TenantOwned):
    """Cases for one pack."""

    pack = models.ForeignKey("packs.Pack", on_delete=models.PROTECT, related_name="eval_sets")
    slug = models.CharField(max_length=63, validators=[slug_validator])
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    history = History()

    SHARED = True
    GRANT_PATHS = {"evalset": ("id",), "pack": ("pack_id",)}

    class Meta:
        ordering = ["slug"]
        permissions = permissions("evalset")
        constraints = [models.UniqueConstraint(fields=["tenant", "slug"], name="evals_set_slug")]

    def __str__(self) -> str:
        return self.slug


class EvalSetGroupPermission(ObjectGrant):
    """What is granted on an evaluation set: it holds for its cases, and for the runs over it with their results."""

    content_object = models.ForeignKey(EvalSet, on_delete=models.PROTECT, related_name="grants")

    KIND = "evalset"

    class Meta(ObjectGrant.Meta):
        verbose_name = "grant on an evaluation set"
        verbose_name_plural = "grants on evaluation sets"
        indexes = grant_indexes("evals_evalsetgrant")


class EvalCase(TenantOwned):
    eval_set = models.ForeignKey(EvalSet, on_delete=models.PROTECT, related_name="cases")
    number = models.PositiveIntegerField()
    # A text, or an object whose shape the harness knows.
    input = models.JSONField()
    # What checks with `from: expected` look for; never shown to the agent that answers.
    expected = models.JSONField(default=dict, blank=True)
    tags = models.JSONField(default=list, blank=True)
    task_type = models.CharField(max_length=100, blank=True)
    split = models.CharField(max_length=10, choices=Split.choices, default=Split.VALIDATION)
    created_at = models.DateTimeField(auto_now_add=True)

    SHARED = True
    GRANT_PATHS = {"evalset": ("eval_set_id",), "pack": ("eval_set__pack_id",)}

    class Meta:
        ordering = ["eval_set", "number"]
        verbose_name = "case"
        constraints = [
            models.UniqueConstraint(fields=["eval_set", "number"], name="evals_case_number"),
            models.CheckConstraint(condition=Q(split__in=Split.values), name="evals_case_split"),
        ]

    def __str__(self) -> str:
        return f"case {self.number}"


class EvalRun(TenantOwned):
    """A version (or, as the baseline, the chain without its layer) answers every validation case `repeats` times.

    `prefix_digest` is the effective digest of the chain cut after the layer: what a lease resolves, and what the evidence counts for.
    `paired_with` is the run of the champion (or of the baseline) on the same cases that this one is compared with.
    """

    layer = models.ForeignKey("packs.Layer", on_delete=models.PROTECT, related_name="eval_runs")
    # Null: the effective pack without this layer.
    version = models.ForeignKey("packs.PackVersion", on_delete=models.PROTECT, null=True, blank=True, related_name="eval_runs")
    eval_set = models.ForeignKey(EvalSet, on_delete=models.PROTECT, related_name="runs")
    paired_with = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="challenged_by")
    runner = models.CharField(max_length=10, choices=Runner.choices, default=Runner.HARNESS)
    repeats = models.PositiveSmallIntegerField(default=3)
    state = models.CharField(max_length=10, choices=EvalRunState.choices, default=EvalRunState.PENDING)
    prefix_digest = models.CharField(max_length=71)
    # Checks that both arms are scored with.
    rubric = models.JSONField(default=list)
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    created_by = models.ForeignKey("identity.User", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    # Why it failed, for a person.
    failure = models.CharField(max_length=300, blank=True)

    objects = EvalRunManager()  # type: ignore[misc]

    SHARED = True
    TEAM_PATH = "layer__team_id"
    GRANT_PATHS = {**grant_paths("layer__"), "evalset": ("eval_set_id",)}

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "evaluation run"
        indexes = [models.Index(fields=["layer", "version", "eval_set"], name="evals_run_of_version")]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=EvalRunState.values), name="evals_run_state"),
            models.CheckConstraint(condition=Q(runner__in=Runner.values), name="evals_run_runner"),
            models.CheckConstraint(condition=Q(repeats__range=(1, 9)), name="evals_run_repeats"),
        ]

    def __str__(self) -> str:
        return f"{self.version or 'baseline'} on {self.eval_set}"


class EvalItem(TenantOwned):
    """One case, one repeat: leased to an agent until a time, then answered."""

    eval_run = models.ForeignKey(EvalRun, on_delete=models.PROTECT, related_name="items")
    case = models.ForeignKey(EvalCase, on_delete=models.PROTECT, related_name="+")
    repeat = models.PositiveSmallIntegerField()
    lease_id = models.UUIDField(null=True, blank=True)
    leased_to = models.ForeignKey("identity.Agent", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    leased_until = models.DateTimeField(null=True, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)

    SHARED = True
    TEAM_PATH = "eval_run__layer__team_id"
    GRANT_PATHS = {**grant_paths("eval_run__layer__"), "evalset": ("eval_run__eval_set_id",)}

    class Meta:
        verbose_name = "item"
        constraints = [models.UniqueConstraint(fields=["eval_run", "case", "repeat"], name="evals_item_once")]
        indexes = [models.Index(fields=["eval_run", "leased_until"], condition=Q(answered_at__isnull=True), name="evals_item_open")]

    def __str__(self) -> str:
        return f"{self.case} repeat {self.repeat}"


class EvalResult(TenantOwned):
    """The scored answer to one item. Append-only."""

    eval_run = models.ForeignKey(EvalRun, on_delete=models.PROTECT, related_name="results")
    item = models.OneToOneField(EvalItem, on_delete=models.PROTECT, related_name="result")
    case = models.ForeignKey(EvalCase, on_delete=models.PROTECT, related_name="results")
    repeat = models.PositiveSmallIntegerField()
    run_id = models.CharField(max_length=200, blank=True)
    agent = models.ForeignKey("identity.Agent", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    output = models.TextField()
    latency_ms = models.BigIntegerField(null=True)
    cost_micros = models.BigIntegerField(null=True)
    tokens_in = models.BigIntegerField(null=True)
    tokens_out = models.BigIntegerField(null=True)
    # Hundredths of a point, 0..10000; null where nothing could be measured.
    deterministic_score = models.PositiveIntegerField(null=True, blank=True)
    llm_judge_score = models.PositiveIntegerField(null=True, blank=True)
    voice_score = models.PositiveIntegerField(null=True, blank=True)
    # Of this answer alone, null where nothing was measured; whether it is a regression depends on the other arm
    # (`EvalResultQuerySet.with_regressions`).
    safety_passed = models.BooleanField(null=True, blank=True)
    format_passed = models.BooleanField(null=True, blank=True)
    comments = models.TextField(blank=True)
    # Check id -> {passed, score, detail}.
    detail = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = EvalResultManager()  # type: ignore[misc]

    SHARED = True
    TEAM_PATH = "eval_run__layer__team_id"
    GRANT_PATHS = {**grant_paths("eval_run__layer__"), "evalset": ("eval_run__eval_set_id",)}

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "result"
        indexes = [models.Index(fields=["eval_run", "case"], name="evals_result_case")]
        constraints = [models.CheckConstraint(condition=Q(deterministic_score__lte=10000), name="evals_result_score")]

    def __str__(self) -> str:
        return "not measured" if self.deterministic_score is None else f"{self.deterministic_score / 100:.1f}"
