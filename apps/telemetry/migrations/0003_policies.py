"""Row-level security of this room."""

from django.db import migrations

from apps.core.sql import tenant_policy

# Of the partitions nothing is granted to the application: it reaches them through these parents only.
TABLES = (
    *("telemetry_run", "telemetry_event", "telemetry_ledger", "telemetry_runscore"),
    *("telemetry_unscoredbatch", "telemetry_producer"),
)


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0002_storage")]

    operations = [
        migrations.RunSQL(tenant_policy(*TABLES), migrations.RunSQL.noop),
    ]
