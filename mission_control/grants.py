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
    # One row for each group of a tenant, named by its id.
    "auth_group": "SELECT, INSERT, DELETE",
    "auth_group_permissions": READ,
    # Guardian's generic tables stay empty: grants are in the tables of their containers.
    "guardian_groupobjectpermission": READ,
    "guardian_userobjectpermission": READ,
    # Scheduler
    "django_celery_beat_periodictask": ALL,
    "django_celery_beat_periodictasks": ALL,
    "django_celery_beat_intervalschedule": ALL,
    "django_celery_beat_crontabschedule": ALL,
    "django_celery_beat_solarschedule": ALL,
    "django_celery_beat_clockedschedule": ALL,
    # Wrong passwords of late; the logs that axes can keep besides are switched off
    "axes_accessattempt": ALL,
    "axes_accessattemptexpiration": ALL,
    "axes_accesslog": READ,
    "axes_accessfailurelog": READ,
    # Core
    "core_changecounter": READ,
    "core_change": READ,
    "core_idempotencyrecord": "SELECT, INSERT, DELETE, UPDATE (status, body, body_hash, created_at)",
    # Audit: append only; a head moves on, a text can be erased
    "audit_event": APPEND,
    "audit_eventtext": "SELECT, INSERT, DELETE",
    "audit_head": columns("seq", "hash"),
    "audit_exportedhead": columns("store", "seq", "hash", "at"),
    # Identity
    "identity_organisation": columns("name"),
    "identity_tenant": columns("name", "tier", "pooling_opt_in", "status"),
    "identity_team": columns("name"),
    "identity_user": columns("name", "password", "is_active", "issuer", "subject"),
    "identity_membership": columns("role", "until", "user_ref") + ", DELETE",
    "identity_acquaintance": APPEND,
    "identity_delegation": columns("revoked_at"),
    "identity_oidcprovider": columns("name", "secret_env", "scopes", "groups_claim", "verified_claim", "enabled"),
    # The update is for FOR UPDATE alone.
    "identity_grouprole": columns("created_at") + ", DELETE",
    "identity_tenantgroup": columns("name", "description") + ", DELETE",
    "identity_groupmember": columns("until") + ", DELETE",
    "identity_teamgrouppermission": columns("until", "granted_by_id") + ", DELETE",
    "identity_agentgrouppermission": columns("until", "granted_by_id") + ", DELETE",
    "identity_agent": columns("name", "team_id", "domain", "autonomy", "harness_kind", "model_policy", "default_pack", "status"),
    "identity_agenttoken": columns("revoked_at", "expires_at", "name", "successor_id"),
    "identity_apitoken": columns("revoked_at", "expires_at", "name", "successor_id"),
    # Notices
    "notices_webhook": columns(
        "name", "url", "events", "secret", "previous_secret", "previous_until", "enabled", "disabled_reason", "updated_at"
    ),
    "notices_notice": columns("spread_at"),
    "notices_delivery": columns("state", "attempts", "next_attempt_at", "last_status", "last_error", "sent_at"),
    "notices_noticepreference": columns("email"),
    # Packs
    "packs_pack": columns("title", "description", "visibility"),
    "packs_layer": columns("champion_id", "rollout_id", "challenger_id", "share", "salt", "suspended_by", "flagged_at"),
    "packs_packversion": columns("status", "archived_reason", "quarantined_at"),
    "packs_pointerchange": APPEND,
    "packs_servedpack": APPEND,
    "packs_packgrouppermission": columns("until", "granted_by_id") + ", DELETE",
    "packs_subscription": columns("pinned_id") + ", DELETE",
    # Fleet
    "fleet_harness": columns("status", "ttl_s", "last_seen_at", "stale", "flags"),
    "fleet_serving": columns("digest", "since", "traced") + ", DELETE",
    "fleet_command": APPEND,
    "fleet_delivery": columns("state", "handed_out", "delivered_at", "closed_at", "superseded_by_id"),
    "fleet_actionrequest": columns("state", "decided_by_id", "decided_at", "comment", "used_at"),
    "fleet_suggestion": APPEND,
    # Evals
    "evals_evalset": columns("title", "description"),
    "evals_evalsetgrouppermission": columns("until", "granted_by_id") + ", DELETE",
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
        "awaiting_since",
        "closed_at",
        "expired_because",
    ),
    "promotions_approval": columns("voided_at", "voided_reason"),
    "promotions_approvalreminder": APPEND,
    "promotions_decision": APPEND,
    # Telemetry
    "telemetry_run": columns(*RUN_COMPLETED),
    # What is known once the rest of a trace has come.
    "telemetry_event": columns("run_id", "tier", "flags"),
    "telemetry_ledger": columns("final", "hashes"),
    "telemetry_runscore": APPEND,
    # The update is for FOR UPDATE alone.
    "telemetry_unscoredbatch": columns("created_at") + ", DELETE",
    "telemetry_producer": columns(
        *(
            "ranges",
            "given_up",
            "missing",
            "last_seq",
            "accepted",
            "duplicates",
            "rejected",
            "too_old",
            "skew_ms",
            "skew_at",
            "last_seen_at",
        )
    ),
    # Only one that is not in force yet can be taken back (a trigger).
    "telemetry_price": "SELECT, INSERT, DELETE",
    "telemetry_redactionpolicy": columns("redact_email", "redact_phone", "store_content", "updated_at"),
    "telemetry_redactionpattern": columns("name", "pattern", "enabled", "updated_at"),
    "telemetry_opentraces": columns("due_at") + ", DELETE",
    "telemetry_export": columns(
        *("state", "rows_done", "size_bytes", "parts", "position", "attempt", "beat_at", "error", "started_at", "finished_at", "expires_at")
    )
    + ", DELETE",
    "telemetry_unrolledbatch": columns("created_at") + ", DELETE",
    "telemetry_rollup": columns(
        *("runs", "successes", "failures", "tokens_in", "tokens_out", "cost_micros", "cost_count", "latency_sum", "latency_count"),
        *("latencies", "score_sum", "score_count", "users", "marks"),
    ),
    "telemetry_facetcount": columns("count"),
    "telemetry_posting": columns("first_day", "last_day", "ids"),
    "telemetry_modelhealth": columns(
        *("total_calls", "success_calls", "failed_calls", "avg_latency_ms", "avg_cost_micros", "quality_score"),
        *("last_error", "last_error_at", "last_used_at", "updated_at"),
    ),
    "telemetry_retentionpolicy": columns("hot_days", "archive_days", "updated_at"),
    "telemetry_archive": columns(
        *("generation", "state", "rows", "bytes", "first_at", "last_at", "marks", "manifest", "manifest_sha256", "error", "unswept"),
        *("verified_at", "checked_at", "dropped_at", "restored_until"),
    ),
    "telemetry_archivepart": columns(
        *("generation", "upto_id", "path", "rows", "bytes", "sha256", "mark", "first_at", "last_at", "verified_at", "restored_at")
    )
    + ", DELETE",
    "telemetry_erasure": columns(*("subject", "state", "phase", "upto", "runs", "read", "hot_rows", "archived_rows", "error", "done_at")),
    # History of governed objects: read, and added to
    **dict.fromkeys(
        (
            "identity_historicalorganisation",
            "identity_historicaltenant",
            "identity_historicalteam",
            "identity_historicaluser",
            "identity_historicalmembership",
            "identity_historicaloidcprovider",
            "identity_historicalgrouprole",
            "identity_historicalagent",
            "identity_historicalagenttoken",
            "identity_historicalapitoken",
            "identity_historicaldelegation",
            "identity_historicaltenantgroup",
            "identity_historicalgroupmember",
            "notices_historicalwebhook",
            "packs_historicalpack",
            "packs_historicallayer",
            "packs_historicalpackversion",
            "packs_historicalsubscription",
            "evals_historicalevalset",
            "promotions_historicalpromotion",
            "telemetry_historicalprice",
            "telemetry_historicalredactionpolicy",
            "telemetry_historicalredactionpattern",
            "telemetry_historicalretentionpolicy",
        ),
        APPEND,
    ),
}

# Functions of the owner that act across tenants (`apps/core/migrations/000*_across_tenants.py`), are asked before a tenant is known, or
# make storage.
FUNCTIONS = (
    "audit_chains()",
    "identity_tenants_with(uuid)",
    "telemetry_waiting()",
    "telemetry_unrolled()",
    "telemetry_model_tenants()",
    "telemetry_forget_rollups(timestamp with time zone,timestamp with time zone,timestamp with time zone)",
    "telemetry_forget_postings(timestamp with time zone)",
    "promotions_open()",
    "notices_waiting()",
    "notices_due(timestamp with time zone)",
    "notices_forget(timestamp with time zone)",
    "promotions_waiting()",
    "identity_groups_of(uuid)",
    "core_forget_answers(timestamp with time zone)",
    "core_changes(bigint)",
    "core_note_changes(text[],uuid[])",
    "core_forget_changes(timestamp with time zone)",
    "identity_token(text)",
    "identity_tokens_used(uuid[],timestamp with time zone[])",
    "identity_tenants_of(uuid)",
    "identity_only_in(uuid,uuid)",
    "identity_tenant_by_slug(text)",
    "identity_provider_tenant(text)",
    "identity_sign_in_choices()",
    "identity_person(uuid)",
    "identity_person_to_sign_in(text)",
    "identity_person_at(text)",
    "identity_person_of(text,text)",
    "identity_signed_in(uuid)",
    "telemetry_make_partitions(integer)",
    "telemetry_traces_due(timestamp with time zone)",
    "telemetry_exports()",
    "telemetry_days()",
    "telemetry_release(date,uuid)",
    "telemetry_archive_owners()",
    "telemetry_open_day(date)",
    "telemetry_prune_ledger(integer)",
    "telemetry_erase_day(date,text[],bytea[],bytea[],timestamp with time zone[])",
    "packs_reached_tenants()",
    "packs_reached_agents()",
    "packs_reached_packs(uuid)",
    "packs_reached_layers(uuid)",
    "packs_reached_subscriptions(uuid)",
    "packs_flag_skipped(uuid[])",
    "core_user_ref_of(uuid,uuid)",
    "fleet_expire(timestamp with time zone)",
    "fleet_forget(timestamp with time zone,timestamp with time zone)",
    "fleet_figures()",
    "fleet_reached_harnesses(text)",
)

# Trigger functions that compare a row with other tenants' and so are the owner's: nobody may call them.
LAWS = ("packs_slug_free()", "packs_champion_agrees()", "identity_service_at_home()")
