"""History of groups, who is in them, and delegations."""

import apps.core.history
import apps.core.ids
import django.db.models.deletion
import simple_history.models
from django.conf import settings
from django.db import migrations, models

from apps.core.sql import keep_history


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0008_access"),
    ]

    operations = [
        migrations.CreateModel(
            name="HistoricalDelegation",
            fields=[
                ("actor_kind", models.CharField(default=apps.core.history.actor_kind, max_length=10)),
                ("actor_id", models.UUIDField(default=apps.core.history.actor_id, null=True)),
                ("actor_label", models.CharField(blank=True, default=apps.core.history.actor_label, max_length=200)),
                ("channel", models.CharField(blank=True, default=apps.core.history.channel, max_length=10)),
                ("request_id", models.CharField(blank=True, default=apps.core.history.request_id, max_length=64)),
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False)),
                (
                    "role",
                    models.CharField(
                        choices=[("author", "author"), ("operator", "operator"), ("manager", "manager"), ("tenant_admin", "tenant admin")],
                        max_length=20,
                    ),
                ),
                ("until", models.DateTimeField(help_text="The delegation ends at this time.")),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                ("history_id", models.BigAutoField(editable=False, primary_key=True, serialize=False)),
                ("history_date", models.DateTimeField()),
                ("history_type", models.CharField(choices=[("+", "Created"), ("~", "Changed"), ("-", "Deleted")], max_length=1)),
                (
                    "from_user",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "team",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="identity.team",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="identity.tenant",
                    ),
                ),
                (
                    "to_user",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "historical delegation",
                "verbose_name_plural": "historical delegations",
                "ordering": ("-history_id",),
                "get_latest_by": "history_id",
                "indexes": [models.Index(fields=["id", "-history_id"], name="identity_delegation_history")],
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name="HistoricalGroupMember",
            fields=[
                ("actor_kind", models.CharField(default=apps.core.history.actor_kind, max_length=10)),
                ("actor_id", models.UUIDField(default=apps.core.history.actor_id, null=True)),
                ("actor_label", models.CharField(blank=True, default=apps.core.history.actor_label, max_length=200)),
                ("channel", models.CharField(blank=True, default=apps.core.history.channel, max_length=10)),
                ("request_id", models.CharField(blank=True, default=apps.core.history.request_id, max_length=64)),
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False)),
                ("until", models.DateTimeField(blank=True, help_text="The membership ends at this time.", null=True)),
                ("history_id", models.BigAutoField(editable=False, primary_key=True, serialize=False)),
                ("history_date", models.DateTimeField()),
                ("history_type", models.CharField(choices=[("+", "Created"), ("~", "Changed"), ("-", "Deleted")], max_length=1)),
                (
                    "group",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="identity.tenantgroup",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="identity.tenant",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "historical group member",
                "verbose_name_plural": "historical group members",
                "ordering": ("-history_id",),
                "get_latest_by": "history_id",
                "indexes": [models.Index(fields=["id", "-history_id"], name="identity_groupmember_history")],
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name="HistoricalTenantGroup",
            fields=[
                ("actor_kind", models.CharField(default=apps.core.history.actor_kind, max_length=10)),
                ("actor_id", models.UUIDField(default=apps.core.history.actor_id, null=True)),
                ("actor_label", models.CharField(blank=True, default=apps.core.history.actor_label, max_length=200)),
                ("channel", models.CharField(blank=True, default=apps.core.history.channel, max_length=10)),
                ("request_id", models.CharField(blank=True, default=apps.core.history.request_id, max_length=64)),
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False)),
                ("name", models.CharField(max_length=100)),
                ("description", models.CharField(blank=True, max_length=500)),
                ("history_id", models.BigAutoField(editable=False, primary_key=True, serialize=False)),
                ("history_date", models.DateTimeField()),
                ("history_type", models.CharField(choices=[("+", "Created"), ("~", "Changed"), ("-", "Deleted")], max_length=1)),
                (
                    "tenant",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="identity.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "historical group",
                "verbose_name_plural": "historical groups",
                "ordering": ("-history_id",),
                "get_latest_by": "history_id",
                "indexes": [models.Index(fields=["id", "-history_id"], name="identity_tenantgroup_history")],
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.RunSQL(
            [keep_history(f"identity_{name}", f"identity_historical{name}") for name in ("delegation", "groupmember", "tenantgroup")],
            migrations.RunSQL.noop,
        ),
    ]
