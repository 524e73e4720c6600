"""What is granted on evaluation sets, the tenant's own."""

import apps.core.ids
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from apps.core.sql import refuse_update, tenant_policy

SAME_TENANT = """
ALTER TABLE evals_evalset ADD CONSTRAINT evals_evalset_tenant_id_id UNIQUE (tenant_id, id);
ALTER TABLE evals_evalsetgrouppermission ADD CONSTRAINT evals_evalsetgrant_groups_tenant
    FOREIGN KEY (tenant_id, group_id) REFERENCES identity_tenantgroup (tenant_id, group_id);
ALTER TABLE evals_evalsetgrouppermission ADD CONSTRAINT evals_evalsetgrant_objects_tenant
    FOREIGN KEY (tenant_id, content_object_id) REFERENCES evals_evalset (tenant_id, id);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("evals", "0005_history"),
        ("identity", "0008_access"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="evalset",
            options={
                "ordering": ["slug"],
                "permissions": [("view", "Can view"), ("evaluate", "Can evaluate"), ("audit", "Can audit"), ("export", "Can export")],
            },
        ),
        migrations.CreateModel(
            name="EvalSetGroupPermission",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("until", models.DateTimeField(blank=True, help_text="The grant ends at this time.", null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "content_object",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="grants", to="evals.evalset"),
                ),
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
                "verbose_name": "grant on an evaluation set",
                "verbose_name_plural": "grants on evaluation sets",
                "ordering": ["-id"],
                "abstract": False,
                "indexes": [
                    models.Index(
                        fields=["tenant", "permission", "-content_object"], include=("group", "until"), name="evals_evalsetgrant_page"
                    )
                ],
                "unique_together": {("group", "permission", "content_object")},
            },
        ),
        migrations.RunSQL(SAME_TENANT, migrations.RunSQL.noop),
        migrations.RunSQL(tenant_policy("evals_evalsetgrouppermission"), migrations.RunSQL.noop),
        migrations.RunSQL(
            refuse_update("evals_evalsetgrouppermission", ["tenant_id", "group_id", "permission_id", "content_object_id"]),
            migrations.RunSQL.noop,
        ),
    ]
