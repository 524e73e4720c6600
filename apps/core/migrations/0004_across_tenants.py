"""What the application may ask or do across tenants: functions of the owner, each with a test in `tests/test_isolation.py`.

They give ids and times, never content; whoever acts on the answer does it in the tenant's own transaction.
"""

from django.db import migrations

# Bodies in plpgsql are read when they are called: the tables are those of rooms that migrate later.
FUNCTIONS = {
    "audit_chains()": """
    RETURNS TABLE (tenant_id uuid) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    BEGIN
        RETURN QUERY SELECT h.tenant_id FROM public.audit_head h;
    END $$;
    """,
    "telemetry_waiting()": """
    RETURNS TABLE (tenant_id uuid, since timestamptz) LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    BEGIN
        RETURN QUERY SELECT b.tenant_id, min(b.created_at) FROM public.telemetry_unscoredbatch b GROUP BY b.tenant_id;
    END $$;
    """,
    # Open promotions; due are those with an evaluation completed, or a champion above them moved, since they were last judged.
    "promotions_open()": """
    RETURNS TABLE (id uuid, tenant_id uuid, layer_id uuid, pack_id uuid, due boolean) LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    DECLARE
        platform uuid := '00000000-0000-7000-8000-000000000001';
    BEGIN
        RETURN QUERY SELECT p.id, p.tenant_id, p.layer_id, l.pack_id,
            EXISTS (SELECT 1 FROM public.evals_evalrun r WHERE r.layer_id = p.layer_id AND r.completed_at > p.evaluated_at)
            OR EXISTS (SELECT 1 FROM public.promotions_decision d WHERE d.created_at > p.evaluated_at AND d.decision <> 'reject'
                AND (d.tenant_id = p.tenant_id OR d.tenant_id = platform))
        FROM public.promotions_promotion p JOIN public.packs_layer l ON l.id = p.layer_id
        WHERE p.state IN ('collecting', 'blocked', 'awaiting_approval', 'ready', 'running', 'held');
    END $$;
    """,
    # Answers to idempotent writes that are older than this; how many went.
    "core_forget_answers(before timestamptz)": """
    RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    DECLARE
        gone bigint;
    BEGIN
        DELETE FROM public.core_idempotencyrecord r WHERE r.created_at < least(before, now() - interval '1 hour');
        GET DIAGNOSTICS gone = ROW_COUNT;
        RETURN gone;
    END $$;
    """,
}


class Migration(migrations.Migration):
    dependencies = [("core", "0003_policies")]

    operations = [migrations.RunSQL(f"CREATE FUNCTION {name} {body}", migrations.RunSQL.noop) for name, body in FUNCTIONS.items()]
