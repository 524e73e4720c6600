"""An evaluation of a user's layer is that user's too."""

from django.db import migrations

from apps.core.sql import user_policy_through


class Migration(migrations.Migration):
    dependencies = [("evals", "0003_policies"), ("packs", "0004_policies")]

    operations = [
        migrations.RunSQL(user_policy_through("evals_evalrun", "packs_layer", "p.id = evals_evalrun.layer_id"), migrations.RunSQL.noop),
        migrations.RunSQL(
            "".join(
                user_policy_through(table, "evals_evalrun", f"p.id = {table}.eval_run_id")
                for table in ("evals_evalitem", "evals_evalresult")
            ),
            migrations.RunSQL.noop,
        ),
    ]
