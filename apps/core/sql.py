"""SQL that several rooms' migrations use; the names in it are the migrations' own."""

from __future__ import annotations


def refuse_update(table: str, columns: list[str]) -> str:
    """A plain trigger that refuses to change these columns, whoever asks (grants bind the application role only)."""
    changed = " OR ".join(f"NEW.{column} IS DISTINCT FROM OLD.{column}" for column in columns)
    names = ", ".join(columns)
    return f"""
    CREATE FUNCTION {table}_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF {changed} THEN
            RAISE EXCEPTION '{table}: {names} never change' USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER {table}_immutable BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_immutable();
    """


def append_only(table: str, operations: str = "UPDATE OR DELETE") -> str:
    """Triggers that refuse these operations and TRUNCATE. `purge_tenant` (owner) lifts them for its own transaction."""
    return f"""
    CREATE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND current_setting('app.purge', true) = 'on' AND current_user = pg_get_userbyid(
            (SELECT relowner FROM pg_class WHERE oid = TG_RELID)) THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION '{table} is append-only' USING ERRCODE = 'restrict_violation';
    END $$;
    CREATE TRIGGER {table}_append_only BEFORE {operations} ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_append_only();
    CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {table}_append_only();
    """
