"""What must always hold of packs, held by the database: immutability, one champion, pointers inside their layer, unique slugs."""

from django.db import migrations

from apps.core.sql import append_only, refuse_update

IMMUTABLE = [
    "id",
    "tenant_id",
    "layer_id",
    "number",
    "content",
    "canonical",
    "digest",
    "parent_id",
    "author_kind",
    "notes",
    "created_by_id",
    "created_at",
]

POINTERS = """
ALTER TABLE packs_packversion ADD CONSTRAINT packs_version_layer_id_id UNIQUE (layer_id, id);
ALTER TABLE packs_layer ADD CONSTRAINT packs_layer_champion_own
    FOREIGN KEY (id, champion_id) REFERENCES packs_packversion (layer_id, id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE packs_layer ADD CONSTRAINT packs_layer_challenger_own
    FOREIGN KEY (id, challenger_id) REFERENCES packs_packversion (layer_id, id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE packs_packversion ADD CONSTRAINT packs_version_digest
    CHECK (digest = 'sha256:' || encode(sha256(canonical), 'hex'));
ALTER TABLE packs_packversion ADD CONSTRAINT packs_version_parent_own
    FOREIGN KEY (layer_id, parent_id) REFERENCES packs_packversion (layer_id, id) DEFERRABLE INITIALLY DEFERRED;
"""

# Status and pointer are two sayings of one fact: compared when the transaction ends.
STATUS = """
CREATE FUNCTION packs_champion_agrees() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    layer uuid := CASE TG_TABLE_NAME WHEN 'packs_layer' THEN NEW.id ELSE (to_jsonb(NEW) ->> 'layer_id')::uuid END;
BEGIN
    IF EXISTS (SELECT 1 FROM packs_layer l WHERE l.id = layer AND l.champion_id IS DISTINCT FROM
        (SELECT v.id FROM packs_packversion v WHERE v.layer_id = l.id AND v.status = 'champion')) THEN
        RAISE EXCEPTION 'the champion of a layer and the status of its versions disagree' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER packs_layer_champion_agrees AFTER INSERT OR UPDATE OF champion_id ON packs_layer
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION packs_champion_agrees();
CREATE CONSTRAINT TRIGGER packs_version_champion_agrees AFTER INSERT OR UPDATE OF status ON packs_packversion
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION packs_champion_agrees();
"""

# A slug is unique over the shared library and, for each tenant, over shared and own.
SLUGS = """
CREATE FUNCTION packs_slug_free() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    platform uuid := '00000000-0000-7000-8000-000000000001';
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('packs.slug:' || NEW.slug, 0));
    IF EXISTS (SELECT 1 FROM packs_pack p WHERE p.slug = NEW.slug AND p.id <> NEW.id
        AND (p.tenant_id = NEW.tenant_id OR p.tenant_id = platform OR NEW.tenant_id = platform)) THEN
        RAISE EXCEPTION 'the slug % is taken', NEW.slug USING ERRCODE = 'unique_violation', CONSTRAINT = 'packs_pack_slug';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER packs_slug_free BEFORE INSERT ON packs_pack FOR EACH ROW EXECUTE FUNCTION packs_slug_free();
"""

# A row refers only to its own tenant's rows or to the shared library's.
REFERENCES = """
CREATE FUNCTION packs_own_or_shared() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    platform uuid := '00000000-0000-7000-8000-000000000001';
    own boolean;
BEGIN
    IF TG_TABLE_NAME = 'packs_layer' THEN
        SELECT p.tenant_id IN (NEW.tenant_id, platform) INTO own FROM packs_pack p WHERE p.id = NEW.pack_id;
        own := own AND (NEW.team_id IS NULL OR EXISTS (SELECT 1 FROM identity_team t WHERE t.id = NEW.team_id AND t.tenant_id = NEW.tenant_id));
        own := own AND (NEW.agent_id IS NULL OR EXISTS (SELECT 1 FROM identity_agent a WHERE a.id = NEW.agent_id AND a.tenant_id = NEW.tenant_id));
        own := own AND (NEW.tenant_id = platform OR NEW.scope_type NOT IN ('global', 'segment', 'domain'));
    ELSIF TG_TABLE_NAME = 'packs_packversion' THEN
        SELECT l.tenant_id = NEW.tenant_id INTO own FROM packs_layer l WHERE l.id = NEW.layer_id;
    ELSE
        SELECT p.tenant_id = platform INTO own FROM packs_pack p WHERE p.id = NEW.pack_id;
        own := own AND (NEW.pinned_id IS NULL OR EXISTS (SELECT 1 FROM packs_packversion v JOIN packs_layer l ON l.id = v.layer_id
            WHERE v.id = NEW.pinned_id AND l.pack_id = NEW.pack_id AND l.tenant_id = platform));
    END IF;
    IF NOT coalesce(own, false) THEN
        RAISE EXCEPTION '%: refers to a row of another tenant or of the wrong scope', TG_TABLE_NAME USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER packs_layer_own_or_shared BEFORE INSERT ON packs_layer FOR EACH ROW EXECUTE FUNCTION packs_own_or_shared();
CREATE TRIGGER packs_version_own BEFORE INSERT ON packs_packversion FOR EACH ROW EXECUTE FUNCTION packs_own_or_shared();
CREATE TRIGGER packs_subscription_shared BEFORE INSERT OR UPDATE ON packs_subscription FOR EACH ROW EXECUTE FUNCTION packs_own_or_shared();
"""


class Migration(migrations.Migration):
    dependencies = [("packs", "0001_initial"), ("identity", "0002_platform")]

    operations = [
        migrations.RunSQL(refuse_update("packs_packversion", IMMUTABLE), migrations.RunSQL.noop),
        migrations.RunSQL(append_only("packs_packversion", "DELETE"), migrations.RunSQL.noop),
        migrations.RunSQL(POINTERS, migrations.RunSQL.noop),
        migrations.RunSQL(STATUS, migrations.RunSQL.noop),
        migrations.RunSQL(SLUGS, migrations.RunSQL.noop),
        migrations.RunSQL(REFERENCES, migrations.RunSQL.noop),
    ]
