"""What is asked and decided of a user's layer is that user's too."""

from django.db import migrations

from apps.core.sql import user_policy_through


class Migration(migrations.Migration):
    dependencies = [("promotions", "0003_policies"), ("packs", "0004_policies")]

    operations = [
        migrations.RunSQL(
            "".join(
                user_policy_through(table, "packs_layer", f"p.id = {table}.layer_id")
                for table in ("promotions_promotion", "promotions_decision")
            ),
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL(
            user_policy_through("promotions_approval", "promotions_promotion", "p.id = promotions_approval.promotion_id"),
            migrations.RunSQL.noop,
        ),
    ]
