"""What packs may ask or do across tenants: functions of the owner, each with a test in `tests/test_isolation.py`.

The shared library's change is judged by whom it reaches, in all tenants. These give `platform`, and nobody else, who is there and what is
live: ids, names of scopes, numbers and digests. Content is read in each tenant's own binding (`apps/packs/across.py`).
"""

from django.db import migrations

PINNED = "SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$"
ASKED_BY_PLATFORM = """
        IF NULLIF(current_setting('app.tenant', true), '') IS DISTINCT FROM '00000000-0000-7000-8000-000000000001' THEN
            RAISE EXCEPTION 'only platform asks what its change reaches' USING ERRCODE = 'insufficient_privilege';
        END IF;
"""

# Bodies in plpgsql are read when they are called: the tables are those of rooms that migrate later. `only_pack`: the domain pack that
# changes; null where it is a policy, which concerns all packs.
FUNCTIONS = {
    "packs_reached_tenants()": f"""
    RETURNS TABLE (id uuid, slug text, tier text) LANGUAGE plpgsql STABLE {PINNED}
    BEGIN {ASKED_BY_PLATFORM}
        RETURN QUERY SELECT t.id, t.slug::text, t.tier::text FROM public.identity_tenant t WHERE t.status = 'active';
    END $$;
    """,
    "packs_reached_agents()": f"""
    RETURNS TABLE (tenant_id uuid, slug text, team text) LANGUAGE plpgsql STABLE {PINNED}
    BEGIN {ASKED_BY_PLATFORM}
        RETURN QUERY SELECT a.tenant_id, a.slug::text, m.slug::text FROM public.identity_agent a
            JOIN public.identity_tenant t ON t.id = a.tenant_id AND t.status = 'active'
            LEFT JOIN public.identity_team m ON m.id = a.team_id
            WHERE a.status = 'active';
    END $$;
    """,
    "packs_reached_packs(only_pack uuid)": f"""
    RETURNS TABLE (id uuid, slug text, kind text, domain text, tenant_id uuid) LANGUAGE plpgsql STABLE {PINNED}
    BEGIN {ASKED_BY_PLATFORM}
        RETURN QUERY SELECT p.id, p.slug::text, p.kind::text, p.domain::text, p.tenant_id FROM public.packs_pack p
            JOIN public.identity_tenant t ON t.id = p.tenant_id AND t.status = 'active'
            WHERE only_pack IS NULL OR p.id = only_pack OR p.kind = 'policy';
    END $$;
    """,
    # `team` is that of the agent at whose scope the layer is.
    "packs_reached_layers(only_pack uuid)": f"""
    RETURNS TABLE (id uuid, tenant_id uuid, pack_id uuid, slug text, kind text, domain text, pack_tenant_id uuid, scope text, team text,
        champion_id uuid, number integer, digest text) LANGUAGE plpgsql STABLE {PINNED}
    BEGIN {ASKED_BY_PLATFORM}
        RETURN QUERY SELECT l.id, l.tenant_id, l.pack_id, p.slug::text, p.kind::text, p.domain::text, p.tenant_id,
                l.scope::text, m.slug::text, l.champion_id, v.number, v.digest::text
            FROM public.packs_layer l JOIN public.identity_tenant t ON t.id = l.tenant_id AND t.status = 'active'
            JOIN public.packs_pack p ON p.id = l.pack_id JOIN public.packs_packversion v ON v.id = l.champion_id
            LEFT JOIN public.identity_agent a ON a.id = l.agent_id LEFT JOIN public.identity_team m ON m.id = a.team_id
            WHERE l.suspended_by IS NULL AND (only_pack IS NULL OR l.pack_id = only_pack OR p.kind = 'policy');
    END $$;
    """,
    "packs_reached_subscriptions(only_pack uuid)": f"""
    RETURNS TABLE (tenant_id uuid, pack_id uuid, pinned_id uuid, scope text) LANGUAGE plpgsql STABLE {PINNED}
    BEGIN {ASKED_BY_PLATFORM}
        RETURN QUERY SELECT s.tenant_id, s.pack_id, s.pinned_id, l.scope::text FROM public.packs_subscription s
            JOIN public.identity_tenant t ON t.id = s.tenant_id AND t.status = 'active'
            LEFT JOIN public.packs_packversion v ON v.id = s.pinned_id LEFT JOIN public.packs_layer l ON l.id = v.layer_id
            WHERE only_pack IS NULL OR s.pack_id = only_pack;
    END $$;
    """,
    # Resolve had to leave these champions out: their layers, of the tenant or of the shared library, are flagged.
    "packs_flag_skipped(champions uuid[])": f"""
    RETURNS void LANGUAGE plpgsql {PINNED}
    BEGIN
        UPDATE public.packs_layer l SET flagged_at = now() WHERE l.champion_id = ANY (champions) AND l.flagged_at IS NULL
            AND l.tenant_id IN (NULLIF(current_setting('app.tenant', true), '')::uuid, '00000000-0000-7000-8000-000000000001')
            AND NULLIF(current_setting('app.tenant', true), '') IS NOT NULL;
    END $$;
    """,
    # The reference under which a harness knows this person in the tenant that is bound; '' where it does not, or where it reads like everybody's.
    "core_user_ref_of(tenant uuid, person uuid)": f"""
    RETURNS text LANGUAGE plpgsql STABLE {PINNED}
    BEGIN
        RETURN coalesce((
            SELECT m.user_ref FROM public.identity_membership m
            WHERE m.tenant_id = tenant AND tenant::text = current_setting('app.tenant', true) AND m.user_id = person AND m.user_ref NOT IN ('', '*') AND (m.until IS NULL OR m.until > now())
            ORDER BY m.created_at, m.id LIMIT 1), '');
    END $$;
    """,
}


class Migration(migrations.Migration):
    dependencies = [("core", "0005_identity_across_tenants")]

    operations = [migrations.RunSQL(f"CREATE FUNCTION {name} {body}", migrations.RunSQL.noop) for name, body in FUNCTIONS.items()]
