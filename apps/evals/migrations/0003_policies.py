"""Row-level security of this room."""

from django.db import migrations

from apps.core.sql import tenant_policy

SHARED = ("evals_evalset", "evals_evalcase", "evals_evalrun", "evals_evalitem", "evals_evalresult")


class Migration(migrations.Migration):
    dependencies = [("evals", "0002_laws")]

    operations = [
        migrations.RunSQL(tenant_policy(*SHARED, shared=True), migrations.RunSQL.noop),
    ]
