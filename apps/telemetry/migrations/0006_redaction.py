"""What tenants have redacted besides secrets."""

import apps.core.history
import apps.core.ids
import django.db.models.deletion
import simple_history.models
from django.db import migrations, models

from apps.core.sql import keep_history, tenant_policy


class Migration(migrations.Migration):
    dependencies = [
        ("telemetry", "0005_pricing"),
    ]

    operations = [
        migrations.CreateModel(
            name="HistoricalRedactionPattern",
            fields=[
                ("actor_kind", models.CharField(default=apps.core.history.actor_kind, max_length=10)),
                ("actor_id", models.UUIDField(default=apps.core.history.actor_id, null=True)),
                ("actor_label", models.CharField(blank=True, default=apps.core.history.actor_label, max_length=200)),
                ("channel", models.CharField(blank=True, default=apps.core.history.channel, max_length=10)),
                ("request_id", models.CharField(blank=True, default=apps.core.history.request_id, max_length=64)),
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False)),
                ("name", models.CharField(max_length=40)),
                ("pattern", models.CharField(max_length=500)),
                ("enabled", models.BooleanField(default=True)),
                ("history_id", models.BigAutoField(editable=False, primary_key=True, serialize=False)),
                ("history_date", models.DateTimeField()),
                ("history_type", models.CharField(choices=[("+", "Created"), ("~", "Changed"), ("-", "Deleted")], max_length=1)),
                (
                    "tenant",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="identity.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "historical redaction pattern",
                "verbose_name_plural": "historical redaction patterns",
                "ordering": ("-history_id",),
                "get_latest_by": "history_id",
                "indexes": [models.Index(fields=["id", "-history_id"], name="telemetry_redactionpattern_his")],
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name="HistoricalRedactionPolicy",
            fields=[
                ("actor_kind", models.CharField(default=apps.core.history.actor_kind, max_length=10)),
                ("actor_id", models.UUIDField(default=apps.core.history.actor_id, null=True)),
                ("actor_label", models.CharField(blank=True, default=apps.core.history.actor_label, max_length=200)),
                ("channel", models.CharField(blank=True, default=apps.core.history.channel, max_length=10)),
                ("request_id", models.CharField(blank=True, default=apps.core.history.request_id, max_length=64)),
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False)),
                ("redact_email", models.BooleanField(default=False)),
                ("redact_phone", models.BooleanField(default=False)),
                (
                    "store_content",
                    models.CharField(
                        choices=[("redacted", "texts, redacted"), ("metrics_only", "metrics only, no texts")],
                        default="redacted",
                        max_length=20,
                    ),
                ),
                ("history_id", models.BigAutoField(editable=False, primary_key=True, serialize=False)),
                ("history_date", models.DateTimeField()),
                ("history_type", models.CharField(choices=[("+", "Created"), ("~", "Changed"), ("-", "Deleted")], max_length=1)),
                (
                    "tenant",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="identity.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "historical redaction policy",
                "verbose_name_plural": "historical redaction policies",
                "ordering": ("-history_id",),
                "get_latest_by": "history_id",
                "indexes": [models.Index(fields=["id", "-history_id"], name="telemetry_redactionpolicy_hist")],
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name="RedactionPattern",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=40)),
                ("pattern", models.CharField(max_length=500)),
                ("enabled", models.BooleanField(default=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
            ],
            options={
                "ordering": ["name"],
                "constraints": [models.UniqueConstraint(fields=("tenant", "name"), name="telemetry_redactionpattern_name")],
            },
        ),
        migrations.CreateModel(
            name="RedactionPolicy",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("redact_email", models.BooleanField(default=False)),
                ("redact_phone", models.BooleanField(default=False)),
                (
                    "store_content",
                    models.CharField(
                        choices=[("redacted", "texts, redacted"), ("metrics_only", "metrics only, no texts")],
                        default="redacted",
                        max_length=20,
                    ),
                ),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
            ],
            options={
                "verbose_name_plural": "redaction policies",
                "constraints": [
                    models.UniqueConstraint(fields=("tenant",), name="telemetry_redactionpolicy_one"),
                    models.CheckConstraint(
                        condition=models.Q(("store_content__in", ["redacted", "metrics_only"])), name="telemetry_redactionpolicy_content"
                    ),
                ],
            },
        ),
        migrations.RunSQL(tenant_policy("telemetry_redactionpolicy", "telemetry_redactionpattern"), migrations.RunSQL.noop),
        migrations.RunSQL(
            [keep_history(f"telemetry_{name}", f"telemetry_historical{name}") for name in ("redactionpolicy", "redactionpattern")],
            migrations.RunSQL.noop,
        ),
    ]
