"""History of this room's governed objects."""

import apps.core.history
import apps.core.ids
import django.db.models.deletion
import simple_history.models
from django.conf import settings
from django.db import migrations, models

from apps.core.sql import keep_history, user_policy_through

GOVERNED = ("promotion",)


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0005_history"),
        ("packs", "0005_history"),
        ("promotions", "0004_user_policies"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="HistoricalPromotion",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False)),
                ("actor_kind", models.CharField(default=apps.core.history.actor_kind, max_length=10)),
                ("actor_id", models.UUIDField(default=apps.core.history.actor_id, null=True)),
                ("actor_label", models.CharField(blank=True, default=apps.core.history.actor_label, max_length=200)),
                ("channel", models.CharField(blank=True, default=apps.core.history.channel, max_length=10)),
                ("request_id", models.CharField(blank=True, default=apps.core.history.request_id, max_length=64)),
                ("retire", models.BooleanField(default=False)),
                (
                    "aim",
                    models.CharField(
                        choices=[("improve", "Improve"), ("non_inferior", "Non Inferior"), ("policy", "Policy")],
                        default="improve",
                        max_length=15,
                    ),
                ),
                (
                    "invalid",
                    models.CharField(
                        choices=[("wait", "Wait"), ("suspend", "Suspend")],
                        default="wait",
                        max_length=10,
                        verbose_name="invalid descendants",
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("collecting", "Collecting"),
                            ("blocked", "Blocked"),
                            ("awaiting_approval", "Awaiting Approval"),
                            ("ready", "Ready"),
                            ("running", "Running"),
                            ("held", "Held"),
                            ("promoted", "Promoted"),
                            ("rejected", "Rejected"),
                            ("aborted", "Aborted"),
                            ("rolled_back", "Rolled Back"),
                            ("expired", "Expired"),
                        ],
                        default="collecting",
                        max_length=20,
                    ),
                ),
                ("forced", models.BooleanField(default=False)),
                ("risk_level", models.CharField(blank=True, max_length=10)),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                ("history_id", models.BigAutoField(editable=False, primary_key=True, serialize=False)),
                ("history_date", models.DateTimeField()),
                ("history_type", models.CharField(choices=[("+", "Created"), ("~", "Changed"), ("-", "Deleted")], max_length=1)),
                (
                    "challenger",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="packs.packversion",
                    ),
                ),
                (
                    "champion",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="packs.packversion",
                    ),
                ),
                (
                    "layer",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="packs.layer",
                    ),
                ),
                (
                    "requested_by",
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
                "verbose_name": "historical promotion",
                "verbose_name_plural": "historical promotions",
                "ordering": ("-history_id",),
                "get_latest_by": "history_id",
                "indexes": [models.Index(fields=["id", "-history_id"], name="promotions_promotion_history")],
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.RunSQL(
            [keep_history(f"promotions_{name}", f"promotions_historical{name}") for name in GOVERNED], migrations.RunSQL.noop
        ),
        migrations.RunSQL(
            user_policy_through("promotions_historicalpromotion", "packs_layer", "p.id = promotions_historicalpromotion.layer_id"),
            migrations.RunSQL.noop,
        ),
    ]
