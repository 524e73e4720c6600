"""What is asked of identity before a tenant is known, and the changes that every process hears of: functions of the owner, each with a
test in `tests/test_isolation.py`.

They answer for the one thing that they are asked for (a token, a person, a slug), never for all; the rest is read in the tenant's own
transaction.
"""

from django.db import migrations

from apps.core.sql import tenant_policy

PINNED = "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp"
HELD = "(m.until IS NULL OR m.until > clock_timestamp())"

FUNCTIONS = {
    # A live token by its prefix: whose it is, and what a harness request needs to know of an agent.
    "identity_token(sought text)": f"""
    RETURNS TABLE (kind text, id uuid, hash bytea, scopes text[], expires_at timestamptz, tenant_id uuid, tenant text, tier text,
        holder_id uuid, holder text, team_id uuid, team text, default_pack text, service boolean) STABLE {PINNED} AS $$
    BEGIN
        RETURN QUERY SELECT 'agent', k.id, k.hash, ARRAY(SELECT jsonb_array_elements_text(k.scopes)), k.expires_at,
            t.id, t.slug::text, t.tier::text, a.id, a.slug::text, g.id, g.slug::text, a.default_pack::text, false
        FROM public.identity_agenttoken k
        JOIN public.identity_agent a ON a.id = k.agent_id JOIN public.identity_tenant t ON t.id = k.tenant_id
        LEFT JOIN public.identity_team g ON g.id = a.team_id
        WHERE k.prefix = sought AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
            AND a.status = 'active' AND t.status = 'active';
        IF FOUND THEN
            RETURN;
        END IF;
        RETURN QUERY SELECT 'user', k.id, k.hash, ARRAY(SELECT jsonb_array_elements_text(k.scopes)), k.expires_at,
            t.id, t.slug::text, t.tier::text, u.id, u.email::text, NULL::uuid, NULL::text, '', u.service_of_id IS NOT NULL
        FROM public.identity_apitoken k
        JOIN public.identity_user u ON u.id = k.user_id JOIN public.identity_tenant t ON t.id = k.tenant_id
        WHERE k.prefix = sought AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
            AND u.is_active AND t.status = 'active';
    END $$;
    """,
    # When tokens were last used. Another process that is just writing the same token knows it as well; nobody waits for anybody.
    "identity_tokens_used(ids uuid[], times timestamptz[])": f"""
    RETURNS void {PINNED} AS $$
    BEGIN
        UPDATE public.identity_agenttoken k SET last_used_at = used.at FROM (
            SELECT t.id, sent.at FROM public.identity_agenttoken t JOIN unnest(ids, times) AS sent (id, at) USING (id)
            ORDER BY t.id FOR UPDATE OF t SKIP LOCKED
        ) used WHERE k.id = used.id;
        UPDATE public.identity_apitoken k SET last_used_at = used.at FROM (
            SELECT t.id, sent.at FROM public.identity_apitoken t JOIN unnest(ids, times) AS sent (id, at) USING (id)
            ORDER BY t.id FOR UPDATE OF t SKIP LOCKED
        ) used WHERE k.id = used.id;
    END $$;
    """,
    # The active tenants in which a person holds a role, or is in a group, now: what they may choose from.
    "identity_tenants_of(person uuid)": f"""
    RETURNS TABLE (id uuid, slug text, name text, tier text) STABLE {PINNED} AS $$
    BEGIN
        RETURN QUERY SELECT t.id, t.slug::text, t.name::text, t.tier::text FROM public.identity_tenant t
        WHERE t.status = 'active' AND (
            EXISTS (SELECT 1 FROM public.identity_membership m WHERE m.tenant_id = t.id AND m.user_id = person AND {HELD})
            OR EXISTS (SELECT 1 FROM public.identity_groupmember m WHERE m.tenant_id = t.id AND m.user_id = person AND {HELD}))
        ORDER BY t.slug;
    END $$;
    """,
    # Whether a person has roles in this tenant and in no other, past ones included.
    "identity_only_in(person uuid, place uuid)": f"""
    RETURNS boolean STABLE {PINNED} AS $$
    BEGIN
        RETURN coalesce((SELECT bool_and(m.tenant_id = place) FROM public.identity_membership m WHERE m.user_id = person), false);
    END $$;
    """,
    "identity_tenant_by_slug(sought text)": f"""
    RETURNS TABLE (id uuid, slug text, name text, tier text, status text) STABLE {PINNED} AS $$
    BEGIN
        RETURN QUERY SELECT t.id, t.slug::text, t.name::text, t.tier::text, t.status::text FROM public.identity_tenant t
        WHERE t.slug = sought AND t.status <> 'deleted';
    END $$;
    """,
    # The tenant of a provider by which one may sign in.
    "identity_provider_tenant(sought text)": f"""
    RETURNS uuid STABLE {PINNED} AS $$
    BEGIN
        RETURN (SELECT p.tenant_id FROM public.identity_oidcprovider p JOIN public.identity_tenant t ON t.id = p.tenant_id
            WHERE p.slug = sought AND p.enabled AND t.status = 'active');
    END $$;
    """,
    # The buttons of the sign-in page.
    "identity_sign_in_choices()": f"""
    RETURNS TABLE (slug text, name text) STABLE {PINNED} AS $$
    BEGIN
        RETURN QUERY SELECT p.slug::text, p.name::text FROM public.identity_oidcprovider p
        JOIN public.identity_tenant t ON t.id = p.tenant_id WHERE p.enabled AND t.status = 'active' ORDER BY p.name, p.slug;
    END $$;
    """,
    # The person of a session.
    "identity_person(person uuid)": f"""
    RETURNS SETOF public.identity_user STABLE {PINNED} AS $$
    BEGIN
        RETURN QUERY SELECT u.* FROM public.identity_user u WHERE u.id = person AND u.is_active;
    END $$;
    """,
    # The person who signs in by e-mail address and password.
    "identity_person_to_sign_in(address text)": f"""
    RETURNS SETOF public.identity_user STABLE {PINNED} AS $$
    BEGIN
        RETURN QUERY SELECT u.* FROM public.identity_user u WHERE u.email = address;
    END $$;
    """,
    "identity_person_at(address text)": f"""
    RETURNS uuid STABLE {PINNED} AS $$
    BEGIN
        RETURN (SELECT u.id FROM public.identity_user u WHERE u.email = address);
    END $$;
    """,
    "identity_person_of(provider text, known_as text)": f"""
    RETURNS uuid STABLE {PINNED} AS $$
    BEGIN
        RETURN (SELECT u.id FROM public.identity_user u WHERE u.issuer = provider AND u.subject = known_as);
    END $$;
    """,
    "identity_signed_in(person uuid)": f"""
    RETURNS void {PINNED} AS $$
    BEGIN
        UPDATE public.identity_user u SET last_login = now() WHERE u.id = person;
    END $$;
    """,
    # What a process has not heard yet: the newest generation, the oldest that is kept minus one, and each change since.
    "core_changes(since bigint)": f"""
    RETURNS TABLE (last bigint, floor bigint, generation bigint, topic text, tenant_id uuid) STABLE {PINNED} AS $$
    BEGIN
        RETURN QUERY SELECT c.value, (SELECT coalesce(min(k.generation) - 1, c.value) FROM public.core_change k),
            g.generation, g.topic::text, g.tenant_id
        FROM public.core_changecounter c LEFT JOIN public.core_change g ON g.generation > since ORDER BY g.generation;
    END $$;
    """,
    # The counter's lock, taken last in a transaction, makes generations appear in the order of commits.
    "core_note_changes(topics text[], tenants uuid[])": f"""
    RETURNS void {PINNED} AS $$
    DECLARE
        newest bigint;
    BEGIN
        UPDATE public.core_changecounter c SET value = c.value + cardinality(topics) RETURNING c.value INTO newest;
        INSERT INTO public.core_change (generation, topic, tenant_id, created_at)
        SELECT newest - cardinality(topics) + sent.place, sent.topic, sent.tenant, now()
        FROM unnest(topics, tenants) WITH ORDINALITY AS sent (topic, tenant, place);
        PERFORM pg_notify('mc_changes', '');
    END $$;
    """,
    # Changes that every live process has long applied; how many went. The newest stays: it tells a process how far behind it is.
    "core_forget_changes(before timestamptz)": f"""
    RETURNS bigint {PINNED} AS $$
    DECLARE
        gone bigint;
    BEGIN
        DELETE FROM public.core_change g WHERE g.created_at < least(before, now() - interval '10 minutes')
            AND g.generation < (SELECT max(k.generation) FROM public.core_change k);
        GET DIAGNOSTICS gone = ROW_COUNT;
        RETURN gone;
    END $$;
    """,
}


class Migration(migrations.Migration):
    dependencies = [("core", "0004_across_tenants"), ("identity", "0004_row_security_users")]

    operations = [
        migrations.RunSQL(tenant_policy("core_change"), migrations.RunSQL.noop),
        *(migrations.RunSQL(f"CREATE FUNCTION {name} {body}", migrations.RunSQL.noop) for name, body in FUNCTIONS.items()),
    ]
