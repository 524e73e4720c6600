"""What a browser may do with an answer: a policy for each kind of page, the same few headers on all of them."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.loader import get_template

GetResponse = Callable[[HttpRequest], HttpResponse]

CLOSED = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
# Data for programs: nothing in it is ever run, shown or sent on.
STRICT = f"{CLOSED}; form-action 'none'"
# Unfold's shell: Alpine compiles the expressions in its attributes and htmx writes a style. No inline script, nothing of another host.
SHELL = (
    f"{CLOSED}; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; form-action 'self'"
)
# The admin, and the pages on the way into it.
SHELL_PATHS = ("/admin/", "/oidc/")
FEATURES = (
    "accelerometer",
    "camera",
    "display-capture",
    "geolocation",
    "gyroscope",
    "magnetometer",
    "microphone",
    "midi",
    "payment",
    "usb",
)
ALWAYS = {
    "X-Frame-Options": "DENY",
    "Permissions-Policy": ", ".join(f"{feature}=()" for feature in FEATURES),
    "Cross-Origin-Resource-Policy": "same-origin",
}
PREPARED = tuple((name.lower(), (name, value)) for name, value in ALWAYS.items())
STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


@functools.cache
def page_policy() -> str:
    """For pages outside the admin, which are those that say what went wrong: their one style, known by its hash, and the icon."""
    source: str = get_template("error.html").template.source  # type: ignore[attr-defined]
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" for style in STYLE.findall(source)]
    return f"{CLOSED}; style-src {' '.join(hashes)}; img-src 'self'; form-action 'none'"


class SecurityHeadersMiddleware:
    """Stands outside of everything that answers, so that harness routes and files have their policy as well."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        # What Django keeps below `headers`: setting three there checks and encodes each anew, 20 µs of every resolve.
        headers: dict[str, tuple[str, str]] = response.headers._store
        for key, pair in PREPARED:
            headers.setdefault(key, pair)
        if "content-security-policy" not in headers:
            policy = policy_for(request.path_info, headers.get("content-type", ("", ""))[1], response.status_code)
            if policy:
                headers["content-security-policy"] = ("Content-Security-Policy", policy)
        return response


def policy_for(path: str, content_type: str, status: int) -> str:
    """The policy of an answer; none for Django's own page about a fault, which only DEBUG shows."""
    html = content_type.startswith("text/html")
    if html and settings.DEBUG and status in (400, 404, 500):
        return ""
    if path.startswith(SHELL_PATHS):
        return SHELL
    return page_policy() if html else STRICT
