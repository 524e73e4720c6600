"""Figures by minute, hour and day, counts of values, the health of models, and the queue of what is to be added up."""

import apps.core.ids
import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

from apps.core.sql import tenant_policy


# How often a value occurs in an hour, over rows that name a user (to a limited reader they are another's) and those that do not.
FACETS = """
CREATE TABLE telemetry_facetcount (
    tenant_id uuid NOT NULL,
    kind "char" NOT NULL CHECK (kind IN ('r', 'e')),
    hour timestamptz NOT NULL,
    dimension text NOT NULL,
    value text NOT NULL,
    team_id uuid,
    of_user boolean NOT NULL,
    count bigint NOT NULL,
    CONSTRAINT telemetry_facetcount_once UNIQUE NULLS NOT DISTINCT (tenant_id, kind, hour, dimension, value, team_id, of_user)
);
"""

# Two sketches as pairs of bucket and count.
ADD_SKETCHES = """
CREATE FUNCTION telemetry_add_sketches(one bigint[], other bigint[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(array_agg(ARRAY[bucket, n] ORDER BY bucket), '{}') FROM (
        SELECT s[i][1] AS bucket, sum(s[i][2])::bigint AS n
        FROM (VALUES (one), (other)) v (s), LATERAL generate_subscripts(s, 1) i GROUP BY 1
    ) added
$$;
"""

# What waits in each tenant, and since when; ids, times and numbers only.
WAITING = """
CREATE FUNCTION telemetry_unrolled() RETURNS TABLE (tenant_id uuid, since timestamptz, rows bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT b.tenant_id, min(b.created_at), sum(cardinality(b.row_ids) + cardinality(b.open_ids))::bigint
        FROM public.telemetry_unrolledbatch b GROUP BY b.tenant_id;
END $$;
REVOKE ALL ON FUNCTION telemetry_unrolled() FROM PUBLIC;
"""

MODELS = """
CREATE FUNCTION telemetry_model_tenants() RETURNS TABLE (tenant_id uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT DISTINCT h.tenant_id FROM public.telemetry_modelhealth h;
END $$;
REVOKE ALL ON FUNCTION telemetry_model_tenants() FROM PUBLIC;
"""

# What is younger than the hot window stays, whatever is asked for. Returns how many rows went.
FORGET = """
CREATE FUNCTION telemetry_forget_rollups(minutes timestamptz, facets timestamptz, everything timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    gone bigint;
    more bigint;
    -- The longest hot window, its grace, and a day.
    hot timestamptz := now() - interval '33 days';
BEGIN
    DELETE FROM public.telemetry_rollup r WHERE r.start < least(everything, hot) OR r.step = 60 AND r.start < least(minutes, hot);
    GET DIAGNOSTICS gone = ROW_COUNT;
    DELETE FROM public.telemetry_facetcount f WHERE f.hour < least(facets, hot);
    GET DIAGNOSTICS more = ROW_COUNT;
    -- No run comes any more that could bring a fifth user.
    UPDATE public.telemetry_rollup r SET marks = '{}' WHERE r.step = 3600 AND r.start < hot AND r.marks <> '{}';
    RETURN gone + more;
END $$;
REVOKE ALL ON FUNCTION telemetry_forget_rollups(timestamptz, timestamptz, timestamptz) FROM PUBLIC;
"""

# Keys are uncompressed: they hold nothing that repeats.
PLAIN = "ALTER TABLE telemetry_unrolledbatch ALTER COLUMN row_ids SET STORAGE EXTERNAL, ALTER COLUMN open_ids SET STORAGE EXTERNAL"
# Runs that were there before are neither counted nor listed by the queue: what is in the hot window is queued once.
BACKLOG = """
INSERT INTO telemetry_unrolledbatch (id, tenant_id, kind, day, row_ids, open_ids, minutes, created_at)
SELECT gen_random_uuid(), tenant_id, kind, day, coalesce(array_agg(id) FILTER (WHERE final), '{}'),
    coalesce(array_agg(id) FILTER (WHERE NOT final), '{}'), array_agg(DISTINCT minute), now()
FROM (
    SELECT *, row_number() OVER (PARTITION BY kind, tenant_id, day ORDER BY id) / 2000 AS piece FROM (
        SELECT 'r' AS kind, tenant_id, day, id, final, floor(extract(epoch FROM created_at) / 60)::bigint AS minute FROM telemetry_run
        UNION ALL
        SELECT 'e', tenant_id, day, id, true, floor(extract(epoch FROM created_at) / 60)::bigint FROM telemetry_event
        UNION ALL
        SELECT 's', tenant_id, day, id, true, 0 FROM telemetry_runscore
    ) stored
) pieces GROUP BY kind, tenant_id, day, piece
"""


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0010_names"),
        ("telemetry", "0006_redaction"),
    ]

    operations = [
        migrations.CreateModel(
            name="ModelHealth",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("provider", models.CharField(max_length=200)),
                ("model_id", models.CharField(max_length=200)),
                ("window", models.CharField(choices=[("1h", "1 hour"), ("24h", "24 hours"), ("7d", "7 days")], max_length=3)),
                ("total_calls", models.BigIntegerField(default=0)),
                ("success_calls", models.BigIntegerField(default=0)),
                ("failed_calls", models.BigIntegerField(default=0)),
                ("avg_latency_ms", models.BigIntegerField(null=True)),
                ("avg_cost_micros", models.BigIntegerField(help_text="Micro-dollars.", null=True)),
                ("quality_score", models.PositiveIntegerField(null=True)),
                ("last_error", models.CharField(max_length=200, null=True)),
                ("last_error_at", models.DateTimeField(null=True)),
                ("last_used_at", models.DateTimeField(null=True)),
                ("updated_at", models.DateTimeField()),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
            ],
            options={
                "verbose_name": "model health",
                "verbose_name_plural": "model health",
                "ordering": ["provider", "model_id", "window"],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "provider", "model_id", "window"), name="telemetry_modelhealth_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="Rollup",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("pack", models.CharField(max_length=200, null=True)),
                ("pack_version", models.PositiveIntegerField(null=True)),
                ("arm", models.CharField(max_length=200, null=True)),
                ("provider", models.CharField(max_length=200, null=True)),
                ("model_id", models.CharField(max_length=200, null=True)),
                ("of_user", models.BooleanField()),
                ("step", models.PositiveIntegerField(help_text="Seconds: 60, 3600 or 86400.")),
                ("start", models.DateTimeField()),
                ("runs", models.BigIntegerField()),
                ("successes", models.BigIntegerField()),
                ("failures", models.BigIntegerField()),
                ("tokens_in", models.DecimalField(decimal_places=0, max_digits=38)),
                ("tokens_out", models.DecimalField(decimal_places=0, max_digits=38)),
                ("cost_micros", models.DecimalField(decimal_places=0, help_text="Micro-dollars.", max_digits=38)),
                ("cost_count", models.BigIntegerField()),
                ("latency_sum", models.DecimalField(decimal_places=0, help_text="Milliseconds.", max_digits=38)),
                ("latency_count", models.BigIntegerField()),
                (
                    "latencies",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None),
                        default=list,
                        size=None,
                    ),
                ),
                ("score_sum", models.DecimalField(decimal_places=0, help_text="Hundredths of a point.", max_digits=38)),
                ("score_count", models.BigIntegerField()),
                ("users", models.PositiveSmallIntegerField(default=0)),
                ("marks", django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), default=list, size=None)),
                (
                    "agent",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="identity.agent",
                    ),
                ),
                (
                    "team",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="identity.team",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="identity.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ["start"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=(
                            "tenant",
                            "step",
                            "start",
                            "agent",
                            "team",
                            "pack",
                            "pack_version",
                            "arm",
                            "provider",
                            "model_id",
                            "of_user",
                        ),
                        name="telemetry_rollup_once",
                        nulls_distinct=False,
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="UnrolledBatch",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("kind", models.CharField(choices=[("r", "Runs"), ("e", "Events"), ("s", "Scores")], max_length=1)),
                ("day", models.DateField(help_text="Partition of the rows.")),
                ("row_ids", django.contrib.postgres.fields.ArrayField(base_field=models.UUIDField(), size=None)),
                ("open_ids", django.contrib.postgres.fields.ArrayField(base_field=models.UUIDField(), default=list, size=None)),
                ("minutes", django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), default=list, size=None)),
                ("created_at", models.DateTimeField()),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
            ],
            options={
                "ordering": ["id"],
                "indexes": [models.Index(fields=["tenant", "id"], name="telemetry_unrolled_first")],
            },
        ),
        *(
            migrations.RunSQL(statement, migrations.RunSQL.noop)
            for statement in (
                FACETS,
                tenant_policy("telemetry_rollup", "telemetry_facetcount", "telemetry_modelhealth", "telemetry_unrolledbatch"),
                ADD_SKETCHES,
                WAITING,
                MODELS,
                FORGET,
                PLAIN,
                BACKLOG,
            )
        ),
    ]
