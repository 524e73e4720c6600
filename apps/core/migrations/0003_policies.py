"""Row-level security of this room."""

from django.db import migrations

from apps.core.sql import tenant_policy


class Migration(migrations.Migration):
    dependencies = [("core", "0002_counter")]

    operations = [
        migrations.RunSQL(tenant_policy("core_idempotencyrecord"), migrations.RunSQL.noop),
    ]
