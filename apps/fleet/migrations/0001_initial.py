"""Harnesses and what they serve, commands and their deliveries, requests to use a tool, suggestions."""

import apps.core.ids
import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("identity", "0010_names"),
        ("packs", "0006_access"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Command",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[("tree", "tree"), ("tier", "tier"), ("agent", "agent")], max_length=10, verbose_name="target kind"
                    ),
                ),
                ("name", models.CharField(max_length=200, verbose_name="target name")),
                (
                    "action",
                    models.CharField(
                        choices=[("pause", "pause"), ("resume", "resume"), ("stop", "stop"), ("restart", "restart")], max_length=10
                    ),
                ),
                ("reason", models.TextField(blank=True)),
                ("actor_label", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                (
                    "agent",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.agent"
                    ),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
            ],
            options={
                "ordering": ["-created_at"],
            },
        ),
        migrations.CreateModel(
            name="Delivery",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("instance", models.CharField(blank=True, max_length=200)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "pending"),
                            ("delivered", "delivered"),
                            ("acknowledged", "acknowledged"),
                            ("expired", "expired"),
                            ("superseded", "superseded"),
                        ],
                        default="pending",
                        max_length=12,
                    ),
                ),
                ("handed_out", models.PositiveIntegerField(default=0)),
                ("created_at", models.DateTimeField()),
                ("delivered_at", models.DateTimeField(blank=True, null=True)),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                ("agent", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.agent")),
                ("command", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="deliveries", to="fleet.command")),
                (
                    "superseded_by",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="fleet.command"
                    ),
                ),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
            ],
            options={
                "verbose_name_plural": "deliveries",
                "ordering": ["created_at", "id"],
            },
        ),
        migrations.CreateModel(
            name="Harness",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("instance", models.CharField(blank=True, max_length=200)),
                ("status", models.CharField(blank=True, max_length=200)),
                ("ttl_s", models.PositiveIntegerField()),
                ("first_seen_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField()),
                ("stale", django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), default=list, size=None)),
                ("flags", django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), default=list, size=None)),
                ("agent", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.agent")),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
            ],
            options={
                "verbose_name_plural": "harnesses",
                "ordering": ["-last_seen_at"],
            },
        ),
        migrations.CreateModel(
            name="Serving",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("pack", models.CharField(max_length=100)),
                ("arm", models.CharField(max_length=20)),
                ("digest", models.CharField(max_length=71)),
                ("since", models.DateTimeField()),
                ("traced", models.BooleanField(default=True)),
                ("harness", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="serving", to="fleet.harness")),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
            ],
            options={
                "verbose_name": "served pack",
                "ordering": ["pack", "arm"],
            },
        ),
        migrations.CreateModel(
            name="Suggestion",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField()),
                ("agent", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.agent")),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
                (
                    "version",
                    models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name="suggestion", to="packs.packversion"),
                ),
            ],
            options={
                "ordering": ["-created_at"],
            },
        ),
        migrations.CreateModel(
            name="ActionRequest",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("pack", models.CharField(max_length=63)),
                ("tool", models.CharField(max_length=200)),
                ("arguments", models.JSONField(default=dict)),
                ("reason", models.TextField(blank=True)),
                ("run_id", models.CharField(blank=True, max_length=200)),
                ("risk", models.CharField(choices=[("low", "low"), ("medium", "medium"), ("high", "high")], max_length=6)),
                ("level", models.CharField(max_length=2, verbose_name="autonomy")),
                ("redactions", models.JSONField(default=list)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "pending"),
                            ("approved", "approved"),
                            ("denied", "denied"),
                            ("used", "used"),
                            ("expired", "expired"),
                        ],
                        default="pending",
                        max_length=10,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("comment", models.TextField(blank=True)),
                ("used_at", models.DateTimeField(blank=True, null=True)),
                ("agent", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.agent")),
                (
                    "decided_by",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
            ],
            options={
                "verbose_name": "action request",
                "ordering": ["-created_at"],
                "indexes": [
                    models.Index(fields=["tenant", "state", "-created_at"], name="fleet_request_by_state"),
                    models.Index(fields=["tenant", "agent", "-created_at"], name="fleet_request_by_agent"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["pending", "approved", "denied", "used", "expired"])),
                        name="fleet_actionrequest_state",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("expires_at__gt", models.F("created_at"))), name="fleet_actionrequest_expires_later"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state__in", ["approved", "denied", "used"]), _negated=True),
                            ("decided_at__isnull", False),
                            _connector="OR",
                        ),
                        name="fleet_actionrequest_answered",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "used"), ("used_at__isnull", False)),
                            models.Q(models.Q(("state", "used"), _negated=True), ("used_at__isnull", True)),
                            _connector="OR",
                        ),
                        name="fleet_actionrequest_used",
                    ),
                ],
            },
        ),
        migrations.AddIndex(
            model_name="command",
            index=models.Index(fields=["tenant", "kind", "name", "-created_at"], name="fleet_command_target"),
        ),
        migrations.AddConstraint(
            model_name="command",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="fleet_command_of_tenant"),
        ),
        migrations.AddConstraint(
            model_name="command",
            constraint=models.CheckConstraint(condition=models.Q(("kind__in", ["tree", "tier", "agent"])), name="fleet_command_kind"),
        ),
        migrations.AddConstraint(
            model_name="command",
            constraint=models.CheckConstraint(
                condition=models.Q(("action__in", ["pause", "resume", "stop", "restart"])), name="fleet_command_action"
            ),
        ),
        migrations.AddConstraint(
            model_name="command",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("agent__isnull", False), ("kind", "agent")), models.Q(("kind", "agent"), _negated=True), _connector="OR"
                ),
                name="fleet_command_names_agent",
            ),
        ),
        migrations.AddConstraint(
            model_name="command",
            constraint=models.CheckConstraint(
                condition=models.Q(("expires_at__gt", models.F("created_at"))), name="fleet_command_expires_later"
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("state__in", ["pending", "delivered"])),
                fields=["tenant", "agent", "command"],
                name="fleet_delivery_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.UniqueConstraint(fields=("command", "agent", "instance"), name="fleet_delivery_once"),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["pending", "delivered", "acknowledged", "expired", "superseded"])),
                name="fleet_delivery_state",
            ),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("closed_at__isnull", True), ("state__in", ["pending", "delivered"])),
                    ("closed_at__isnull", False),
                    _connector="OR",
                ),
                name="fleet_delivery_closed",
            ),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.CheckConstraint(
                condition=models.Q(("state", "superseded"), ("superseded_by__isnull", True), _connector="OR"),
                name="fleet_delivery_superseded",
            ),
        ),
        migrations.AddIndex(
            model_name="harness",
            index=models.Index(fields=["tenant", "-last_seen_at"], name="fleet_harness_seen"),
        ),
        migrations.AddConstraint(
            model_name="harness",
            constraint=models.UniqueConstraint(fields=("tenant", "agent", "instance"), name="fleet_harness_once"),
        ),
        migrations.AddConstraint(
            model_name="harness",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="fleet_harness_of_tenant"),
        ),
        migrations.AddIndex(
            model_name="serving",
            index=models.Index(fields=["tenant", "pack"], name="fleet_serving_pack"),
        ),
        migrations.AddConstraint(
            model_name="serving",
            constraint=models.UniqueConstraint(fields=("harness", "pack", "arm"), name="fleet_serving_once"),
        ),
        migrations.AddIndex(
            model_name="suggestion",
            index=models.Index(fields=["tenant", "agent", "-created_at"], name="fleet_suggestion_agent"),
        ),
    ]
