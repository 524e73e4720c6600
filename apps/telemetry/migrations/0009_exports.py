"""Exports: files of runs and events that somebody asked for."""

import apps.core.ids
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from apps.core.sql import refuse_update, tenant_policy

# Over all tenants: which exports there is something to do for, or whose files must stay.
ALIVE = """
CREATE FUNCTION telemetry_exports() RETURNS TABLE (
    tenant_id uuid, id uuid, state text, active boolean, beat_at timestamptz, created_at timestamptz, expires_at timestamptz
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT e.tenant_id, e.id, e.state::text, t.status = 'active', e.beat_at, e.created_at, e.expires_at
    FROM public.telemetry_export e JOIN public.identity_tenant t ON t.id = e.tenant_id
    WHERE e.state IN ('queued', 'running', 'done')
$$;
"""
FIXED = ["id", "tenant_id", "kind", "format", "filters", "requested_by_id", "created_at"]


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0010_names"),
        ("telemetry", "0008_list_indexes"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Export",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("kind", models.CharField(choices=[("runs", "Runs"), ("events", "Events")], max_length=10)),
                ("format", models.CharField(choices=[("jsonl", "JSON lines"), ("csv", "CSV")], max_length=10)),
                ("filters", models.JSONField(default=dict)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("done", "Done"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                            ("expired", "Expired"),
                        ],
                        default="queued",
                        max_length=10,
                    ),
                ),
                ("rows_done", models.BigIntegerField(default=0)),
                ("rows_estimated", models.BigIntegerField(default=0, help_text="By the planner; the real number may be another.")),
                ("size_bytes", models.BigIntegerField(default=0)),
                ("parts", models.JSONField(default=list)),
                ("position", models.CharField(blank=True, max_length=100)),
                ("attempt", models.PositiveIntegerField(default=0)),
                ("beat_at", models.DateTimeField(null=True)),
                ("error", models.CharField(blank=True, max_length=500)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("started_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("expires_at", models.DateTimeField(null=True)),
                (
                    "requested_by",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [
                    models.Index(
                        condition=models.Q(("state__in", ["queued", "running", "done"])), fields=["state"], name="telemetry_export_alive"
                    )
                ],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("kind__in", ["runs", "events"])), name="telemetry_export_kind"),
                    models.CheckConstraint(condition=models.Q(("format__in", ["jsonl", "csv"])), name="telemetry_export_format"),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["queued", "running", "done", "failed", "cancelled", "expired"])),
                        name="telemetry_export_state",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(models.Q(("state", "done"), _negated=True), ("expires_at__isnull", False), _connector="OR"),
                        name="telemetry_export_expires",
                    ),
                ],
            },
        ),
        migrations.RunSQL(refuse_update("telemetry_export", FIXED), migrations.RunSQL.noop),
        migrations.RunSQL(tenant_policy("telemetry_export"), migrations.RunSQL.noop),
        migrations.RunSQL(ALIVE, migrations.RunSQL.noop),
    ]
