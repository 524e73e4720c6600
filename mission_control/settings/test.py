"""Tests: the embedded services that `tests/conftest.py` started."""

import os

os.environ.setdefault("SECRET_KEY", "tests-only")

from .base import *

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CACHE_WATCHER = False
# Each test client has middleware of its own, which would read every static file first.
WHITENOISE_AUTOREFRESH = True
# Every read asks: tests see each change at once.
CACHE_STALENESS_S = -1.0
# Hundreds of requests a test come from one token or address; the tests of the limits set their own.
RATE_TOKEN_PER_S = RATE_TENANT_PER_S = RATE_PEOPLE_PER_S = RATE_FAILURES_PER_S = 0.0
# Nothing listens there: what a test starts as a stream has its own address.
STREAM_URL = "http://127.0.0.1:1/api/v1/stream"
# So that an archive can be asked for; tests that write one set a folder of their own.
ARCHIVE_STORE = "/nowhere"
OIDC_ALLOW_HTTP = True
# Providers and receivers of the tests stand on loopback.
EGRESS_ALLOW_HTTP = True
EGRESS_ALLOWED_HOSTS = ["127.0.0.1:*"]
EGRESS_ALLOWED_NETWORKS = ["127.0.0.0/8"]
