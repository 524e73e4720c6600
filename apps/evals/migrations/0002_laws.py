"""What must always hold of evidence, held by the database: it is never changed, and refers to its own tenant's rows or shared ones."""

from django.db import migrations

from apps.core.sql import append_only, refuse_update

RUN = [
    "id",
    "tenant_id",
    "layer_id",
    "version_id",
    "eval_set_id",
    "paired_with_id",
    "runner",
    "repeats",
    "prefix_digest",
    "rubric",
    "total",
]
ITEM = ["id", "tenant_id", "eval_run_id", "case_id", "repeat"]

REFERENCES = """
CREATE FUNCTION evals_own_or_shared() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    platform uuid := '00000000-0000-7000-8000-000000000001';
    own boolean;
BEGIN
    IF TG_TABLE_NAME = 'evals_evalset' THEN
        SELECT p.tenant_id IN (NEW.tenant_id, platform) INTO own FROM packs_pack p WHERE p.id = NEW.pack_id;
    ELSIF TG_TABLE_NAME = 'evals_evalcase' THEN
        SELECT s.tenant_id = NEW.tenant_id INTO own FROM evals_evalset s WHERE s.id = NEW.eval_set_id;
    ELSIF TG_TABLE_NAME = 'evals_evalrun' THEN
        SELECT l.tenant_id = NEW.tenant_id AND s.tenant_id IN (NEW.tenant_id, platform) AND s.pack_id = l.pack_id INTO own
            FROM packs_layer l, evals_evalset s WHERE l.id = NEW.layer_id AND s.id = NEW.eval_set_id;
        own := own AND (NEW.version_id IS NULL OR EXISTS (SELECT 1 FROM packs_packversion v WHERE v.id = NEW.version_id AND v.layer_id = NEW.layer_id));
        own := own AND (NEW.paired_with_id IS NULL OR EXISTS (SELECT 1 FROM evals_evalrun r WHERE r.id = NEW.paired_with_id
            AND r.layer_id = NEW.layer_id AND r.eval_set_id = NEW.eval_set_id));
    ELSIF TG_TABLE_NAME = 'evals_evalitem' THEN
        SELECT r.tenant_id = NEW.tenant_id AND c.eval_set_id = r.eval_set_id INTO own
            FROM evals_evalrun r, evals_evalcase c WHERE r.id = NEW.eval_run_id AND c.id = NEW.case_id;
        own := own AND (NEW.leased_to_id IS NULL OR EXISTS (SELECT 1 FROM identity_agent a WHERE a.id = NEW.leased_to_id AND a.tenant_id = NEW.tenant_id));
    ELSE
        SELECT i.tenant_id = NEW.tenant_id AND i.eval_run_id = NEW.eval_run_id AND i.case_id = NEW.case_id AND i.repeat = NEW.repeat INTO own
            FROM evals_evalitem i WHERE i.id = NEW.item_id;
    END IF;
    IF NOT coalesce(own, false) THEN
        RAISE EXCEPTION '%: refers to a row of another tenant, set or layer', TG_TABLE_NAME USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER evals_set_own_or_shared BEFORE INSERT ON evals_evalset FOR EACH ROW EXECUTE FUNCTION evals_own_or_shared();
CREATE TRIGGER evals_case_own BEFORE INSERT ON evals_evalcase FOR EACH ROW EXECUTE FUNCTION evals_own_or_shared();
CREATE TRIGGER evals_run_own_or_shared BEFORE INSERT ON evals_evalrun FOR EACH ROW EXECUTE FUNCTION evals_own_or_shared();
CREATE TRIGGER evals_item_own BEFORE INSERT OR UPDATE OF leased_to_id ON evals_evalitem FOR EACH ROW EXECUTE FUNCTION evals_own_or_shared();
CREATE TRIGGER evals_result_own BEFORE INSERT ON evals_evalresult FOR EACH ROW EXECUTE FUNCTION evals_own_or_shared();
"""


class Migration(migrations.Migration):
    dependencies = [("evals", "0001_initial"), ("packs", "0002_laws")]

    operations = [
        migrations.RunSQL(append_only("evals_evalresult"), migrations.RunSQL.noop),
        migrations.RunSQL(append_only("evals_evalcase"), migrations.RunSQL.noop),
        migrations.RunSQL(refuse_update("evals_evalrun", RUN), migrations.RunSQL.noop),
        migrations.RunSQL(append_only("evals_evalrun", "DELETE"), migrations.RunSQL.noop),
        migrations.RunSQL(refuse_update("evals_evalitem", ITEM), migrations.RunSQL.noop),
        migrations.RunSQL(append_only("evals_evalitem", "DELETE"), migrations.RunSQL.noop),
        migrations.RunSQL(REFERENCES, migrations.RunSQL.noop),
    ]
