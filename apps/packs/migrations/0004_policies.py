"""Row-level security of this room: by tenant, and of users' layers by user. The laws that must see every tenant become the owner's."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import StrIndex, Substr

import apps.core.ids
from apps.core.sql import tenant_policy, user_policy, user_policy_through

SHARED = ("packs_pack", "packs_layer", "packs_packversion", "packs_pointerchange")
OF_A_LAYER = ("packs_packversion", "packs_pointerchange")
LAWS = ("packs_slug_free()", "packs_champion_agrees()")

# What was served before belongs to the tenant that its lineage names or, where only shared layers are in it, to each.
SERVED = """
INSERT INTO packs_servedpack (id, tenant_id, digest, pack, lineage, created_at)
SELECT gen_random_uuid(), t.id, b.digest, b.pack, b.lineage, b.created_at FROM packs_servedpack_before b
JOIN identity_tenant t ON coalesce(
    (SELECT split_part(split_part(entry ->> 'scope', ':', 2), '/', 1) FROM jsonb_array_elements(b.lineage) entry
        WHERE split_part(entry ->> 'scope', ':', 1) IN ('tenant', 'team', 'agent', 'user') LIMIT 1), t.slug) = t.slug;
DROP TABLE packs_servedpack_before;
"""


# Asked of the tenant that writes, and of the owner's own sessions: to nobody else does it tell what slugs another tenant has.
SLUGS = """
CREATE OR REPLACE FUNCTION packs_slug_free() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    platform uuid := '00000000-0000-7000-8000-000000000001';
BEGIN
    IF NEW.tenant_id::text IS DISTINCT FROM current_setting('app.tenant', true) AND session_user <> current_user THEN
        RETURN NEW;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('packs.slug:' || NEW.slug, 0));
    IF EXISTS (SELECT 1 FROM packs_pack p WHERE p.slug = NEW.slug AND p.id <> NEW.id
        AND (p.tenant_id = NEW.tenant_id OR p.tenant_id = platform OR NEW.tenant_id = platform)) THEN
        RAISE EXCEPTION 'the slug % is taken', NEW.slug USING ERRCODE = 'unique_violation', CONSTRAINT = 'packs_pack_slug';
    END IF;
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("packs", "0003_presets"), ("identity", "0003_oidc"), ("core", "0006_packs_across_tenants")]

    operations = [
        migrations.RunSQL(
            """
            ALTER TABLE packs_servedpack RENAME TO packs_servedpack_before;
            ALTER TABLE packs_servedpack_before DROP CONSTRAINT packs_servedpack_pkey;
            """,
            migrations.RunSQL.noop,
            state_operations=[migrations.DeleteModel("ServedPack")],
        ),
        migrations.CreateModel(
            name="ServedPack",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("digest", models.CharField(max_length=71)),
                ("pack", models.CharField(max_length=63)),
                ("lineage", models.JSONField()),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=["tenant", "digest"], name="packs_servedpack_once")],
            },
        ),
        migrations.RunSQL(SERVED, migrations.RunSQL.noop),
        migrations.AddField(
            model_name="layer",
            name="user_ref",
            field=models.GeneratedField(
                db_persist=True,
                expression=Case(When(scope_type="user", then=Substr("scope", StrIndex(F("scope"), Value("/")) + 1))),
                output_field=models.CharField(max_length=300, null=True),
            ),
        ),
        migrations.AddConstraint(
            model_name="layer",
            constraint=models.CheckConstraint(condition=~Q(user_ref="*"), name="packs_layer_one_user"),
        ),
        migrations.RunSQL(tenant_policy(*SHARED, shared=True), migrations.RunSQL.noop),
        migrations.RunSQL(tenant_policy("packs_subscription", "packs_servedpack"), migrations.RunSQL.noop),
        migrations.RunSQL(user_policy("packs_layer"), migrations.RunSQL.noop),
        migrations.RunSQL(
            "".join(user_policy_through(table, "packs_layer", f"p.id = {table}.layer_id") for table in OF_A_LAYER),
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL(SLUGS, migrations.RunSQL.noop),
        # A trigger's function needs no right to be run; with the writer's rights it would not see what it must compare.
        migrations.RunSQL(
            "".join(
                f"ALTER FUNCTION {law} SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp;"
                f"REVOKE ALL ON FUNCTION {law} FROM PUBLIC;"
                for law in LAWS
            ),
            migrations.RunSQL.noop,
        ),
    ]
