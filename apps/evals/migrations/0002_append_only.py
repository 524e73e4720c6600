from django.db import migrations

from apps.core.sql import append_only


class Migration(migrations.Migration):
    dependencies = [("evals", "0001_initial")]

    operations = [
        migrations.RunSQL(append_only("evals_evalresult"), migrations.RunSQL.noop),
        migrations.RunSQL(append_only("evals_evalcase"), migrations.RunSQL.noop),
    ]
