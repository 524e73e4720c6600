"""What must always hold of notices: each row is its tenant's, refers to that tenant's rows, and what was told is not changed."""

from django.db import migrations

from apps.core.sql import refuse_update, tenant_policy

REFERENCES = """
ALTER TABLE notices_delivery ADD CONSTRAINT notices_delivery_own_notice FOREIGN KEY (tenant_id, notice_id)
    REFERENCES notices_notice (tenant_id, id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE notices_delivery ADD CONSTRAINT notices_delivery_own_webhook FOREIGN KEY (tenant_id, webhook_id)
    REFERENCES notices_webhook (tenant_id, id) DEFERRABLE INITIALLY DEFERRED;
"""

# Over all tenants: where there is something to do (ids and times only), and what was told and done with long ago.
FUNCTIONS = """
CREATE FUNCTION notices_waiting() RETURNS TABLE (tenant_id uuid) LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT DISTINCT n.tenant_id FROM public.notices_notice n JOIN public.identity_tenant t ON t.id = n.tenant_id
    WHERE n.spread_at IS NULL AND t.status = 'active'
$$;
CREATE FUNCTION notices_due(at timestamptz) RETURNS TABLE (tenant_id uuid, webhook_id uuid, since timestamptz) LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT d.tenant_id, d.webhook_id, min(d.next_attempt_at) FROM public.notices_delivery d JOIN public.identity_tenant t ON t.id = d.tenant_id
    WHERE d.state IN ('pending', 'failed') AND d.next_attempt_at <= at AND t.status = 'active' GROUP BY d.tenant_id, d.webhook_id
$$;
CREATE FUNCTION notices_forget(before timestamptz) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    old uuid[];
BEGIN
    SELECT coalesce(array_agg(n.id), '{}') INTO old FROM public.notices_notice n
        WHERE n.created_at < least(before, now() - interval '30 days') AND n.spread_at IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM public.notices_delivery d WHERE d.notice_id = n.id AND d.state IN ('pending', 'failed'));
    DELETE FROM public.notices_delivery d WHERE d.notice_id = ANY (old);
    DELETE FROM public.notices_notice n WHERE n.id = ANY (old);
    RETURN cardinality(old);
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("notices", "0001_initial"), ("core", "0004_across_tenants")]

    operations = [
        migrations.RunSQL(REFERENCES, migrations.RunSQL.noop),
        migrations.RunSQL(
            refuse_update(
                "notices_notice", ["id", "tenant_id", "kind", "subject_id", "title", "path", "facts", "recipients", "created_at"]
            ),
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL(
            refuse_update("notices_delivery", ["id", "tenant_id", "notice_id", "channel", "webhook_id", "user_id"]), migrations.RunSQL.noop
        ),
        migrations.RunSQL(
            tenant_policy("notices_webhook", "notices_notice", "notices_delivery", "notices_noticepreference"), migrations.RunSQL.noop
        ),
        migrations.RunSQL(FUNCTIONS, migrations.RunSQL.noop),
    ]
