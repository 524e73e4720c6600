from django.db import migrations

from apps.core.sql import append_only


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [
        migrations.RunSQL(append_only("audit_event"), migrations.RunSQL.noop),
        migrations.RunSQL(append_only("audit_eventtext", "UPDATE"), migrations.RunSQL.noop),
    ]
