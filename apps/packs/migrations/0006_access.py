"""What is granted on packs: the tenant's own, and for its own layers those of the shared library."""

import apps.core.ids
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from apps.core.sql import refuse_update, tenant_policy

SAME_TENANT = """
ALTER TABLE packs_packgrouppermission ADD CONSTRAINT packs_packgrant_groups_tenant
    FOREIGN KEY (tenant_id, group_id) REFERENCES identity_tenantgroup (tenant_id, group_id);
CREATE FUNCTION packs_grant_own_or_shared() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM packs_pack p WHERE p.id = NEW.content_object_id
        AND p.tenant_id IN (NEW.tenant_id, '00000000-0000-7000-8000-000000000001')) THEN
        RAISE EXCEPTION 'the pack belongs to another tenant' USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER packs_grant_own_or_shared BEFORE INSERT ON packs_packgrouppermission
    FOR EACH ROW EXECUTE FUNCTION packs_grant_own_or_shared();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("identity", "0008_access"),
        ("packs", "0005_history"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="pack",
            options={
                "ordering": ["slug"],
                "permissions": [
                    ("view", "Can view"),
                    ("author", "Can author"),
                    ("evaluate", "Can evaluate"),
                    ("request_promotion", "Can request promotion"),
                    ("approve", "Can approve"),
                    ("promote", "Can promote"),
                    ("force", "Can force"),
                    ("suspend", "Can suspend"),
                    ("roll_back", "Can roll back"),
                    ("distribute", "Can distribute"),
                    ("adopt", "Can adopt"),
                    ("audit", "Can audit"),
                    ("export", "Can export"),
                ],
            },
        ),
        migrations.CreateModel(
            name="PackGroupPermission",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("until", models.DateTimeField(blank=True, help_text="The grant ends at this time.", null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("content_object", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="grants", to="packs.pack")),
                (
                    "granted_by",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                ("group", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="auth.group")),
                ("permission", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="auth.permission")),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
            ],
            options={
                "verbose_name": "grant on a pack",
                "verbose_name_plural": "grants on packs",
                "ordering": ["-id"],
                "abstract": False,
                "indexes": [
                    models.Index(
                        fields=["tenant", "permission", "-content_object"], include=("group", "until"), name="packs_packgrant_page"
                    )
                ],
                "unique_together": {("group", "permission", "content_object")},
            },
        ),
        migrations.AddIndex(model_name="pack", index=models.Index(fields=["slug"], name="packs_pack_by_slug")),
        migrations.RunSQL(SAME_TENANT, migrations.RunSQL.noop),
        migrations.RunSQL(tenant_policy("packs_packgrouppermission"), migrations.RunSQL.noop),
        migrations.RunSQL(
            refuse_update("packs_packgrouppermission", ["tenant_id", "group_id", "permission_id", "content_object_id"]),
            migrations.RunSQL.noop,
        ),
    ]
