"""A further kind of notice: an agent asks to use a tool."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("notices", "0003_history"),
    ]

    operations = [
        migrations.AlterField(
            model_name="notice",
            name="kind",
            field=models.CharField(
                choices=[
                    ("promotions.approval_requested", "An approval is wanted"),
                    ("promotions.approval_reminder", "An approval is still wanted"),
                    ("promotions.decided", "A promotion was decided"),
                    ("fleet.action_requested", "An agent asks to use a tool"),
                    ("notices.test", "A test"),
                ],
                max_length=60,
            ),
        ),
        migrations.AlterField(
            model_name="noticepreference",
            name="kind",
            field=models.CharField(
                choices=[
                    ("promotions.approval_requested", "An approval is wanted"),
                    ("promotions.approval_reminder", "An approval is still wanted"),
                    ("promotions.decided", "A promotion was decided"),
                    ("fleet.action_requested", "An agent asks to use a tool"),
                    ("notices.test", "A test"),
                ],
                max_length=60,
            ),
        ),
    ]
