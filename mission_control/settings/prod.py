"""Production: nothing secret has a default, and nothing is sent in the clear."""

import os

from django.core.exceptions import ImproperlyConfigured

for _name in ("SECRET_KEY", "DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "ALLOWED_HOSTS"):
    if not os.environ.get(_name):
        raise ImproperlyConfigured(f"{_name} is not set: production has no default for it (see .env.example).")
if len(os.environ["SECRET_KEY"]) < 50:
    raise ImproperlyConfigured("SECRET_KEY is shorter than 50 characters; `openssl rand -base64 48` makes a good one.")

from .base import *  # noqa: E402
from .base import TRUST_PROXY  # noqa: E402

DEBUG = False

LOCAL_LOGIN = env("LOCAL_LOGIN", "0") == "1"

EGRESS_ALLOW_HTTP = False

SECURE_SSL_REDIRECT = True
# A load balancer asks over plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
# Only behind a proxy that sets or removes this header itself: a client could send it as well.
if TRUST_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
