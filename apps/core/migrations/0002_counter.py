from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("core", "0001_initial")]

    operations = [migrations.RunSQL("INSERT INTO core_changecounter (id, value) VALUES (1, 0)", migrations.RunSQL.noop)]
