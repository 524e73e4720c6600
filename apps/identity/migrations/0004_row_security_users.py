"""Row-level security of this room: a tenant's transaction sees its own rows and, of people, those whom it knows.

`platform` sees and manages all tenants, organisations and accounts, not what is in the tenants. Everyone sees the row of `platform` itself: the shared
library's rows refer to it.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import apps.core.ids
from apps.core.sql import tenant_policy

PLATFORM = "'00000000-0000-7000-8000-000000000001'::uuid"
HERE = "NULLIF(current_setting('app.tenant', true), '')::uuid"
AT_PLATFORM = f"{HERE} = {PLATFORM}"
OWN_ORGANISATION = f"EXISTS (SELECT 1 FROM identity_tenant t WHERE t.organisation_id = identity_organisation.id AND t.id = {HERE})"
KNOWN = f"EXISTS (SELECT 1 FROM identity_acquaintance a WHERE a.user_id = identity_user.id AND a.tenant_id = {HERE})"


def policies(table: str, *, read: str, insert: str, update: str, becomes: str = "") -> str:
    """`update` says which rows may be changed, and locked; `becomes` what they may be then, where that is less. Only the owner deletes."""
    return f"""
    ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
    ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
    CREATE POLICY {table}_read ON {table} FOR SELECT USING ({read});
    CREATE POLICY {table}_insert ON {table} FOR INSERT WITH CHECK ({insert});
    CREATE POLICY {table}_update ON {table} FOR UPDATE USING ({update}) WITH CHECK ({becomes or update});
    CREATE POLICY {table}_delete ON {table} FOR DELETE USING (false);
    CREATE POLICY {table}_owner ON {table} TO CURRENT_USER USING (true) WITH CHECK (true);
    """


# A new account is known where it was made; a role or a token makes a person known for good.
ACQUAINTANCE = f"""
CREATE FUNCTION identity_acquaint() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    here uuid;
    person uuid;
BEGIN
    IF TG_TABLE_NAME = 'identity_user' THEN
        here := {HERE};
        person := NEW.id;
    ELSE
        here := NEW.tenant_id;
        person := NEW.user_id;
    END IF;
    IF here IS NOT NULL THEN
        INSERT INTO identity_acquaintance (id, tenant_id, user_id) VALUES (gen_random_uuid(), here, person)
        ON CONFLICT (tenant_id, user_id) DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER identity_user_acquaint AFTER INSERT ON identity_user FOR EACH ROW EXECUTE FUNCTION identity_acquaint();
CREATE TRIGGER identity_membership_acquaint AFTER INSERT ON identity_membership FOR EACH ROW EXECUTE FUNCTION identity_acquaint();
CREATE TRIGGER identity_apitoken_acquaint AFTER INSERT ON identity_apitoken FOR EACH ROW EXECUTE FUNCTION identity_acquaint();
"""
# Whoever a tenant's rows refer to is known there, in every room that there is.
KNOWN_SO_FAR = """
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT k.conrelid::regclass AS place, a.attname FROM pg_constraint k
        JOIN pg_class c ON c.oid = k.conrelid AND NOT c.relispartition
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
        WHERE k.contype = 'f' AND k.confrelid = 'identity_user'::regclass AND k.conrelid <> 'identity_acquaintance'::regclass
        AND EXISTS (SELECT 1 FROM pg_attribute t WHERE t.attrelid = k.conrelid AND t.attname = 'tenant_id' AND NOT t.attisdropped)
    LOOP
        EXECUTE format(
            'INSERT INTO identity_acquaintance (id, tenant_id, user_id) SELECT gen_random_uuid(), tenant_id, %1$I FROM %2$s'
            ' WHERE %1$I IS NOT NULL GROUP BY tenant_id, %1$I ON CONFLICT (tenant_id, user_id) DO NOTHING',
            found.attname, found.place);
    END LOOP;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("identity", "0003_oidc")]

    operations = [
        migrations.CreateModel(
            name="Acquaintance",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
                ("user", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("tenant", "user"), name="identity_acquaintance_once")],
            },
        ),
        migrations.RunSQL(KNOWN_SO_FAR, migrations.RunSQL.noop),
        migrations.RunSQL(ACQUAINTANCE, migrations.RunSQL.noop),
        migrations.RunSQL(
            tenant_policy(
                "identity_team",
                "identity_membership",
                "identity_acquaintance",
                "identity_agent",
                "identity_agenttoken",
                "identity_apitoken",
                "identity_oidcprovider",
                "identity_grouprole",
            ),
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL(
            policies(
                "identity_tenant",
                read=f"id = {HERE} OR {AT_PLATFORM} OR (id = {PLATFORM} AND {HERE} IS NOT NULL)",
                insert=AT_PLATFORM,
                update=f"id = {HERE} OR {AT_PLATFORM}",
            )
            + policies(
                "identity_organisation",
                read=f"{AT_PLATFORM} OR {OWN_ORGANISATION} OR (id = {PLATFORM} AND {HERE} IS NOT NULL)",
                insert=AT_PLATFORM,
                # One's own is locked to be looked at, and then not changed.
                update=f"{AT_PLATFORM} OR {OWN_ORGANISATION}",
                becomes=AT_PLATFORM,
            )
            + policies("identity_user", read=f"{AT_PLATFORM} OR {KNOWN}", insert=f"{HERE} IS NOT NULL", update=f"{AT_PLATFORM} OR {KNOWN}"),
            migrations.RunSQL.noop,
        ),
    ]
