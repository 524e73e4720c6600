"""Row-level security of this room."""

from django.db import migrations

from apps.core.sql import tenant_policy


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_append_only")]

    operations = [
        migrations.RunSQL(tenant_policy("audit_event", "audit_eventtext", "audit_head"), migrations.RunSQL.noop),
    ]
