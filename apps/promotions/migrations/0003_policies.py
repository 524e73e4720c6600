"""Row-level security of this room."""

from django.db import migrations

from apps.core.sql import tenant_policy


class Migration(migrations.Migration):
    dependencies = [("promotions", "0002_append_only")]

    operations = [
        migrations.RunSQL(tenant_policy("promotions_promotion", "promotions_approval", "promotions_decision"), migrations.RunSQL.noop),
    ]
