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


def tenant_policy(*tables: str, shared: bool = False) -> str:
    """Row-level security of tables with a `tenant_id`: the transaction's tenant (`app.tenant`) sees and writes its own rows, and sees those
    of `platform` too where they are `shared`. FORCE binds the owner as well; who migrates keeps everything by a policy of its own."""
    own = "tenant_id = NULLIF(current_setting('app.tenant', true), '')::uuid"
    seen = f"{own} OR tenant_id = '00000000-0000-7000-8000-000000000001'" if shared else own
    # A tenant is set wherever shared rows are read: without one there is nothing.
    if shared:
        seen = f"({seen}) AND NULLIF(current_setting('app.tenant', true), '') IS NOT NULL"
    return "".join(
        f"""
    ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
    ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
    CREATE POLICY {table}_read ON {table} FOR SELECT USING ({seen});
    CREATE POLICY {table}_insert ON {table} FOR INSERT WITH CHECK ({own});
    CREATE POLICY {table}_update ON {table} FOR UPDATE USING ({own}) WITH CHECK ({own});
    CREATE POLICY {table}_delete ON {table} FOR DELETE USING ({own});
    CREATE POLICY {table}_owner ON {table} TO CURRENT_USER USING (true) WITH CHECK (true);
    """
        for table in tables
    )


_NAMED = "NULLIF(current_setting('app.user_ref', true), '')"


def user_policy(*tables: str) -> str:
    """Further row security of tables whose `user_ref` names the one user that a row is content of (null: it is the tenant's): such a row is
    there for that user, or where every user's may be read (`app.user_ref`). It restricts whatever other policies allow; the owner, whose
    functions hold the laws, is exempt."""
    return "".join(_restrict(table, f"user_ref IS NULL OR {_NAMED} IN ('*', user_ref)") for table in tables)


def user_policy_through(table: str, parent: str, joined: str, *, unless: str = "") -> str:
    """The same for a row that belongs with one of `parent`, found by `joined` (SQL; the row is `table`, the parent's `p`): who does not see
    that one does not see this one. `unless` is SQL for rows that belong to none."""
    found = f"EXISTS (SELECT 1 FROM {parent} p WHERE {joined})"
    return _restrict(table, f"coalesce({_NAMED}, '') = '*'{f' OR {unless}' if unless else ''} OR {found}")


def _restrict(table: str, condition: str) -> str:
    quoted = condition.replace("'", "''")
    return f"""
    DO $do$ BEGIN EXECUTE format(
        'CREATE POLICY {table}_user ON {table} AS RESTRICTIVE USING ({quoted} OR current_user = %1$L)'
        ' WITH CHECK ({quoted} OR current_user = %1$L)', current_user);
    END $do$;
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


def keep_history(table: str, history: str, *, tenant: str | None = "tenant_id") -> str:
    """What every table of history needs besides its columns: it begins with the objects as they are now, and only grows. `tenant` names
    the column of whose rows they are, for the policies; None where they are nobody's."""
    begin = f"""
    DO $$
    DECLARE kept text := (
        SELECT string_agg(quote_ident(column_name), ', ')
        FROM information_schema.columns h JOIN information_schema.columns t USING (table_schema, column_name)
        WHERE table_schema = 'public' AND h.table_name = '{history}' AND t.table_name = '{table}');
    BEGIN
        EXECUTE format('INSERT INTO {history} (%1$s, actor_kind, actor_label, channel, request_id, history_date, history_type)
            SELECT %1$s, ''outside'', '''', '''', '''', now(), ''~'' FROM {table}', kept);
    END $$;
    """
    if tenant is None:
        return begin + append_only(history)
    policy = tenant_policy(history) if tenant == "tenant_id" else ""
    return f"{begin} ALTER TABLE {history} ALTER COLUMN {tenant} SET NOT NULL; {policy} {append_only(history)}"
