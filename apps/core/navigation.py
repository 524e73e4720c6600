"""The admin's sidebar and the tenant switch. Rooms add their links here by name, since core stands below them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.contrib.admin import site
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse, reverse_lazy
from django.utils.http import urlencode


def _link(title: str, icon: str, model: str) -> dict[str, Any]:
    app, _, name = model.rpartition("_")

    def permission(request: HttpRequest) -> bool:
        """Whether its page opens for the person."""
        return bool(site._registry[apps.get_model(app, name)].has_module_permission(request))

    return {"title": title, "icon": icon, "link": reverse_lazy(f"admin:{model}_changelist"), "permission": permission}


_counts: dict[str, Callable[[HttpRequest], int]] = {}


def count_at(model: str, count: Callable[[HttpRequest], int]) -> None:
    """Has the link to this model's list say how many of its rows need the person; none says nothing."""
    _counts[model] = count


def may_answer(request: HttpRequest) -> bool:
    """Whether there may ever be something in the person's inbox."""
    page = next((found for model, found in site._registry.items() if model._meta.label == "promotions.Awaited"), None)
    return bool(page and page.has_module_permission(request))


def subheader(request: HttpRequest) -> str:
    """Where one is: the tenant, since everything on a page is about it."""
    tenant = getattr(request, "tenant", None)
    return f"in {tenant.name}" if tenant else "Prompts, context and policies"


def stylesheet(request: HttpRequest) -> str:
    return static("src/mission.css")


def favicon(request: HttpRequest) -> str:
    return static("src/favicon.svg")


def script(request: HttpRequest) -> str:
    return static("src/mission.js")


def _counted(request: HttpRequest, link: dict[str, Any], model: str) -> dict[str, Any]:
    """The link with how many rows need the person, if any do."""
    waiting = _counts[model](request) if model in _counts and link["permission"](request) else 0
    return {**link, "badge": str(waiting), "badge_variant": "primary"} if waiting else link


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    inbox = {**_link("Waiting for me", "inbox", "promotions_awaited"), "permission": may_answer}
    return [
        {"items": [{"title": "Now", "icon": "today", "link": reverse_lazy("admin:index")}]},
        {
            "title": "Packs",
            "separator": True,
            "items": [
                _link("Packs", "inventory_2", "packs_pack"),
                _link("Layers", "layers", "packs_layer"),
                _link("Versions", "history", "packs_packversion"),
                _link("Pointer changes", "swap_horiz", "packs_pointerchange"),
                _link("Subscriptions", "bookmark", "packs_subscription"),
            ],
        },
        {
            "title": "Decisions",
            "separator": True,
            "items": [
                _counted(request, inbox, "promotions_awaited"),
                _link("Promotions", "rocket_launch", "promotions_promotion"),
                _link("Approvals", "how_to_reg", "promotions_approval"),
                _link("Decisions", "gavel", "promotions_decision"),
            ],
        },
        {
            "title": "Evaluation",
            "separator": True,
            "items": [
                _link("Evaluation sets", "checklist", "evals_evalset"),
                _link("Cases", "quiz", "evals_evalcase"),
                _link("Evaluation runs", "science", "evals_evalrun"),
                _link("Items", "assignment", "evals_evalitem"),
                _link("Results", "grading", "evals_evalresult"),
            ],
        },
        {
            "title": "Telemetry",
            "separator": True,
            "items": [
                _link("Runs", "monitoring", "telemetry_run"),
                _link("Events", "timeline", "telemetry_event"),
                {**_link("Orchestrations", "account_tree", "telemetry_run"), "link": reverse_lazy("orchestrations")},
                {**_link("Figures", "bar_chart", "telemetry_run"), "link": reverse_lazy("figures")},
                _link("Scores", "score", "telemetry_runscore"),
                _link("Producers", "sensors", "telemetry_producer"),
                _link("Model health", "monitor_heart", "telemetry_modelhealth"),
                _link("Exports", "download", "telemetry_export"),
                _link("Prices", "payments", "telemetry_price"),
                _link("Archives", "archive", "telemetry_archive"),
                _link("Retention", "auto_delete", "telemetry_retentionpolicy"),
                _link("Erasures", "person_remove", "telemetry_erasure"),
                _link("Redaction policy", "privacy_tip", "telemetry_redactionpolicy"),
                _link("Redaction patterns", "rule", "telemetry_redactionpattern"),
            ],
        },
        {
            "title": "Fleet",
            "separator": True,
            "items": [
                _link("Harnesses", "dns", "fleet_harness"),
                _link("Commands", "settings_remote", "fleet_command"),
                _counted(request, _link("Action requests", "front_hand", "fleet_actionrequest"), "fleet_actionrequest"),
            ],
        },
        {
            "title": "Notices",
            "separator": True,
            "items": [
                _link("Notices", "notifications", "notices_notice"),
                _link("Deliveries", "outgoing_mail", "notices_delivery"),
                _link("Webhooks", "webhook", "notices_webhook"),
            ],
        },
        {
            "title": "Organisation",
            "separator": True,
            "items": [
                _link("Agents", "smart_toy", "identity_agent"),
                _link("Teams", "groups", "identity_team"),
                _link("Members", "badge", "identity_membership"),
                _link("People", "person", "identity_user"),
                _link("Delegations", "swap_horiz", "identity_delegation"),
                _link("Groups", "group", "identity_tenantgroup"),
                {"title": "Effective access", "icon": "policy", "link": reverse_lazy("effective_access")},
                _link("Sign-in providers", "passkey", "identity_oidcprovider"),
                _link("Group roles", "group_work", "identity_grouprole"),
                _link("Agent tokens", "key", "identity_agenttoken"),
                _link("API tokens", "vpn_key", "identity_apitoken"),
                _link("Tenants", "domain", "identity_tenant"),
                _link("Organisations", "corporate_fare", "identity_organisation"),
                _link("Schedule", "schedule", "django_celery_beat_periodictask"),
                _link("Audit log", "receipt_long", "audit_event"),
            ],
        },
    ]


def tenants(request: HttpRequest) -> list[dict[str, Any]]:
    """The tenants a person may work in; the present one is marked."""
    present = getattr(request, "tenant", None)
    return [
        {
            "title": f"{tenant.name}{' (here)' if present and tenant.pk == present.pk else ''}",
            "icon": "check" if present and tenant.pk == present.pk else "domain",
            "link": f"{reverse('choose_tenant')}?{urlencode({'tenant': tenant.pk})}",
        }
        for tenant in getattr(request, "tenants", [])
    ]
