"""What the application role may do, table by table. A table that is missing here fails `tests/test_grants.py`.

Immutable columns have no UPDATE grant; governed tables have no DELETE and no TRUNCATE.
"""

READ = "SELECT"
APPEND = "SELECT, INSERT"
ALL = "SELECT, INSERT, UPDATE, DELETE"


def columns(*names: str) -> str:
    """Read, insert, and update of these columns only."""
    return f"SELECT, INSERT, UPDATE ({', '.join(names)})"


# What a later delivery may add to a run that is not final.
RUN_COMPLETED = (
    *(
        "final",
        "user_ref",
        "pack",
        "pack_version",
        "effective_digest",
        "arm",
        "rollout",
        "task_type",
        "root_task_id",
        "task_id",
        "tier",
        "actor",
    ),
    *(
        "provider",
        "model_id",
        "persona",
        "skill",
        "mcp_servers",
        "adapter_kind",
        "status",
        "started_at",
        "ended_at",
        "latency_ms",
        "tokens_in",
    ),
    *(
        "tokens_out",
        "token_delta",
        "cached_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
        "cost_micros",
        "success",
        "error_code",
        "retries",
    ),
    *("format_passed", "approval_passed", "safety_flags", "checks", "input", "output", "metadata", "flags", "redactions"),
)

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
    "identity_oidcprovider": columns("name", "secret_env", "scopes", "groups_claim", "verified_claim", "enabled"),
    # The update is for FOR UPDATE alone.
    "identity_grouprole": columns("created_at") + ", DELETE",
    "identity_agent": columns("name", "team_id", "domain", "autonomy", "harness_kind", "model_policy", "default_pack", "status"),
    "identity_agenttoken": columns("last_used_at", "revoked_at", "expires_at", "name"),
    "identity_apitoken": columns("last_used_at", "revoked_at", "expires_at", "name"),
    # Packs
    "packs_pack": columns("title", "description", "visibility"),
    "packs_layer": columns("champion_id", "rollout_id", "challenger_id", "share", "salt", "suspended_by", "flagged_at"),
    "packs_packversion": columns("status", "archived_reason", "quarantined_at"),
    "packs_pointerchange": APPEND,
    "packs_servedpack": APPEND,
    "packs_subscription": columns("pinned_id") + ", DELETE",
    # Evals
    "evals_evalset": columns("title", "description"),
    "evals_evalcase": APPEND,
    "evals_evalrun": columns("state", "done", "completed_at", "failure"),
    "evals_evalitem": columns("lease_id", "leased_to_id", "leased_until", "answered_at"),
    "evals_evalresult": APPEND,
    # Promotions
    "promotions_promotion": columns(
        "champion_id",
        "state",
        "forced",
        "risk_level",
        "risk_reasons",
        "thresholds",
        "verdict",
        "binding",
        "blast",
        "evaluated_at",
        "closed_at",
    ),
    "promotions_approval": columns("voided_at", "voided_reason"),
    "promotions_decision": APPEND,
    # Telemetry
    "telemetry_run": columns(*RUN_COMPLETED),
    "telemetry_event": APPEND,
    "telemetry_ledger": columns("final", "hashes"),
    "telemetry_runscore": APPEND,
    # The update is for FOR UPDATE alone.
    "telemetry_unscoredbatch": columns("created_at") + ", DELETE",
    "telemetry_producer": columns("ranges", "given_up", "last_seq", "accepted", "duplicates", "rejected", "too_old", "last_seen_at"),
}

# Functions of the owner that act across tenants (`apps/core/migrations/0004_across_tenants.py`) or make storage.
FUNCTIONS = (
    "audit_chains()",
    "telemetry_waiting()",
    "promotions_open()",
    "core_forget_answers(timestamp with time zone)",
    "telemetry_make_partitions(integer)",
)
