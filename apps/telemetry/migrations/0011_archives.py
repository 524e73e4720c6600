"""Archives: what was written where, how long things are kept, and the functions of the owner by which the database lets go of a day."""

import apps.core.history
import apps.core.ids
import django.core.validators
import django.db.models.deletion
import simple_history.models
from django.db import migrations, models


from apps.core.sql import keep_history, tenant_policy

# Ours to read before a tenant is known: which days of which tenants are in the database, and whether their hot window has passed.
DAYS = """
CREATE FUNCTION telemetry_days() RETURNS TABLE (tenant_id uuid, day date, passed boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    part record;
BEGIN
    FOR part IN
        SELECT c.relname AS name, to_date(right(c.relname, 8), 'YYYYMMDD') AS at FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent IN ('public.telemetry_run'::regclass, 'public.telemetry_event'::regclass)
        AND right(c.relname, 8) < to_char(today, 'YYYYMMDD')
    LOOP
        -- From tenant to tenant along the index, not row by row.
        RETURN QUERY EXECUTE format($q$
            WITH RECURSIVE found (tenant) AS (
                (SELECT p.tenant_id FROM public.%1$I p ORDER BY p.tenant_id LIMIT 1)
                UNION ALL
                SELECT (SELECT p.tenant_id FROM public.%1$I p WHERE p.tenant_id > f.tenant ORDER BY p.tenant_id LIMIT 1)
                FROM found f WHERE f.tenant IS NOT NULL
            )
            SELECT f.tenant, $1, $1 < $2 - coalesce((SELECT r.hot_days FROM public.telemetry_retentionpolicy r WHERE r.tenant_id = f.tenant), %2$s)
            FROM found f WHERE f.tenant IS NOT NULL $q$, part.name, 7) USING part.at, today;
        IF NOT FOUND THEN
            tenant_id := NULL;
            day := part.at;
            passed := part.at < today - 7;
            RETURN NEXT;
        END IF;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION telemetry_days() FROM PUBLIC;
"""

# The database lets go of a day only when, for every tenant with rows in it, the hot window has passed (and a restoration's end), an archive
# was verified, and it holds exactly these rows: as many, and none written or changed since. `sum(xmin)` tells: a completed row has a newer
# writer than the one that was archived, and rows are never removed but by the owner's functions.
# Locks, in the order of ingest: first the ledger's entries that could still be completed (they are final from now on, so that a later
# delivery is answered `duplicate_conflict` and not lost), in order of key; then the partitions, against writers; readers go on until the drop.
# Gives the tenants that stand in the way, and why; none: it is done. With a tenant: its rows alone are removed, and others' stay.
RELEASE = """
CREATE FUNCTION telemetry_release(p_day date, p_tenant uuid DEFAULT NULL) RETURNS TABLE (tenant_id uuid, reason text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    kinds text[] := ARRAY['run', 'event', 'score'];
    parents text[] := ARRAY['telemetry_run', 'telemetry_event', 'telemetry_runscore'];
    part text;
    counted record;
    kept record;
    against_id uuid[] := '{}';
    against text[] := '{}';
BEGIN
    IF p_day IS NULL OR p_day >= today - 1 THEN
        RAISE EXCEPTION 'only days before yesterday are let go of' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM set_config('lock_timeout', '2s', true);
    PERFORM pg_advisory_xact_lock(hashtextextended('telemetry.partitions', 0));
    BEGIN
        PERFORM 1 FROM public.telemetry_ledger l WHERE l.day = p_day AND NOT l.final AND (p_tenant IS NULL OR l.tenant_id = p_tenant)
            ORDER BY l.tenant_id, l.kind, l.key COLLATE "C" FOR UPDATE;
        UPDATE public.telemetry_ledger l SET final = true
            WHERE l.day = p_day AND NOT l.final AND (p_tenant IS NULL OR l.tenant_id = p_tenant);
        FOR place IN 1 .. 3 LOOP
            part := parents[place] || '_' || to_char(p_day, 'YYYYMMDD');
            CONTINUE WHEN to_regclass('public.' || part) IS NULL;
            EXECUTE format('LOCK TABLE public.%I IN SHARE ROW EXCLUSIVE MODE', part);
            FOR counted IN EXECUTE format(
                'SELECT p.tenant_id AS tenant, count(*) AS rows, sum(p.xmin::text::bigint) AS mark FROM public.%I p'
                ' WHERE $1 IS NULL OR p.tenant_id = $1 GROUP BY p.tenant_id', part) USING p_tenant
            LOOP
                SELECT a.state, a.marks, a.restored_until, coalesce(r.hot_days, 7) AS hot INTO kept
                    FROM (SELECT counted.tenant AS tenant) t
                    LEFT JOIN public.telemetry_archive a ON a.tenant_id = t.tenant AND a.day = p_day
                    LEFT JOIN public.telemetry_retentionpolicy r ON r.tenant_id = t.tenant;
                IF p_day >= today - kept.hot OR kept.restored_until > now() THEN
                    against_id := against_id || counted.tenant;
                    against := against || 'hot'::text;
                ELSIF kept.state IS NULL OR kept.state NOT IN ('verified', 'restored') THEN
                    against_id := against_id || counted.tenant;
                    against := against || 'unverified'::text;
                ELSIF (kept.marks -> kinds[place] ->> 0)::bigint IS DISTINCT FROM counted.rows
                    OR (kept.marks -> kinds[place] ->> 1)::numeric IS DISTINCT FROM counted.mark THEN
                    against_id := against_id || counted.tenant;
                    against := against || 'changed'::text;
                END IF;
            END LOOP;
        END LOOP;
        IF cardinality(against) > 0 THEN
            RAISE EXCEPTION 'kept' USING ERRCODE = 'MC001';
        END IF;
        FOR place IN 1 .. 3 LOOP
            part := parents[place] || '_' || to_char(p_day, 'YYYYMMDD');
            CONTINUE WHEN to_regclass('public.' || part) IS NULL;
            IF p_tenant IS NULL THEN
                EXECUTE format('DROP TABLE public.%I', part);
            ELSE
                EXECUTE format('DELETE FROM public.%I p WHERE p.tenant_id = $1', part) USING p_tenant;
            END IF;
        END LOOP;
        DELETE FROM public.telemetry_unscoredbatch u WHERE u.day = p_day AND (p_tenant IS NULL OR u.tenant_id = p_tenant);
        UPDATE public.telemetry_archive a SET state = 'dropped', dropped_at = now(), restored_until = NULL
            WHERE a.day = p_day AND (p_tenant IS NULL OR a.tenant_id = p_tenant) AND a.state IN ('verified', 'restored');
    EXCEPTION WHEN SQLSTATE 'MC001' THEN
        RETURN QUERY SELECT DISTINCT ON (g.tenant) g.tenant, g.why FROM unnest(against_id, against) AS g (tenant, why) ORDER BY g.tenant, g.why;
    END;
END $$;
REVOKE ALL ON FUNCTION telemetry_release(date, uuid) FROM PUBLIC;
"""

# Which tenants have archives or erasures to look after, and how many wait: ids and numbers only.
OWNERS = """
CREATE FUNCTION telemetry_archive_owners() RETURNS TABLE (tenant_id uuid, failing bigint, restoring bigint, erasing bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT w.tenant_id, sum(w.failing)::bigint, sum(w.restoring)::bigint, sum(w.erasing)::bigint FROM (
        SELECT a.tenant_id, (a.error <> '')::int AS failing, (a.state = 'restoring')::int AS restoring, 0 AS erasing
        FROM public.telemetry_archive a
        UNION ALL SELECT e.tenant_id, (e.error <> '')::int, 0, (e.state <> 'done')::int FROM public.telemetry_erasure e
    ) w GROUP BY w.tenant_id ORDER BY w.tenant_id
$$;
REVOKE ALL ON FUNCTION telemetry_archive_owners() FROM PUBLIC;
"""

# For a restoration: the partitions of a day that is gone. Only where the transaction's tenant is restoring that day.
OPEN_DAY = """
CREATE FUNCTION telemetry_open_day(p_day date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    parent text;
    part text;
    made integer := 0;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM public.telemetry_archive a WHERE a.day = p_day AND a.state = 'restoring'
        AND a.tenant_id = NULLIF(current_setting('app.tenant', true), '')::uuid) THEN
        RAISE EXCEPTION 'the tenant is not restoring this day' USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('telemetry.partitions', 0));
    FOREACH parent IN ARRAY ARRAY['telemetry_run', 'telemetry_event', 'telemetry_runscore'] LOOP
        part := parent || '_' || to_char(p_day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('public.' || part) IS NOT NULL;
        EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part, parent);
        EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', parent, part, p_day, p_day + 1);
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;
REVOKE ALL ON FUNCTION telemetry_open_day(date) FROM PUBLIC;
"""

# An entry goes when what it would recognise is `too_old` anyway: its tenant's hot window, the two days of grace and one more have passed.
# BRIN: entries come in order of their day, so a few pages of index find the old ones. Erasures forget the ids of their runs at the same time: from
# then on these may be another's.
PRUNE = """
CREATE INDEX telemetry_ledger_day ON telemetry_ledger USING brin (day) WITH (pages_per_range = 32);
CREATE FUNCTION telemetry_prune_ledger(p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    removed integer := 0;
    gone integer;
BEGIN
    IF p_limit IS NULL OR p_limit NOT BETWEEN 1 AND 1000000 THEN
        RAISE EXCEPTION 'p_limit must be 1 to 1000000' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE public.telemetry_erasure e SET runs = '[]' WHERE e.state = 'done' AND e.runs <> '[]' AND e.done_at < now() - make_interval(days =>
        coalesce((SELECT r.hot_days FROM public.telemetry_retentionpolicy r WHERE r.tenant_id = e.tenant_id), 7) + 3);
    FOR part IN 0 .. 7 LOOP
        EXECUTE format($q$
            DELETE FROM public.%1$I WHERE ctid = ANY (ARRAY(
                SELECT l.ctid FROM public.%1$I l LEFT JOIN public.telemetry_retentionpolicy r ON r.tenant_id = l.tenant_id
                WHERE l.day < $1 - 4 AND l.day < $1 - (coalesce(r.hot_days, 7) + 3) LIMIT $2)) $q$,
            'telemetry_ledger_' || part) USING today, p_limit - removed;
        GET DIAGNOSTICS gone = ROW_COUNT;
        removed := removed + gone;
        EXIT WHEN removed >= p_limit;
    END LOOP;
    RETURN removed;
END $$;
REVOKE ALL ON FUNCTION telemetry_prune_ledger(integer) FROM PUBLIC;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0010_names"),
        ("telemetry", "0010_otlp"),
    ]

    operations = [
        migrations.CreateModel(
            name="Archive",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("day", models.DateField()),
                ("generation", models.PositiveIntegerField(default=1)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("written", "Written"),
                            ("verified", "Verified"),
                            ("dropped", "in the archive only"),
                            ("restoring", "Restoring"),
                            ("restored", "Restored"),
                            ("expired", "Expired"),
                        ],
                        default="pending",
                        max_length=10,
                    ),
                ),
                ("rows", models.BigIntegerField(default=0)),
                ("bytes", models.BigIntegerField(default=0, help_text="Compressed.")),
                ("first_at", models.DateTimeField(null=True)),
                ("last_at", models.DateTimeField(null=True)),
                ("marks", models.JSONField(default=dict)),
                ("manifest", models.CharField(blank=True, help_text="Path of the manifest.", max_length=300)),
                ("manifest_sha256", models.CharField(blank=True, max_length=64)),
                ("error", models.CharField(blank=True, max_length=500)),
                ("unswept", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("verified_at", models.DateTimeField(null=True)),
                ("checked_at", models.DateTimeField(help_text="When the files were last read again in full.", null=True)),
                ("dropped_at", models.DateTimeField(null=True)),
                ("restored_until", models.DateTimeField(null=True)),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
            ],
            options={
                "ordering": ["-day"],
            },
        ),
        migrations.CreateModel(
            name="ArchivePart",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("generation", models.PositiveIntegerField()),
                ("kind", models.CharField(choices=[("run", "run"), ("event", "event"), ("score", "score")], max_length=10)),
                ("number", models.PositiveIntegerField()),
                ("after_id", models.UUIDField()),
                ("upto_id", models.UUIDField()),
                ("path", models.CharField(blank=True, max_length=300)),
                ("rows", models.BigIntegerField(default=0)),
                ("bytes", models.BigIntegerField(default=0)),
                ("sha256", models.CharField(blank=True, max_length=64)),
                ("mark", models.DecimalField(decimal_places=0, default=0, max_digits=40)),
                ("first_at", models.DateTimeField(null=True)),
                ("last_at", models.DateTimeField(null=True)),
                ("verified_at", models.DateTimeField(null=True)),
                ("restored_at", models.DateTimeField(null=True)),
                ("archive", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="parts", to="telemetry.archive")),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
            ],
            options={
                "ordering": ["kind", "number"],
            },
        ),
        migrations.CreateModel(
            name="Erasure",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("subject", models.CharField(blank=True, max_length=200)),
                ("salt", models.BinaryField(max_length=16)),
                ("hash", models.BinaryField(max_length=32)),
                (
                    "state",
                    models.CharField(
                        choices=[("waiting", "Waiting"), ("running", "Running"), ("done", "Done")], default="waiting", max_length=10
                    ),
                ),
                ("hot_rows", models.BigIntegerField(default=0)),
                ("archived_rows", models.BigIntegerField(default=0)),
                (
                    "phase",
                    models.CharField(
                        choices=[("collect", "finding the user's runs"), ("rewrite", "removing them")], default="collect", max_length=10
                    ),
                ),
                ("upto", models.DateField(null=True)),
                ("runs", models.JSONField(default=list)),
                ("error", models.CharField(blank=True, max_length=500)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("done_at", models.DateTimeField(null=True)),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="HistoricalRetentionPolicy",
            fields=[
                ("actor_kind", models.CharField(default=apps.core.history.actor_kind, max_length=10)),
                ("actor_id", models.UUIDField(default=apps.core.history.actor_id, null=True)),
                ("actor_label", models.CharField(blank=True, default=apps.core.history.actor_label, max_length=200)),
                ("channel", models.CharField(blank=True, default=apps.core.history.channel, max_length=10)),
                ("request_id", models.CharField(blank=True, default=apps.core.history.request_id, max_length=64)),
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False)),
                (
                    "hot_days",
                    models.PositiveSmallIntegerField(
                        default=7, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(30)]
                    ),
                ),
                (
                    "archive_days",
                    models.PositiveIntegerField(
                        blank=True,
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(3650)],
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
                "verbose_name": "historical retention policy",
                "verbose_name_plural": "historical retention policies",
                "ordering": ("-history_id",),
                "get_latest_by": "history_id",
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name="RetentionPolicy",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                (
                    "hot_days",
                    models.PositiveSmallIntegerField(
                        default=7, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(30)]
                    ),
                ),
                (
                    "archive_days",
                    models.PositiveIntegerField(
                        blank=True,
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(3650)],
                    ),
                ),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
            ],
            options={
                "verbose_name": "retention policy",
                "verbose_name_plural": "retention policies",
            },
        ),
        migrations.AddConstraint(
            model_name="archive",
            constraint=models.UniqueConstraint(fields=("tenant", "day"), name="telemetry_archive_once"),
        ),
        migrations.AddConstraint(
            model_name="archive",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="telemetry_archive_of_tenant"),
        ),
        migrations.AddConstraint(
            model_name="archive",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("state", "pending"),
                    models.Q(models.Q(("manifest", ""), _negated=True), ("manifest_sha256__regex", "^[0-9a-f]{64}$")),
                    _connector="OR",
                ),
                name="telemetry_archive_has_manifest",
            ),
        ),
        migrations.AddConstraint(
            model_name="archive",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["pending", "written"]), ("verified_at__isnull", False), _connector="OR"),
                name="telemetry_archive_was_verified",
            ),
        ),
        migrations.AddConstraint(
            model_name="archivepart",
            constraint=models.UniqueConstraint(fields=("archive", "generation", "kind", "number"), name="telemetry_archivepart_once"),
        ),
        migrations.AddIndex(
            model_name="historicalretentionpolicy",
            index=models.Index(fields=["id", "-history_id"], name="telemetry_retentionpolicy_hist"),
        ),
        migrations.AddConstraint(
            model_name="retentionpolicy",
            constraint=models.UniqueConstraint(fields=("tenant",), name="telemetry_retention_once"),
        ),
        migrations.AddConstraint(
            model_name="retentionpolicy",
            constraint=models.CheckConstraint(condition=models.Q(("hot_days__range", (1, 30))), name="telemetry_retention_hot"),
        ),
        migrations.AddConstraint(
            model_name="retentionpolicy",
            constraint=models.CheckConstraint(
                condition=models.Q(("archive_days", None), ("archive_days__range", (1, 3650)), _connector="OR"),
                name="telemetry_retention_archive",
            ),
        ),
        migrations.RunSQL(
            tenant_policy("telemetry_retentionpolicy", "telemetry_archive", "telemetry_archivepart", "telemetry_erasure"),
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL(keep_history("telemetry_retentionpolicy", "telemetry_historicalretentionpolicy"), migrations.RunSQL.noop),
        *[migrations.RunSQL([statement], migrations.RunSQL.noop) for statement in (DAYS, RELEASE, OWNERS, OPEN_DAY, PRUNE)],
    ]
