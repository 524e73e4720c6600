"""Runs that name a user are that user's content, and so are their events and scores."""

from django.db import migrations

from apps.core.sql import user_policy, user_policy_through

# By all of the key's columns, so that the index of one partition answers.
OF_SCORE = "p.id = telemetry_runscore.id AND p.day = telemetry_runscore.day"
# Who may not read every user's runs sees an event once its run is there to say whose it is.
OF_EVENT = "p.tenant_id = telemetry_event.tenant_id AND p.run_id = telemetry_event.run_id"


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0003_policies")]

    operations = [
        migrations.RunSQL(user_policy("telemetry_run"), migrations.RunSQL.noop),
        migrations.RunSQL(user_policy_through("telemetry_runscore", "telemetry_run", OF_SCORE), migrations.RunSQL.noop),
        migrations.RunSQL(
            user_policy_through("telemetry_event", "telemetry_run", OF_EVENT, unless="run_id IS NULL"), migrations.RunSQL.noop
        ),
    ]
