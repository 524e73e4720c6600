"""Groups of a tenant, and what is granted to them on teams and agents. A grant never crosses tenants."""

import apps.core.ids
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from apps.core.sql import refuse_update, tenant_policy

SAME_TENANT = """
ALTER TABLE identity_tenantgroup ADD CONSTRAINT identity_tenantgroup_tenant_id_id UNIQUE (tenant_id, id);
ALTER TABLE identity_tenantgroup ADD CONSTRAINT identity_tenantgroup_tenant_id_group_id UNIQUE (tenant_id, group_id);
ALTER TABLE identity_team ADD CONSTRAINT identity_team_tenant_id_id UNIQUE (tenant_id, id);
ALTER TABLE identity_groupmember ADD CONSTRAINT identity_groupmember_same_tenant
    FOREIGN KEY (tenant_id, group_id) REFERENCES identity_tenantgroup (tenant_id, id);
ALTER TABLE identity_teamgrouppermission ADD CONSTRAINT identity_teamgrant_groups_tenant
    FOREIGN KEY (tenant_id, group_id) REFERENCES identity_tenantgroup (tenant_id, group_id);
ALTER TABLE identity_agentgrouppermission ADD CONSTRAINT identity_agentgrant_groups_tenant
    FOREIGN KEY (tenant_id, group_id) REFERENCES identity_tenantgroup (tenant_id, group_id);
ALTER TABLE identity_teamgrouppermission ADD CONSTRAINT identity_teamgrant_objects_tenant
    FOREIGN KEY (tenant_id, content_object_id) REFERENCES identity_team (tenant_id, id);
ALTER TABLE identity_agentgrouppermission ADD CONSTRAINT identity_agentgrant_objects_tenant
    FOREIGN KEY (tenant_id, content_object_id) REFERENCES identity_agent (tenant_id, id);
CREATE TRIGGER identity_groupmember_service_at_home BEFORE INSERT ON identity_groupmember
    FOR EACH ROW EXECUTE FUNCTION identity_service_at_home();
CREATE TRIGGER identity_groupmember_acquaint AFTER INSERT ON identity_groupmember FOR EACH ROW EXECUTE FUNCTION identity_acquaint();
"""

# In which groups a person is now, of all tenants: asked by sign-in and tokens, before there is a tenant. It gives ids and ends alone.
GROUPS_OF = """
CREATE FUNCTION identity_groups_of(person uuid) RETURNS TABLE (tenant_id uuid, group_id integer, until timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT g.tenant_id, g.group_id, m.until
    FROM public.identity_groupmember m JOIN public.identity_tenantgroup g ON g.id = m.group_id
    JOIN public.identity_tenant t ON t.id = g.tenant_id JOIN public.identity_user u ON u.id = m.user_id
    WHERE m.user_id = person AND u.is_active AND t.status = 'active' AND (m.until IS NULL OR m.until > statement_timestamp());
END $$;
"""
TABLES = ("identity_tenantgroup", "identity_groupmember", "identity_teamgrouppermission", "identity_agentgrouppermission")


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("identity", "0007_delegation"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="agent",
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
                    ("operate", "Can operate"),
                    ("distribute", "Can distribute"),
                    ("reveal", "Can reveal"),
                    ("audit", "Can audit"),
                    ("export", "Can export"),
                ],
            },
        ),
        migrations.AlterModelOptions(
            name="team",
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
                    ("operate", "Can operate"),
                    ("distribute", "Can distribute"),
                    ("reveal", "Can reveal"),
                    ("audit", "Can audit"),
                    ("export", "Can export"),
                ],
            },
        ),
        migrations.CreateModel(
            name="TenantGroup",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=100)),
                ("description", models.CharField(blank=True, max_length=500)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "group",
                    models.OneToOneField(
                        editable=False, on_delete=django.db.models.deletion.PROTECT, related_name="of_tenant", to="auth.group"
                    ),
                ),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
            ],
            options={
                "verbose_name": "group",
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="GroupMember",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("until", models.DateTimeField(blank=True, help_text="The membership ends at this time.", null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="group_memberships", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "group",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="members", to="identity.tenantgroup"),
                ),
            ],
            options={
                "verbose_name": "group member",
                "ordering": ["user__email"],
            },
        ),
        migrations.CreateModel(
            name="AgentGroupPermission",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("until", models.DateTimeField(blank=True, help_text="The grant ends at this time.", null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "content_object",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="grants", to="identity.agent"),
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
                "verbose_name": "grant on an agent",
                "verbose_name_plural": "grants on agents",
                "ordering": ["-id"],
                "abstract": False,
                "indexes": [
                    models.Index(
                        fields=["tenant", "permission", "-content_object"], include=("group", "until"), name="identity_agentgrant_page"
                    )
                ],
                "unique_together": {("group", "permission", "content_object")},
            },
        ),
        migrations.CreateModel(
            name="TeamGroupPermission",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("until", models.DateTimeField(blank=True, help_text="The grant ends at this time.", null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "content_object",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="grants", to="identity.team"),
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
                "verbose_name": "grant on a team",
                "verbose_name_plural": "grants on teams",
                "ordering": ["-id"],
                "abstract": False,
                "indexes": [
                    models.Index(
                        fields=["tenant", "permission", "-content_object"], include=("group", "until"), name="identity_teamgrant_page"
                    )
                ],
                "unique_together": {("group", "permission", "content_object")},
            },
        ),
        migrations.AddConstraint(
            model_name="tenantgroup",
            constraint=models.UniqueConstraint(fields=("tenant", "name"), name="identity_tenantgroup_name"),
        ),
        migrations.AddConstraint(
            model_name="groupmember",
            constraint=models.UniqueConstraint(fields=("group", "user"), name="identity_groupmember_once"),
        ),
        migrations.RunSQL(SAME_TENANT, migrations.RunSQL.noop),
        migrations.RunSQL(tenant_policy(*TABLES), migrations.RunSQL.noop),
        migrations.RunSQL(
            refuse_update("identity_tenantgroup", ["tenant_id", "group_id"])
            + refuse_update("identity_groupmember", ["tenant_id", "group_id", "user_id"])
            + "".join(refuse_update(table, ["tenant_id", "group_id", "permission_id", "content_object_id"]) for table in TABLES[2:]),
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL(GROUPS_OF, migrations.RunSQL.noop),
    ]
