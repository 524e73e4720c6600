"""History of webhooks."""

import apps.core.history
import apps.core.ids
import django.db.models.deletion
import simple_history.models
from django.db import migrations, models

from apps.core.sql import keep_history


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0009_history_of_access"),
        ("notices", "0002_laws"),
    ]

    operations = [
        migrations.CreateModel(
            name="HistoricalWebhook",
            fields=[
                ("actor_kind", models.CharField(default=apps.core.history.actor_kind, max_length=10)),
                ("actor_id", models.UUIDField(default=apps.core.history.actor_id, null=True)),
                ("actor_label", models.CharField(blank=True, default=apps.core.history.actor_label, max_length=200)),
                ("channel", models.CharField(blank=True, default=apps.core.history.channel, max_length=10)),
                ("request_id", models.CharField(blank=True, default=apps.core.history.request_id, max_length=64)),
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False)),
                ("name", models.CharField(max_length=100)),
                ("events", models.JSONField(default=list)),
                ("previous_until", models.DateTimeField(blank=True, null=True)),
                ("enabled", models.BooleanField(default=True)),
                ("disabled_reason", models.CharField(blank=True, max_length=200)),
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
                "verbose_name": "historical webhook",
                "verbose_name_plural": "historical webhooks",
                "ordering": ("-history_id",),
                "get_latest_by": "history_id",
                "indexes": [models.Index(fields=["id", "-history_id"], name="notices_webhook_history")],
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.RunSQL([keep_history(f"notices_{name}", f"notices_historical{name}") for name in ("webhook",)], migrations.RunSQL.noop),
    ]
