from django.db import migrations

from apps.core.sql import append_only, refuse_update


class Migration(migrations.Migration):
    dependencies = [("promotions", "0001_initial"), ("packs", "0002_laws")]

    operations = [
        migrations.RunSQL(append_only("promotions_decision"), migrations.RunSQL.noop),
        migrations.RunSQL(append_only("promotions_approval", "DELETE"), migrations.RunSQL.noop),
        migrations.RunSQL(
            refuse_update(
                "promotions_approval",
                ["id", "tenant_id", "promotion_id", "user_id", "roles", "approved", "comment", "binding", "created_at"],
            ),
            migrations.RunSQL.noop,
        ),
    ]
