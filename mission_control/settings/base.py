"""Settings shared by every environment. Every name read from the environment stands in `.env.example`."""

from __future__ import annotations

import os
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.urls import reverse_lazy

from mission_control.logs import logging_configuration

BASE_DIR = Path(__file__).resolve().parents[2]


def env(name: str, default: str = "") -> str:
    return os.environ.get(name, default)


def database(url: str) -> dict[str, Any]:
    """A `postgresql://user:password@host:port/name?options` URL as a Django database; a host may be a percent-encoded socket folder."""
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"application_name": "mission_control"},
    }


DATABASE_URL = env("DATABASE_URL", "postgresql:///mission_control")
DATABASE_OWNER_URL = env("DATABASE_OWNER_URL", "postgresql:///mission_control")
REDIS_URL = env("REDIS_URL", "redis://127.0.0.1:6379/0")

DATABASES = {"default": database(DATABASE_URL), "owner": database(DATABASE_OWNER_URL)}
# The owner is another login to the same database, for migrations and maintenance only.
DATABASES["owner"]["TEST"] = {"MIRROR": "default"}
DATABASES["owner"]["CONN_MAX_AGE"] = 0

SECRET_KEY = env("SECRET_KEY")
DEBUG = env("DEBUG") == "1"
ALLOWED_HOSTS = [host for host in env("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",") if host]
CSRF_TRUSTED_ORIGINS = [origin for origin in env("CSRF_TRUSTED_ORIGINS").split(",") if origin]

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django_celery_beat",
    # Before Django's own: its `changepassword` takes the place of theirs.
    "apps.identity",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "django_filters",
    "axes",
    "guardian",
    "simple_history",
    "apps.core",
    "apps.audit",
    "apps.notices",
    "apps.packs",
    "apps.telemetry",
    "apps.fleet",
    "apps.evals",
    "apps.promotions",
    "apps.demo",
]

MIDDLEWARE = [
    "apps.core.headers.SecurityHeadersMiddleware",
    "apps.core.middleware.RequestIdMiddleware",
    # Before whatever makes an address of the host name.
    "apps.core.middleware.HostMiddleware",
    "django.middleware.security.SecurityMiddleware",
    # Harness routes end here: they carry a token, and need neither session nor CSRF nor messages.
    "apps.core.middleware.HarnessMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "apps.identity.oidc.middleware.OidcRefreshMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "apps.core.middleware.AdminContextMiddleware",
]

ROOT_URLCONF = "mission_control.urls"
WSGI_APPLICATION = "mission_control.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_USER_MODEL = "identity.User"
AUTHENTICATION_BACKENDS = [
    "apps.identity.lockout.LimitedBackend",
    "apps.identity.backends.RoleBackend",
    "apps.identity.oidc.backend.OidcBackend",
]
# Of guardian its direct foreign-key tables are used, for groups; what they say is answered in apps/identity/permissions.py alone.
ANONYMOUS_USER_NAME = None
GUARDIAN_MONKEY_PATCH_USER = False
GUARDIAN_MONKEY_PATCH_GROUP = False
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")
# Sign-in by e-mail and password. In production it is the way in when the provider is away, and off until then.
LOCAL_LOGIN = env("LOCAL_LOGIN", "1") == "1"
# Wrong passwords for one account from one address, and how long neither is tried after the last of them. Counted in the database.
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
# Who goes on guessing is not locked any longer for it: somebody else could keep a person out for ever.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_USERNAME_FORM_FIELD = "username"
AXES_USERNAME_CALLABLE = "apps.identity.lockout.account"
AXES_CLIENT_IP_CALLABLE = "apps.identity.lockout.address"
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "csrfmiddlewaretoken"]
# Sign-ins stand in the audit log.
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
# The sign-in form answers for axes itself.
# Neither guardian nor axes answers by a backend of its own: ours stand in their place.
SILENCED_SYSTEM_CHECKS = ["axes.W002", "guardian.W001"]
# Seconds after which a person who signed in by OIDC is confirmed by the provider again (sooner where the id token ends sooner).
OIDC_REFRESH_S = int(env("OIDC_REFRESH_S", "900"))
# Seconds that the provider has for each answer.
OIDC_TIMEOUT_S = float(env("OIDC_TIMEOUT_S", "5"))
# Providers without TLS: for tests on loopback only.
OIDC_ALLOW_HTTP = False

# Where the portal may go when a person or a provider names an address (`apps/core/egress.py`); empty: nowhere.
EGRESS_ALLOWED_HOSTS = [host.strip() for host in env("EGRESS_ALLOWED_HOSTS").split(",") if host.strip()]
# Networks besides the public ones, such as one's own. What is not a network stops the start.
EGRESS_ALLOWED_NETWORKS = [str(ip_network(network.strip())) for network in env("EGRESS_ALLOWED_NETWORKS").split(",") if network.strip()]
# Plain http within those networks: for tests and a workplace.
EGRESS_ALLOW_HTTP = env("EGRESS_ALLOW_HTTP") == "1"
# PEM file of certificate authorities to believe besides the public ones.
EGRESS_CA_FILE = env("EGRESS_CA_FILE")

# Only the server reads these cookies; another site's pages do not send them along with what they post.
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Whether a proxy sets X-Forwarded-Proto and X-Forwarded-For itself.
TRUST_PROXY = env("TRUST_PROXY") == "1"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True
LOCALE_PATHS = [BASE_DIR / "locale"]

STATIC_URL = "static/"
# Where `collectstatic` gathers for production; without it files are served from the apps.
STATIC_ROOT = env("STATIC_ROOT") or None
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATA_UPLOAD_MAX_MEMORY_SIZE = 6 * 1024 * 1024

CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "apps.identity.api.authentication.TokenAuthentication",
        "apps.identity.api.authentication.BrowserSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_SCHEMA_CLASS": "apps.core.api.schema.Schema",
    "DEFAULT_PAGINATION_CLASS": "apps.core.api.paging.CreatedCursorPagination",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    # No OPTIONS: the OpenAPI document says what there is.
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_PARSER_CLASSES": ["apps.core.api.parsers.StrictJSONParser"],
    "EXCEPTION_HANDLER": "apps.core.api.exceptions.handle",
    "PAGE_SIZE": 50,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Mission Control",
    "DESCRIPTION": "The control plane for the prompts, context and policies that AI agents run on.",
    "VERSION": "1",
    # 3.1 takes JSON Schema as it is, which is what the types of the harness routes become.
    "OAS_VERSION": "3.1.0",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "apps.core.api.plain.add_plain_views",
        "apps.core.api.schema.name_refusals",
    ],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "TenantTierEnum": "apps.identity.models.Tier",
        "TenantStatusEnum": "apps.identity.models.TenantStatus",
        "RoleEnum": "apps.identity.api.serializers.ROLES",
        "DelegableRoleEnum": "apps.identity.api.delegations.ROLES",
        "AgentStatusEnum": "apps.identity.models.AgentStatus",
        "VersionStatusEnum": "apps.packs.models.VersionStatus",
        "KindEnum": "apps.packs.models.PackKind",
        "NoticeKindEnum": "apps.notices.models.KINDS",
        "ArchiveStateEnum": "apps.telemetry.models.ArchiveState",
        "ErasureStateEnum": "apps.telemetry.models.Erasure.State",
        "DeliveryStateEnum": "apps.notices.models.DeliveryState",
        "ExportKindEnum": "apps.telemetry.api.exports.KINDS",
        "ExportFormatEnum": "apps.telemetry.api.exports.FORMATS",
        "ExportStateEnum": "apps.telemetry.api.exports.STATES",
        "HarnessStateEnum": "apps.fleet.selectors.harnesses.STATES",
        "CommandStateEnum": "apps.fleet.domain.progress.STATES",
        "CommandDeliveryStateEnum": "apps.fleet.models.commands.STATES",
        "ActionRequestStateEnum": "apps.fleet.models.requests.STATES",
        "ConvergenceStateEnum": "apps.fleet.selectors.convergence.STATES",
    },
}

UNFOLD = {
    "SITE_TITLE": "Mission Control",
    "SITE_HEADER": "Mission Control",
    "SITE_SUBHEADER": "apps.core.navigation.subheader",
    "SITE_SYMBOL": "rocket_launch",
    # The audit log tells an object's history; its page links there.
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "SITE_URL": None,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "apps.core.navigation.favicon"}],
    "STYLES": ["apps.core.navigation.stylesheet"],
    "SCRIPTS": ["apps.core.navigation.script"],
    "DASHBOARD_CALLBACK": "apps.promotions.ui.dashboard.dashboard",
    "SIDEBAR": {"show_search": True, "show_all_applications": False, "navigation": "apps.core.navigation.sidebar"},
    "SITE_DROPDOWN": "apps.core.navigation.tenants",
}

CELERY_BROKER_URL = REDIS_URL
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_TIMEZONE = "UTC"
# An entry that was not taken before the next is due is dropped: tasks never pile up behind a slow worker.
CELERY_BEAT_SCHEDULE = {
    "evals.score_runs": {"task": "evals.score_runs", "schedule": 2.0, "options": {"expires": 4}},
    "promotions.reassess_due": {"task": "promotions.reassess_due", "schedule": 15.0, "options": {"expires": 15}},
    "promotions.tend": {"task": "promotions.tend", "schedule": 60.0, "options": {"expires": 60}},
    "telemetry.make_partitions": {"task": "telemetry.make_partitions", "schedule": 3600.0, "options": {"expires": 3600}},
    "telemetry.settle_traces": {"task": "telemetry.settle_traces", "schedule": 5.0, "options": {"expires": 5}},
    "telemetry.tend_exports": {"task": "telemetry.tend_exports", "schedule": 30.0, "options": {"expires": 30}},
    "telemetry.roll_up": {"task": "telemetry.roll_up", "schedule": 2.0, "options": {"expires": 4}},
    "telemetry.model_health": {"task": "telemetry.model_health", "schedule": 60.0, "options": {"expires": 60}},
    "telemetry.forget_rollups": {"task": "telemetry.forget_rollups", "schedule": 86400.0, "options": {"expires": 3600}},
    "telemetry.archive": {"task": "telemetry.archive", "schedule": 3600.0, "options": {"expires": 3600}},
    "telemetry.drop_partitions": {"task": "telemetry.drop_partitions", "schedule": 3600.0, "options": {"expires": 3600}},
    "telemetry.prune_ledger": {"task": "telemetry.prune_ledger", "schedule": 600.0, "options": {"expires": 600}},
    "telemetry.resume": {"task": "telemetry.resume", "schedule": 300.0, "options": {"expires": 300}},
    "notices.deliver": {"task": "notices.deliver", "schedule": 5.0, "options": {"expires": 5}},
    "fleet.sweep": {"task": "fleet.sweep", "schedule": 60.0, "options": {"expires": 60}},
    "fleet.forget": {"task": "fleet.forget", "schedule": 86400.0, "options": {"expires": 3600}},
    "notices.forget": {"task": "notices.forget", "schedule": 86400.0, "options": {"expires": 3600}},
    "audit.export_heads": {"task": "audit.export_heads", "schedule": 3600.0, "options": {"expires": 3600}},
    "core.sweep": {"task": "core.sweep", "schedule": 600.0, "options": {"expires": 600}},
}

# Seconds for which a process may serve from its caches without having heard from the database.
CACHE_STALENESS_S = 1.0
CACHE_POLL_S = 0.5
# False where a test drives the generations itself.
CACHE_WATCHER = True
# What a harness is told to keep a resolved pack for, in seconds.
RESOLVE_TTL_S = int(env("RESOLVE_TTL_S", "60"))

# Days for which figures of runs are kept: those by minute (and counts of values), and those by hour and day.
ROLLUP_MINUTE_DAYS = float(env("ROLLUP_MINUTE_DAYS", "35"))
ROLLUP_DAYS = float(env("ROLLUP_DAYS", "400"))
# Where the push stream is reached, …/api/v1/stream: the web sends harnesses there. Empty where a proxy routes that path to it.
STREAM_URL = env("STREAM_URL")

# Requests a second of one process; a burst of two seconds' worth is let through, 0 sets no limit.
RATE_TOKEN_PER_S = float(env("RATE_TOKEN_PER_S", "500"))
RATE_TENANT_PER_S = float(env("RATE_TENANT_PER_S", "5000"))
RATE_PEOPLE_PER_S = float(env("RATE_PEOPLE_PER_S", "50"))
RATE_FAILURES_PER_S = float(env("RATE_FAILURES_PER_S", "10"))

# Days after which a promotion that waits for approval expires, and after which an approval that nobody started from is void.
APPROVAL_DEMAND_DAYS = float(env("APPROVAL_DEMAND_DAYS", "7"))
APPROVAL_KEPT_DAYS = float(env("APPROVAL_KEPT_DAYS", "7"))

# PEM file of an Ed25519 private key that signs heads and exports of the audit log; without one they are unsigned, and say so.
AUDIT_SIGNING_KEY = env("AUDIT_SIGNING_KEY")
# Folder, or s3://bucket/prefix, to which every hour the heads of all chains are written, an object of JSON each, never over another.
AUDIT_HEADS_STORE = env("AUDIT_HEADS_STORE")

# Folder, or s3://bucket/prefix, for telemetry whose hot window has passed; without one nothing is archived, and nothing leaves the database.
ARCHIVE_STORE = env("ARCHIVE_STORE")

# The S3-compatible service of s3://… addresses. Without an endpoint it is AWS; without keys the host's own role is used.
S3_ENDPOINT = env("S3_ENDPOINT")
S3_REGION = env("S3_REGION", "us-east-1")
S3_ACCESS_KEY_ID = env("S3_ACCESS_KEY_ID")
S3_SECRET_ACCESS_KEY = env("S3_SECRET_ACCESS_KEY")

# Folder, or s3://bucket/prefix, for the files of exports; web processes and workers have to reach the same one.
EXPORTS_STORE = env("EXPORTS_STORE") or str(BASE_DIR / env("DATA_DIR", ".data") / "exports")
# Hours for which a finished export can be downloaded, and what it may hold at the most.
EXPORTS_KEPT_H = float(env("EXPORTS_KEPT_H", "24"))
EXPORTS_MAX_ROWS = int(env("EXPORTS_MAX_ROWS", "1000000"))
EXPORTS_MAX_BYTES = int(env("EXPORTS_MAX_BYTES", str(4 * 1024**3)))

# Rows of history are found by their object; an index by date alone would serve nobody.
SIMPLE_HISTORY_DATE_INDEX = False

GRANTS_MODULE = "mission_control.grants"

# The portal's own address, https://…, for links in e-mails and webhooks; without one they hold a path.
PORTAL_URL = env("PORTAL_URL").rstrip("/")
# Keys that seal the secrets of webhooks (`apps/notices/sealing.py`); without one, derived from SECRET_KEY.
NOTICES_KEY = env("NOTICES_KEY")
# Seconds that a webhook's receiver has to answer.
NOTICES_WEBHOOK_TIMEOUT_S = float(env("NOTICES_WEBHOOK_TIMEOUT_S", "10"))
# The mail server; without one no e-mail is sent.
EMAIL_HOST = env("EMAIL_HOST")
EMAIL_PORT = int(env("EMAIL_PORT", "587"))
EMAIL_HOST_USER = env("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = env("EMAIL_HOST_PASSWORD")
EMAIL_USE_SSL = env("EMAIL_USE_SSL") == "1"
EMAIL_USE_TLS = env("EMAIL_USE_TLS", "0" if EMAIL_USE_SSL else "1") == "1"
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env("EMAIL_FROM", "Mission Control <mission-control@localhost>")

# Bearer token for /metrics; without one the page does not exist.
METRICS_TOKEN = env("METRICS_TOKEN")

LOG_LEVEL = env("LOG_LEVEL", "INFO")
LOGGING = logging_configuration(LOG_LEVEL, as_json=env("LOG_JSON", "1") == "1")
