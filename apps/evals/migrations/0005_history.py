"""History of this room's governed objects."""

import apps.core.history
import apps.core.ids
import django.core.validators
import django.db.models.deletion
import simple_history.models
from django.db import migrations, models

from apps.core.sql import keep_history

GOVERNED = ("evalset",)


class Migration(migrations.Migration):
    dependencies = [
        ("evals", "0004_user_policies"),
        ("identity", "0005_history"),
        ("packs", "0005_history"),
    ]

    operations = [
        migrations.CreateModel(
            name="HistoricalEvalSet",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False)),
                ("actor_kind", models.CharField(default=apps.core.history.actor_kind, max_length=10)),
                ("actor_id", models.UUIDField(default=apps.core.history.actor_id, null=True)),
                ("actor_label", models.CharField(blank=True, default=apps.core.history.actor_label, max_length=200)),
                ("channel", models.CharField(blank=True, default=apps.core.history.channel, max_length=10)),
                ("request_id", models.CharField(blank=True, default=apps.core.history.request_id, max_length=64)),
                (
                    "slug",
                    models.CharField(
                        max_length=63,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$",
                                "1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit.",
                            )
                        ],
                    ),
                ),
                ("title", models.CharField(max_length=200)),
                ("description", models.TextField(blank=True)),
                ("history_id", models.BigAutoField(editable=False, primary_key=True, serialize=False)),
                ("history_date", models.DateTimeField()),
                ("history_type", models.CharField(choices=[("+", "Created"), ("~", "Changed"), ("-", "Deleted")], max_length=1)),
                (
                    "pack",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="packs.pack",
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
                "verbose_name": "historical eval set",
                "verbose_name_plural": "historical eval sets",
                "ordering": ("-history_id",),
                "get_latest_by": "history_id",
                "indexes": [models.Index(fields=["id", "-history_id"], name="evals_evalset_history")],
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.RunSQL([keep_history(f"evals_{name}", f"evals_historical{name}") for name in GOVERNED], migrations.RunSQL.noop),
    ]
