"""The price table, and what producers' clocks and gaps show."""

import apps.core.history
import apps.core.ids
import django.db.models.deletion
import simple_history.models
from django.db import migrations, models

from apps.core.sql import keep_history, tenant_policy
from apps.identity.domain.platform import PLATFORM_ID
from apps.telemetry.content import price_list

# Numbers missing between the ranges received, and those given up.
COUNT_MISSING = """
UPDATE telemetry_producer p SET missing = p.given_up + (
    SELECT coalesce(sum(r.first - r.before - 1), 0) FROM (
        SELECT (value->>0)::bigint AS first, lag((value->>1)::bigint) OVER (ORDER BY (value->>0)::bigint) AS before
        FROM jsonb_array_elements(p.ranges)
    ) r)
"""

# What runs were priced by stays as it is; a price that is not in force yet may be taken back.
IN_FORCE = """
CREATE FUNCTION telemetry_price_in_force() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND (OLD.effective_from > (now() AT TIME ZONE 'UTC')::date OR (
        current_setting('app.purge', true) = 'on' AND current_user = pg_get_userbyid(
            (SELECT relowner FROM pg_class WHERE oid = TG_RELID)))) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'a price in force never changes; add another with a later date' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER telemetry_price_in_force BEFORE UPDATE OR DELETE ON telemetry_price FOR EACH ROW EXECUTE FUNCTION telemetry_price_in_force();
"""


def load_prices(apps, schema_editor):
    """Everybody's prices, as rows of `platform`; its history begins with them below."""
    price = apps.get_model("telemetry", "Price")
    price.objects.using(schema_editor.connection.alias).bulk_create(price(tenant_id=PLATFORM_ID, **row) for row in price_list())


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0009_history_of_access"),
        ("telemetry", "0004_user_policies"),
    ]

    operations = [
        migrations.AddField(
            model_name="producer",
            name="missing",
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="producer",
            name="skew_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="producer",
            name="skew_ms",
            field=models.BigIntegerField(default=0),
        ),
        migrations.CreateModel(
            name="HistoricalPrice",
            fields=[
                ("actor_kind", models.CharField(default=apps.core.history.actor_kind, max_length=10)),
                ("actor_id", models.UUIDField(default=apps.core.history.actor_id, null=True)),
                ("actor_label", models.CharField(blank=True, default=apps.core.history.actor_label, max_length=200)),
                ("channel", models.CharField(blank=True, default=apps.core.history.channel, max_length=10)),
                ("request_id", models.CharField(blank=True, default=apps.core.history.request_id, max_length=64)),
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False)),
                ("provider", models.CharField(help_text="As harnesses report it, or * for any.", max_length=100)),
                ("model_id", models.CharField(help_text="Exact, or with * at the end for all that begin so.", max_length=200)),
                ("effective_from", models.DateField(help_text="UTC date from which it holds.")),
                ("input_micros", models.BigIntegerField(help_text="Micro-dollars for a million tokens.", verbose_name="input")),
                ("cache_read_micros", models.BigIntegerField(help_text="Micro-dollars for a million tokens.", verbose_name="cache read")),
                ("cache_write_micros", models.BigIntegerField(help_text="Micro-dollars for a million tokens.", verbose_name="cache write")),
                ("output_micros", models.BigIntegerField(help_text="Micro-dollars for a million tokens.", verbose_name="output")),
                ("note", models.CharField(blank=True, max_length=300)),
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
                "verbose_name": "historical price",
                "verbose_name_plural": "historical prices",
                "ordering": ("-history_id",),
                "get_latest_by": "history_id",
                "indexes": [models.Index(fields=["id", "-history_id"], name="telemetry_price_history")],
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name="Price",
            fields=[
                ("id", models.UUIDField(default=apps.core.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("provider", models.CharField(help_text="As harnesses report it, or * for any.", max_length=100)),
                ("model_id", models.CharField(help_text="Exact, or with * at the end for all that begin so.", max_length=200)),
                ("effective_from", models.DateField(help_text="UTC date from which it holds.")),
                ("input_micros", models.BigIntegerField(help_text="Micro-dollars for a million tokens.", verbose_name="input")),
                ("cache_read_micros", models.BigIntegerField(help_text="Micro-dollars for a million tokens.", verbose_name="cache read")),
                ("cache_write_micros", models.BigIntegerField(help_text="Micro-dollars for a million tokens.", verbose_name="cache write")),
                ("output_micros", models.BigIntegerField(help_text="Micro-dollars for a million tokens.", verbose_name="output")),
                ("note", models.CharField(blank=True, max_length=300)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="identity.tenant")),
            ],
            options={
                "ordering": ["provider", "model_id", "-effective_from"],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "provider", "model_id", "effective_from"), name="telemetry_price_once_a_day"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("cache_read_micros__gte", 0),
                            ("cache_write_micros__gte", 0),
                            ("input_micros__gte", 0),
                            ("output_micros__gte", 0),
                        ),
                        name="telemetry_price_not_negative",
                    ),
                ],
            },
        ),
        migrations.RunSQL(COUNT_MISSING, migrations.RunSQL.noop),
        migrations.RunSQL(tenant_policy("telemetry_price", shared=True), migrations.RunSQL.noop),
        migrations.RunSQL(IN_FORCE, migrations.RunSQL.noop),
        migrations.RunPython(load_prices, migrations.RunPython.noop),
        migrations.RunSQL(keep_history("telemetry_price", "telemetry_historicalprice"), migrations.RunSQL.noop),
    ]
