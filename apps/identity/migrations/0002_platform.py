"""The tenant `platform` owns the shared library and the scopes above tenant. References stay inside their tenant by trigger."""

from django.db import migrations

PLATFORM_ID = "00000000-0000-7000-8000-000000000001"

SAME_TENANT = """
CREATE FUNCTION identity_same_tenant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.team_id IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM identity_team t WHERE t.id = NEW.team_id AND t.tenant_id = NEW.tenant_id) THEN
        RAISE EXCEPTION 'the team belongs to another tenant' USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER identity_agent_same_tenant BEFORE INSERT OR UPDATE ON identity_agent
    FOR EACH ROW EXECUTE FUNCTION identity_same_tenant();
CREATE TRIGGER identity_membership_same_tenant BEFORE INSERT OR UPDATE ON identity_membership
    FOR EACH ROW EXECUTE FUNCTION identity_same_tenant();
ALTER TABLE identity_agent ADD CONSTRAINT identity_agent_tenant_id_id UNIQUE (tenant_id, id);
ALTER TABLE identity_agenttoken ADD CONSTRAINT identity_agenttoken_same_tenant
    FOREIGN KEY (tenant_id, agent_id) REFERENCES identity_agent (tenant_id, id);
"""


class Migration(migrations.Migration):
    dependencies = [("identity", "0001_initial")]

    operations = [
        migrations.RunSQL(
            f"""
            INSERT INTO identity_organisation (id, slug, name, created_at) VALUES ('{PLATFORM_ID}', 'platform', 'Platform', now());
            INSERT INTO identity_tenant (id, organisation_id, slug, name, tier, pooling_opt_in, status, created_at)
            VALUES ('{PLATFORM_ID}', '{PLATFORM_ID}', 'platform', 'Platform', 'enterprise', false, 'active', now());
            """,
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL(SAME_TENANT, migrations.RunSQL.noop),
    ]
