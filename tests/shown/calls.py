"""Requests of the API as the OpenAPI document describes them, about the things of one place."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from django.http import HttpResponse
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from tests.routing import PREFIX
from tests.routing import example as example_of
from tests.shown.furniture import Place
from tests.shown.world import World


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document."""
    found: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return found


def operation(path: str, method: str) -> dict[str, Any]:
    shape = re.sub(r"\{\w+\}", "{}", PREFIX + path)
    for each, operations in document()["paths"].items():
        if re.sub(r"\{\w+\}", "{}", each) == shape:
            found: dict[str, Any] = operations.get(method, {})
            return found
    return {}


def body_of(path: str, method: str, place: Place) -> Any:
    """A valid body, about the place's things."""
    content = operation(path, method).get("requestBody", {}).get("content", {})
    return example_of(document(), content["application/json"]["schema"], place.values) if "application/json" in content else None


def filled(value: Any, place: Place) -> Any:
    """With `$kind` replaced by the id of the place's object of that kind, `$kind.name` by an attribute of it, `@key` by a value of the place."""
    if isinstance(value, dict):
        return {key: filled(each, place) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, place) for each in value]
    if not isinstance(value, str):
        return value
    if value.startswith("@"):
        return place.values[value[1:]]
    return re.sub(r"\$([\w' -]+)(?:\.(\w+))?", lambda found: str(getattr(place.objects[found[1]], found[2] or "pk")), value)


@cache
def plain_client() -> Client:
    """For tokens: it keeps no cookies that matter. A client of one's own costs a scan of all static files."""
    return Client()


def send(world: World, who: str | None, method: str, path: str, body: Any = None, client: Client | None = None, **headers: str) -> Any:
    """With the person's token, or with none. A stream is read to its end."""
    if who is not None:
        headers["Authorization"] = f"Bearer {world.tokens[who]}"
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    address = path if path.startswith("/") else PREFIX + path
    response = (client or plain_client()).generic(method.upper(), address, raw, content_type="application/json", headers=headers)
    if response.streaming:
        return HttpResponse(b"".join(response.streaming_content), status=response.status_code, headers=dict(response.items()))
    return response
