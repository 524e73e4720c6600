"""Erasure of one user's telemetry from the database: a function of the owner, since nobody else removes rows."""

from django.db import migrations, models

# Runs of the transaction's tenant and of this day that name an erased user, were received or begun before the erasure, and what belongs to them
# by their ids (and to `p_runs`, the user's runs of other days), and the steps of their traces that still wait to learn whose they are. Users are known by salted hashes, as `subject_hash` makes them. Their keys
# stay, final: a later delivery of the same run is a duplicate or in conflict, and is not stored again. Gives the ids of the runs that went,
# and how many rows altogether.
ERASE_DAY = """
CREATE FUNCTION telemetry_erase_day(p_day date, p_runs text[], p_salts bytea[], p_hashes bytea[], p_ats timestamptz[])
RETURNS TABLE (run_ids text[], removed bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    here uuid := NULLIF(current_setting('app.tenant', true), '')::uuid;
    ids uuid[];
    roots text[];
    gone bigint;
BEGIN
    IF here IS NULL THEN
        RAISE EXCEPTION 'no tenant is set' USING ERRCODE = 'insufficient_privilege';
    END IF;
    removed := 0;
    SELECT array_agg(r.id), array_agg(r.run_id) INTO ids, run_ids FROM public.telemetry_run r
        WHERE r.day = p_day AND r.tenant_id = here AND r.user_ref IS NOT NULL AND EXISTS (
            SELECT 1 FROM unnest(p_salts, p_hashes, p_ats) AS e (salt, hash, at)
            WHERE least(r.created_at, r.received_at) <= e.at
            AND sha256(e.salt || uuid_send(here) || convert_to(r.user_ref, 'UTF8')) = e.hash);
    ids := coalesce(ids, '{}');
    run_ids := coalesce(run_ids, '{}');
    -- In the order of ingest: keys first.
    PERFORM 1 FROM public.telemetry_ledger l WHERE l.tenant_id = here AND l.kind = 'r' AND l.key = ANY (run_ids)
        ORDER BY l.key COLLATE "C" FOR UPDATE;
    UPDATE public.telemetry_ledger l SET final = true WHERE l.tenant_id = here AND l.kind = 'r' AND l.key = ANY (run_ids) AND NOT l.final;
    -- A step may be on another day than its run: of those that are still there.
    SELECT array_agg(DISTINCT r.root_task_id) INTO roots FROM public.telemetry_run r
        WHERE r.tenant_id = here AND r.run_id = ANY (run_ids || p_runs) AND r.root_task_id IS NOT NULL;
    -- What finds the user's runs tells that there was one; that of runs of after the erasure stays.
    DELETE FROM public.telemetry_posting p USING (
        SELECT hashtextextended('r:user=' || r.user_ref, 0) AS term, max(e.at) AS at, ids AS erased FROM public.telemetry_run r
        JOIN unnest(p_salts, p_hashes, p_ats) AS e (salt, hash, at)
            ON sha256(e.salt || uuid_send(here) || convert_to(r.user_ref, 'UTF8')) = e.hash
        WHERE r.day = p_day AND r.tenant_id = here AND r.id = ANY (ids) GROUP BY 1
    ) u WHERE p.tenant_id = here AND p.term = u.term AND (p.minute < floor(extract(epoch FROM u.at) / 60) OR p.ids <@ u.erased);
    DELETE FROM public.telemetry_run r WHERE r.day = p_day AND r.tenant_id = here AND r.id = ANY (ids);
    GET DIAGNOSTICS gone = ROW_COUNT;
    removed := removed + gone;
    DELETE FROM public.telemetry_runscore s WHERE s.day = p_day AND s.tenant_id = here AND s.id = ANY (ids);
    GET DIAGNOSTICS gone = ROW_COUNT;
    removed := removed + gone;
    DELETE FROM public.telemetry_event v WHERE v.day = p_day AND v.tenant_id = here AND v.run_id = ANY (run_ids || p_runs);
    GET DIAGNOSTICS gone = ROW_COUNT;
    removed := removed + gone;
    DELETE FROM public.telemetry_event v WHERE v.day = p_day AND v.tenant_id = here AND v.root_task_id = ANY (roots) AND v.run_id IS NULL
        AND 'unsettled' = ANY (v.flags);
    GET DIAGNOSTICS gone = ROW_COUNT;
    removed := removed + gone;
    UPDATE public.telemetry_unscoredbatch u SET row_ids = ARRAY(SELECT i FROM unnest(u.row_ids) i WHERE i <> ALL (ids))
        WHERE u.tenant_id = here AND u.day = p_day AND u.row_ids && ids;
    RETURN NEXT;
END $$;
REVOKE ALL ON FUNCTION telemetry_erase_day(date, text[], bytea[], bytea[], timestamptz[]) FROM PUBLIC;
"""


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0011_archives")]

    operations = [
        migrations.AddField("erasure", "read", models.JSONField(default=list)),
        migrations.RunSQL([ERASE_DAY], migrations.RunSQL.noop),
    ]
