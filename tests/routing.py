"""The routes of the portal as the URL configuration tells them, values for their bodies as the OpenAPI document does, and garbage."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from django.urls import URLPattern, URLResolver, get_resolver

from apps.core.errors import CODES

PREFIX = "/api/v1/"
METHODS = ("get", "post", "put", "patch", "delete")
# What anybody may read.
PUBLIC = {"schema/"}
# Keys of a body of which only the first is sent.
EITHER = (("version", "layer"), ("agent", "user"))


@dataclass(frozen=True)
class Route:
    """`path` has its parameters in braces; `methods` are those that the view answers."""

    path: str
    methods: tuple[str, ...]

    @property
    def room(self) -> str:
        return self.path.split("/")[0]


def routes() -> list[Route]:
    """Those of the resolver, without the one that catches what no other takes."""
    found = {}
    for path, view in urls_of(get_resolver().url_patterns, ""):
        if path.startswith("api/v1/") and (methods := _methods(view)):
            found[_named(path.removeprefix("api/v1/"))] = methods
    return [Route(path, methods) for path, methods in sorted(found.items())]


def urls_of(patterns: list[Any], before: str) -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        path = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from urls_of(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern):
            yield path, pattern.callback


def _methods(view: Any) -> tuple[str, ...]:
    if (documentation := getattr(view, "documentation", None)) is not None:
        return (documentation.method.lower(),)
    if actions := getattr(view, "actions", None):
        return tuple(method for method in METHODS if method in actions)
    cls = getattr(view, "view_class", getattr(view, "cls", None))
    return tuple(method for method in METHODS if hasattr(cls, method))


def _named(path: str) -> str:
    path = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", path)
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path).replace("^", "").replace("$", "").replace("\\", "")


ROUTES = routes()
EVERY = [(route, method) for route in ROUTES for method in route.methods if route.path not in PUBLIC]


def example(document: dict[str, Any], schema: dict[str, Any], values: dict[str, Any], name: str = "") -> Any:
    """A value of this schema of an OpenAPI document; a key that `values` has is as it is there."""
    if name in values:
        return values[name]
    for key in ("$ref", "allOf", "oneOf", "anyOf"):
        if key in schema:
            inner = document["components"]["schemas"][schema[key].split("/")[-1]] if key == "$ref" else schema[key][0]
            return example(document, inner, values, name)
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "string")
    match next(each for each in kind if each != "null") if isinstance(kind, list) else kind:
        case "object":
            keys = schema.get("properties", {})
            left_out = {other for first, other in EITHER if first in keys}
            return {key: example(document, inner, values, key) for key, inner in keys.items() if key not in left_out}
        case "array":
            return [example(document, schema["items"], values, name)]
        case "integer" | "number":
            return 1
        case "boolean":
            return False
    formats = {"date-time": "2027-01-01T00:00:00Z", "uuid": str(uuid4()), "email": "someone@example.test"}
    return formats.get(schema.get("format", ""), "x")


class Findings(list[str]):
    """All that is wrong, told at once."""

    def expect(self, holds: bool, what: str, response: Any) -> None:
        if not holds:
            self.append(what if response is None else f"{what}: {response.status_code} {response.content[:300]!r}")

    def problem(self, what: str, response: Any) -> None:
        """An error is a problem with a known code and the id of its request; and never a fault of ours."""
        if response.status_code < 400:
            return
        try:
            body = json.loads(response.content)
            sound = response["Content-Type"] == "application/problem+json" and CODES[body["code"]][0] == response.status_code
            sound = sound and bool(body["request_id"]) and body["status"] == response.status_code < 500
        except (ValueError, KeyError):
            sound = False
        self.expect(sound, what, response)


def garbage(valid: Any) -> Iterator[Any]:
    """Bodies that are wrong as a whole, then the valid one with each of its values wrong in turn."""
    yield from (
        [],
        "x",
        {},
        None,
        0,
        {"x": 1},
        b"{",
        b"\xff",
        b"[" * 5000,
        b'{"a":1,"a":2}',
        b'{"a":1.5}',
        b'"\\ud800"',
        b'{"a":"\\u0000"}',
    )
    deep: Any = {}
    for _ in range(60):
        deep = {"a": [deep]} if len(json.dumps(deep)) < 250 else deep
    wrong: tuple[Any, ...] = (None, 2**53 - 1, True, "", "x" * 400, "é\u2028/", [["x", 1]], deep)
    if isinstance(valid, dict):
        for key in valid:
            yield {name: value for name, value in valid.items() if name != key}
            yield from ({**valid, key: value} for value in wrong)
