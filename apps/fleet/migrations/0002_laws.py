"""What must always hold of the fleet: each row is its tenant's and refers to that tenant's rows; what was ordered or asked never changes."""

from django.db import migrations

from apps.core.sql import refuse_update, tenant_policy, user_policy_through

TABLES = ("fleet_harness", "fleet_serving", "fleet_command", "fleet_delivery", "fleet_actionrequest", "fleet_suggestion")

REFERENCES = """
ALTER TABLE fleet_harness ADD CONSTRAINT fleet_harness_own_agent FOREIGN KEY (tenant_id, agent_id)
    REFERENCES identity_agent (tenant_id, id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE fleet_serving ADD CONSTRAINT fleet_serving_own_harness FOREIGN KEY (tenant_id, harness_id)
    REFERENCES fleet_harness (tenant_id, id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE fleet_command ADD CONSTRAINT fleet_command_own_agent FOREIGN KEY (tenant_id, agent_id)
    REFERENCES identity_agent (tenant_id, id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE fleet_delivery ADD CONSTRAINT fleet_delivery_own_agent FOREIGN KEY (tenant_id, agent_id)
    REFERENCES identity_agent (tenant_id, id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE fleet_delivery ADD CONSTRAINT fleet_delivery_own_command FOREIGN KEY (tenant_id, command_id)
    REFERENCES fleet_command (tenant_id, id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE fleet_delivery ADD CONSTRAINT fleet_delivery_own_successor FOREIGN KEY (tenant_id, superseded_by_id)
    REFERENCES fleet_command (tenant_id, id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE fleet_actionrequest ADD CONSTRAINT fleet_actionrequest_own_agent FOREIGN KEY (tenant_id, agent_id)
    REFERENCES identity_agent (tenant_id, id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE fleet_suggestion ADD CONSTRAINT fleet_suggestion_own_agent FOREIGN KEY (tenant_id, agent_id)
    REFERENCES identity_agent (tenant_id, id) DEFERRABLE INITIALLY DEFERRED;

CREATE FUNCTION fleet_suggestion_own_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM packs_packversion v WHERE v.id = NEW.version_id AND v.tenant_id = NEW.tenant_id) THEN
        RAISE EXCEPTION 'the version belongs to another tenant' USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fleet_suggestion_own_version BEFORE INSERT ON fleet_suggestion
    FOR EACH ROW EXECUTE FUNCTION fleet_suggestion_own_version();

-- What came to its end stays there, whoever asks: a command is acknowledged once, a request used once.
CREATE FUNCTION fleet_ended_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state IS DISTINCT FROM OLD.state AND (OLD.state IN ('acknowledged', 'superseded', 'denied', 'used')
            OR (OLD.state = 'expired' AND NEW.state <> 'acknowledged')) THEN
        RAISE EXCEPTION '%: what is % stays so', TG_TABLE_NAME, OLD.state USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fleet_delivery_ended BEFORE UPDATE ON fleet_delivery FOR EACH ROW EXECUTE FUNCTION fleet_ended_stays();
CREATE TRIGGER fleet_actionrequest_ended BEFORE UPDATE ON fleet_actionrequest FOR EACH ROW EXECUTE FUNCTION fleet_ended_stays();
"""

PINNED = "SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$"

# Over all tenants: what ran out and what is long over (the tenants of the former, for their caches), counts for Prometheus, and for
# `platform` alone who serves what of the packs that its change concerns (`domain` packs by their slug; null: a policy, which concerns all).
FUNCTIONS = f"""
CREATE FUNCTION fleet_expire(at timestamptz) RETURNS TABLE (tenant_id uuid) LANGUAGE plpgsql {PINNED}
BEGIN
    UPDATE public.fleet_actionrequest r SET state = 'expired' WHERE r.state IN ('pending', 'approved') AND r.expires_at <= least(at, now());
    RETURN QUERY WITH gone AS (
        UPDATE public.fleet_delivery d SET state = 'expired', closed_at = now() FROM public.fleet_command c
        WHERE c.id = d.command_id AND d.state IN ('pending', 'delivered') AND c.expires_at <= least(at, now()) RETURNING d.tenant_id)
    SELECT DISTINCT g.tenant_id FROM gone g;
END $$;
CREATE FUNCTION fleet_forget(unseen timestamptz, before timestamptz) RETURNS bigint LANGUAGE plpgsql {PINNED}
DECLARE
    gone bigint;
    old uuid[];
BEGIN
    SELECT coalesce(array_agg(h.id), '{{}}') INTO old FROM public.fleet_harness h
        WHERE h.last_seen_at < least(unseen, now() - interval '1 day');
    DELETE FROM public.fleet_serving s WHERE s.harness_id = ANY (old);
    DELETE FROM public.fleet_harness h WHERE h.id = ANY (old);
    gone := cardinality(old);
    SELECT coalesce(array_agg(c.id), '{{}}') INTO old FROM public.fleet_command c
        WHERE c.expires_at < least(before, now() - interval '30 days')
        AND NOT EXISTS (SELECT 1 FROM public.fleet_delivery d WHERE d.command_id = c.id AND d.state IN ('pending', 'delivered'))
        AND NOT EXISTS (SELECT 1 FROM public.fleet_delivery d WHERE d.superseded_by_id = c.id AND d.created_at >= before);
    UPDATE public.fleet_delivery d SET superseded_by_id = NULL WHERE d.superseded_by_id = ANY (old);
    DELETE FROM public.fleet_delivery d WHERE d.command_id = ANY (old);
    DELETE FROM public.fleet_command c WHERE c.id = ANY (old);
    gone := gone + cardinality(old);
    DELETE FROM public.fleet_actionrequest r
        WHERE r.state NOT IN ('pending', 'approved') AND r.expires_at < least(before, now() - interval '30 days');
    RETURN gone;
END $$;
CREATE FUNCTION fleet_figures() RETURNS TABLE (live bigint, stale bigint, silent bigint, laggards bigint, waiting bigint)
LANGUAGE sql STABLE {PINNED}
    SELECT h.live, h.stale, h.silent,
        (SELECT count(*) FROM public.fleet_delivery d
            WHERE d.state IN ('pending', 'delivered') AND d.created_at < now() - interval '30 seconds'),
        (SELECT count(*) FROM public.fleet_actionrequest r WHERE r.state = 'pending')
    FROM (SELECT count(*) FILTER (WHERE f.last_seen_at >= now() - 3 * f.ttl_s * interval '1 second') AS live,
        count(*) FILTER (WHERE f.last_seen_at >= now() - 3 * f.ttl_s * interval '1 second' AND f.stale <> '{{}}') AS stale,
        count(*) FILTER (WHERE f.last_seen_at < now() - 3 * f.ttl_s * interval '1 second') AS silent FROM public.fleet_harness f) h
$$;
CREATE FUNCTION fleet_reached_harnesses(only_pack text) RETURNS TABLE (tenant_id uuid, tenant text, tier text, agent_id uuid, agent text,
    team text, instance text, ttl_s integer, last_seen_at timestamptz, pack text, digest text) LANGUAGE plpgsql STABLE {PINNED}
BEGIN
    IF NULLIF(current_setting('app.tenant', true), '') IS DISTINCT FROM '00000000-0000-7000-8000-000000000001' THEN
        RAISE EXCEPTION 'only platform asks what its change reaches' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN QUERY SELECT s.tenant_id, t.slug::text, t.tier::text, a.id, a.slug::text, m.slug::text, h.instance::text, h.ttl_s, h.last_seen_at,
            s.pack::text, s.digest::text
        FROM public.fleet_serving s JOIN public.fleet_harness h ON h.id = s.harness_id
        JOIN public.identity_agent a ON a.id = h.agent_id AND a.status = 'active'
        JOIN public.identity_tenant t ON t.id = s.tenant_id AND t.status = 'active'
        LEFT JOIN public.identity_team m ON m.id = a.team_id
        WHERE s.arm = 'champion' AND (only_pack IS NULL OR s.pack = only_pack);
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("fleet", "0001_initial"), ("core", "0006_packs_across_tenants"), ("packs", "0006_access")]

    operations = [
        migrations.RunSQL(REFERENCES, migrations.RunSQL.noop),
        migrations.RunSQL(
            refuse_update(
                "fleet_command",
                ["id", "tenant_id", "kind", "name", "agent_id", "action", "created_by_id", "actor_label", "created_at", "expires_at"],
            ),
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL(
            refuse_update("fleet_delivery", ["id", "tenant_id", "command_id", "agent_id", "instance", "created_at"]), migrations.RunSQL.noop
        ),
        migrations.RunSQL(
            refuse_update(
                "fleet_actionrequest",
                ["id", "tenant_id", "agent_id", "pack", "tool", "arguments", "reason", "risk", "level", "created_at", "expires_at"],
            ),
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL(tenant_policy(*TABLES), migrations.RunSQL.noop),
        # What is proposed for one user is that user's content, and so is the proposal.
        migrations.RunSQL(
            user_policy_through("fleet_suggestion", "packs_packversion", "p.id = fleet_suggestion.version_id"), migrations.RunSQL.noop
        ),
        migrations.RunSQL(FUNCTIONS, migrations.RunSQL.noop),
    ]
