"""Plain Django views in the OpenAPI document: DRF sees only its own, so harness routes say what they are and a hook adds them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from django.http import HttpResponse
from rest_framework.schemas.generators import EndpointEnumerator

View = TypeVar("View", bound=Callable[..., HttpResponse])

REF = "#/components/schemas/{name}"
PROBLEM = {"description": "", "content": {"application/problem+json": {"schema": {"$ref": REF.format(name="Problem")}}}}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query string (or of a header, with `where="header"`)."""

    name: str
    description: str
    required: bool = False
    schema: Mapping[str, Any] | None = None
    where: str = "query"

    def as_openapi(self) -> dict[str, Any]:
        schema = dict(self.schema or {"type": "string"})
        return {"in": self.where, "name": self.name, "description": self.description, "schema": schema, "required": self.required}


@dataclass(frozen=True, slots=True)
class Documentation:
    """What one plain view takes and answers, in types that msgspec knows."""

    method: str
    operation_id: str
    summary: str
    description: str
    request: Any
    responses: Mapping[int, Any]
    parameters: Sequence[Parameter]


def documented(
    *,
    method: str,
    operation_id: str,
    summary: str,
    responses: Mapping[int, Any],
    request: Any = None,
    parameters: Sequence[Parameter] = (),
) -> Callable[[View], View]:
    """Puts a plain view into the OpenAPI document; its path is the one that the URL configuration gives it.

    `request` and the values of `responses` (status -> body) are msgspec types, or None for no body; the description is the view's
    docstring. Every operation carries a token and may answer problem+json, which need not be said.
    """

    def mark(view: View) -> View:
        description = inspect.cleandoc(view.__doc__ or "")
        view.documentation = Documentation(method.upper(), operation_id, summary, description, request, dict(responses), tuple(parameters))  # type: ignore[attr-defined]
        return view

    return mark


class _Documented(EndpointEnumerator):
    """Finds the documented views in the URL configuration."""

    def should_include_endpoint(self, path: str, callback: Any) -> bool:
        return hasattr(callback, "documentation")

    def get_allowed_methods(self, callback: Any) -> list[str]:
        return [callback.documentation.method]


def add_plain_views(result: dict[str, Any], generator: Any, **_: Any) -> dict[str, Any]:
    """drf-spectacular's POSTPROCESSING_HOOK."""
    found = [(path, view.documentation) for path, _method, view in _Documented(urlconf=generator.urlconf).get_api_endpoints()]
    types = [body for _path, said in found for body in (said.request, *said.responses.values()) if body is not None]
    schemas, components = msgspec.json.schema_components(types, ref_template=REF)
    by_type = {id(body): schema for body, schema in zip(types, schemas, strict=True)}
    result.setdefault("components", {}).setdefault("schemas", {}).update(components)
    paths = result.setdefault("paths", {})
    for path, said in found:
        paths.setdefault(path, {})[said.method.lower()] = _operation(path, said, by_type)
    result["paths"] = dict(sorted(paths.items()))
    return result


def _operation(path: str, said: Documentation, by_type: Mapping[int, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": said.operation_id,
        "summary": said.summary,
        "description": said.description,
        "tags": [path.removeprefix("/api/v1/").split("/")[0]],
        "security": [{"token": []}],
        "responses": {str(status): _response(status, body, by_type) for status, body in said.responses.items()},
    }
    operation["responses"]["default"] = PROBLEM
    if said.parameters:
        operation["parameters"] = [parameter.as_openapi() for parameter in said.parameters]
    if said.request is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": by_type[id(said.request)]}}}
    return operation


def _response(status: int, body: Any, by_type: Mapping[int, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    return described if body is None else {**described, "content": {"application/json": {"schema": by_type[id(body)]}}}
