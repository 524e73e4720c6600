"""The partitioned tables, the key ledger, and the owner's function that makes partitions ahead of time."""

from django.db import migrations

DAYS_AHEAD = 7

REPORTED = """
    id uuid NOT NULL,
    day date NOT NULL,
    tenant_id uuid NOT NULL,
    team_id uuid,
    agent_id uuid NOT NULL,
    root_task_id text,
    task_id text,
    tier text,
    actor text,
    provider text,
    model_id text,
    persona text,
    skill text,
    status text,
    latency_ms bigint,
    tokens_in bigint,
    tokens_out bigint,
    token_delta bigint,
    cost_micros bigint,
    created_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    producer text,
    producer_seq bigint,
    flags text[] NOT NULL DEFAULT '{}',
    redactions text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (id, day)
"""

RUN = f"""
CREATE TABLE telemetry_run (
    run_id text NOT NULL,
    final boolean NOT NULL,
    user_ref text,
    pack text,
    pack_version integer,
    effective_digest text,
    arm text,
    rollout text,
    task_type text,
    mcp_servers jsonb,
    adapter_kind text,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    cached_tokens bigint,
    cache_write_tokens bigint,
    reasoning_tokens bigint,
    success boolean,
    error_code text,
    retries integer,
    format_passed boolean,
    approval_passed boolean,
    safety_flags jsonb,
    checks jsonb,
    input text,
    output text,
    metadata jsonb,
    {REPORTED}
) PARTITION BY RANGE (day);
CREATE INDEX telemetry_run_window ON telemetry_run (tenant_id, created_at, id);
CREATE INDEX telemetry_run_agent ON telemetry_run (tenant_id, agent_id, created_at, id);
CREATE INDEX telemetry_run_pack ON telemetry_run (tenant_id, pack, pack_version, created_at, id);
CREATE INDEX telemetry_run_key ON telemetry_run (tenant_id, run_id);
CREATE INDEX telemetry_run_root ON telemetry_run (tenant_id, root_task_id, created_at) WHERE root_task_id IS NOT NULL;

-- A final run never changes, whoever asks.
CREATE FUNCTION telemetry_run_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a final run never changes' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER telemetry_run_final BEFORE UPDATE ON telemetry_run FOR EACH ROW WHEN (OLD.final) EXECUTE FUNCTION telemetry_run_final();
"""

EVENT = f"""
CREATE TABLE telemetry_event (
    event_id text NOT NULL,
    run_id text,
    action text NOT NULL,
    phase text,
    message text,
    mcp_server text,
    mcp_tool text,
    retry_count integer,
    payload jsonb,
    seq bigint,
    {REPORTED}
) PARTITION BY RANGE (day);
CREATE INDEX telemetry_event_window ON telemetry_event (tenant_id, created_at, id);
CREATE INDEX telemetry_event_agent ON telemetry_event (tenant_id, agent_id, created_at, id);
CREATE INDEX telemetry_event_run ON telemetry_event (tenant_id, run_id, created_at) WHERE run_id IS NOT NULL;
CREATE INDEX telemetry_event_root ON telemetry_event (tenant_id, root_task_id, created_at) WHERE root_task_id IS NOT NULL;
"""

SCORE = """
CREATE TABLE telemetry_runscore (
    id uuid NOT NULL,
    day date NOT NULL,
    tenant_id uuid NOT NULL,
    team_id uuid,
    agent_id uuid NOT NULL,
    run_id text NOT NULL,
    pack text,
    pack_version integer,
    effective_digest text,
    arm text,
    tier text NOT NULL,
    latency_ms bigint,
    score integer NOT NULL CHECK (score BETWEEN 0 AND 10000),
    baseline_ms bigint,
    parts jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (id, day)
) PARTITION BY RANGE (day);
-- The last champion runs of a tenant, pack and tier: what latency is compared with.
CREATE INDEX telemetry_runscore_baseline ON telemetry_runscore (tenant_id, pack, tier, id) INCLUDE (latency_ms)
    WHERE arm = 'champion' AND latency_ms IS NOT NULL;
"""

# One row for each key that was ever stored: a unique key cannot span daily partitions. `hashes` are those of the bodies that were taken for it,
# 16 bytes each; `row_id` and `day` find the row.
LEDGER = """
CREATE TABLE telemetry_ledger (
    tenant_id uuid NOT NULL,
    kind "char" NOT NULL CHECK (kind IN ('r', 'e')),
    key text NOT NULL,
    day date NOT NULL,
    final boolean NOT NULL,
    hashes bytea NOT NULL,
    row_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, kind, key)
) PARTITION BY HASH (key);
""" + "".join(
    f"CREATE TABLE telemetry_ledger_{part} PARTITION OF telemetry_ledger FOR VALUES WITH (MODULUS 8, REMAINDER {part});\n"
    for part in range(8)
)

# Attached, not created in place: attaching does not wait for running inserts. Yesterday's is made too: a process's clock may be late.
PARTITIONS = """
CREATE FUNCTION telemetry_make_partitions(days_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    made integer := 0;
    parent text;
    part text;
    start date;
BEGIN
    IF days_ahead IS NULL OR days_ahead NOT BETWEEN 0 AND 31 THEN
        RAISE EXCEPTION 'days_ahead must be 0 to 31' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('telemetry.partitions', 0));
    FOREACH parent IN ARRAY ARRAY['telemetry_run', 'telemetry_event', 'telemetry_runscore'] LOOP
        FOR ahead IN -1 .. days_ahead LOOP
            start := today + ahead;
            part := parent || '_' || to_char(start, 'YYYYMMDD');
            CONTINUE WHEN to_regclass('public.' || part) IS NOT NULL;
            EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part, parent);
            EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', parent, part, start, start + 1);
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
REVOKE ALL ON FUNCTION telemetry_make_partitions(integer) FROM PUBLIC;
"""


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0001_initial")]

    operations = [
        migrations.RunSQL(statement, migrations.RunSQL.noop)
        for statement in (RUN, EVENT, SCORE, LEDGER, PARTITIONS, f"SELECT telemetry_make_partitions({DAYS_AHEAD})")
    ]
