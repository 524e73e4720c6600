"""What OTLP needs: the queue of traces to settle, and the few columns of an event that are known later than its span."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

import apps.core.ids
from apps.core.sql import tenant_policy, user_policy_through

# An event that waits for its run shows itself to no one who does not read every user's: whose it is, is not known yet.
OF_EVENT = "p.tenant_id = telemetry_event.tenant_id AND p.run_id = telemetry_event.run_id"
WAITS = "'unsettled' = ANY (telemetry_event.flags)"

SETTLED = """
-- What an event says stays; only its run and tier are added, where it had none.
CREATE FUNCTION telemetry_event_settled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.run_id IS DISTINCT FROM OLD.run_id AND OLD.run_id IS NOT NULL OR NEW.tier IS DISTINCT FROM OLD.tier AND OLD.tier IS NOT NULL
        OR NEW.flags <> OLD.flags AND NEW.flags <> array_remove(OLD.flags, 'unsettled') THEN
        RAISE EXCEPTION 'what an event says never changes' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER telemetry_event_settled BEFORE UPDATE ON telemetry_event FOR EACH ROW EXECUTE FUNCTION telemetry_event_settled();
"""
DUE = """
CREATE FUNCTION telemetry_traces_due(at timestamptz) RETURNS TABLE (tenant_id uuid, since timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT t.tenant_id, min(t.due_at) FROM public.telemetry_opentraces t WHERE t.due_at <= at GROUP BY t.tenant_id;
END $$;
REVOKE ALL ON FUNCTION telemetry_traces_due(timestamptz) FROM PUBLIC;
"""


class Migration(migrations.Migration):
    dependencies = [("identity", "0001_initial"), ("telemetry", "0009_exports")]

    operations = [
        migrations.CreateModel(
            name="OpenTraces",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("roots", django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=200), size=None)),
                ("due_at", models.DateTimeField()),
                ("last", models.BooleanField(default=False)),
                (
                    "tenant",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant"),
                ),
            ],
            options={
                "ordering": ["id"],
                "indexes": [models.Index(fields=["tenant", "due_at"], name="telemetry_opentraces_due")],
            },
        ),
        migrations.RunSQL(tenant_policy("telemetry_opentraces"), migrations.RunSQL.noop),
        migrations.RunSQL(SETTLED, migrations.RunSQL.noop),
        migrations.RunSQL(DUE, migrations.RunSQL.noop),
        migrations.RunSQL("DROP POLICY telemetry_event_user ON telemetry_event", migrations.RunSQL.noop),
        migrations.RunSQL(
            user_policy_through("telemetry_event", "telemetry_run", OF_EVENT, unless=f"(run_id IS NULL AND NOT {WAITS})"),
            migrations.RunSQL.noop,
        ),
    ]
