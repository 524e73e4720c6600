"""What finds a page of runs or events by any one filter, or two of the listed pairs, among millions."""

from django.db import migrations

from apps.core.sql import tenant_policy

# In which minutes a term (a hash of kind, filter and value) occurs, with the rows' keys while they are few. Filled in bulk, off the path of
# ingest; a row without keys says only that the minute is worth a look, in the partitions of these days.
POSTINGS = """
CREATE TABLE telemetry_posting (
    tenant_id uuid NOT NULL,
    term bigint NOT NULL,
    minute bigint NOT NULL,
    first_day date NOT NULL,
    last_day date NOT NULL,
    ids uuid[],
    PRIMARY KEY (tenant_id, term, minute)
) WITH (fillfactor = 80);
CREATE INDEX telemetry_posting_minute ON telemetry_posting USING brin (minute) WITH (pages_per_range = 32);
"""

# As long as a day is in the database, its rows are found by their terms. A bounded number at a time.
FORGET = """
CREATE FUNCTION telemetry_forget_postings(before timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    gone bigint;
BEGIN
    DELETE FROM public.telemetry_posting WHERE ctid = ANY (ARRAY(
        SELECT p.ctid FROM public.telemetry_posting p
        WHERE p.minute < extract(epoch FROM least(before, now() - interval '10 days')) / 60 AND p.last_day < (
            SELECT coalesce(min(to_date(right(c.relname, 8), 'YYYYMMDD')), 'infinity') FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent IN ('public.telemetry_run'::regclass, 'public.telemetry_event'::regclass))
        LIMIT 200000));
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;
REVOKE ALL ON FUNCTION telemetry_forget_postings(timestamptz) FROM PUBLIC;
"""

# A pack's runs in the order of lists: its version between pack and time kept the old one from that.
PACK = """
DROP INDEX telemetry_run_pack;
CREATE INDEX telemetry_run_pack ON telemetry_run (tenant_id, pack, created_at, id);
"""


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0007_rollups")]

    operations = [
        migrations.RunSQL(statement, migrations.RunSQL.noop) for statement in (POSTINGS, tenant_policy("telemetry_posting"), FORGET, PACK)
    ]
