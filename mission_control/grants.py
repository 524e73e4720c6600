"""What the application role may do, table by table. A table that is missing here fails `tests/test_grants.py`.

Immutable columns have no UPDATE grant; governed tables have no DELETE and no TRUNCATE.
"""

READ = "SELECT"
APPEND = "SELECT, INSERT"
KEEP = "SELECT, INSERT, UPDATE"
ALL = "SELECT, INSERT, UPDATE, DELETE"


def columns(*names: str) -> str:
    """Read, insert, and update of these columns only."""
    return f"SELECT, INSERT, UPDATE ({', '.join(names)})"


GRANTS: dict[str, str] = {
    # Django's own
    "django_migrations": READ,
    "django_content_type": APPEND,
    "django_session": ALL,
    "django_admin_log": APPEND,
    "auth_permission": READ,
    "auth_group": READ,
    "auth_group_permissions": READ,
    # Scheduler
    "django_celery_beat_periodictask": ALL,
    "django_celery_beat_periodictasks": ALL,
    "django_celery_beat_intervalschedule": ALL,
    "django_celery_beat_crontabschedule": ALL,
    "django_celery_beat_solarschedule": ALL,
    "django_celery_beat_clockedschedule": ALL,
    # Core
    "core_changecounter": "SELECT, UPDATE (value)",
    "core_change": "SELECT, INSERT, DELETE",
    "core_idempotencyrecord": "SELECT, INSERT, DELETE, UPDATE (status, body, body_hash, created_at)",
    # Audit: append only; a head moves on, a text can be erased
    "audit_event": APPEND,
    "audit_eventtext": "SELECT, INSERT, DELETE",
    "audit_head": columns("seq", "hash"),
    # Identity
    "identity_organisation": columns("name"),
    "identity_tenant": columns("name", "tier", "pooling_opt_in", "status"),
    "identity_team": columns("name"),
    "identity_user": columns("name", "password", "last_login", "is_active", "issuer", "subject"),
    "identity_membership": columns("role", "until", "user_ref") + ", DELETE",
    "identity_agent": columns("name", "team_id", "domain", "autonomy", "harness_kind", "model_policy", "default_pack", "status"),
    "identity_agenttoken": columns("last_used_at", "revoked_at", "expires_at", "name"),
    "identity_apitoken": columns("last_used_at", "revoked_at", "expires_at", "name"),
    # Packs
    "packs_pack": columns("title", "description", "visibility"),
    "packs_layer": columns("champion_id", "rollout_id", "challenger_id", "share", "salt", "suspended_by", "flagged_at"),
    "packs_packversion": columns("status", "archived_reason", "quarantined_at"),
    "packs_subscription": columns("pinned_id") + ", DELETE",
    # Evals
    "evals_evalset": columns("title", "description"),
    "evals_evalcase": APPEND,
    "evals_evalrun": columns("state", "total", "done", "completed_at"),
    "evals_evalitem": columns("lease_id", "leased_to_id", "leased_until", "answered_at"),
    "evals_evalresult": APPEND,
    # Promotions
    "promotions_promotion": columns(
        "champion_id", "state", "forced", "risk_level", "risk_reasons", "thresholds", "verdict", "binding", "blast", "evaluated_at", "closed_at"
    ),
    "promotions_approval": columns("voided_at", "voided_reason"),
    "promotions_decision": APPEND,
    # Telemetry
    "telemetry_run": KEEP,
    "telemetry_event": APPEND,
    "telemetry_runstaging": "SELECT, INSERT, DELETE",
    "telemetry_eventstaging": "SELECT, INSERT, DELETE",
    "telemetry_ledger": "SELECT, INSERT, UPDATE (final, body_hash)",
    "telemetry_runscore": APPEND,
    "telemetry_producer": columns("ranges", "last_seq", "last_seen_at"),
}
