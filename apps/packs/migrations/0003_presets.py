"""The shared policy pack whose layers hold the presets of tiers and the autonomy of agents."""

from django.db import migrations

PLATFORM_ID = "00000000-0000-7000-8000-000000000001"
PACK_ID = "00000000-0000-7000-8000-000000000002"


class Migration(migrations.Migration):
    dependencies = [("packs", "0002_laws")]

    operations = [
        migrations.RunSQL(
            f"""
            INSERT INTO packs_pack (id, tenant_id, slug, kind, domain, title, description, visibility, created_at)
            VALUES ('{PACK_ID}', '{PLATFORM_ID}', 'presets', 'policy', '', 'Presets',
                    'What a tenant''s tier and an agent''s autonomy say. Written by the portal when those change.', 'unlisted', now());
            """,
            migrations.RunSQL.noop,
        )
    ]
