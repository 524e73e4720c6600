"""OpenAPI: every operation may answer problem+json."""

from __future__ import annotations

from typing import Any

from drf_spectacular.openapi import AutoSchema
from rest_framework import serializers


class FieldErrorSerializer(serializers.Serializer):  # type: ignore[type-arg]
    pointer = serializers.CharField()
    code = serializers.CharField()
    detail = serializers.CharField()


class ProblemSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """RFC 9457. `code` is one of the codes of the contract."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField()
    detail = serializers.CharField()
    errors = FieldErrorSerializer(many=True)
    request_id = serializers.CharField()


class Schema(AutoSchema):
    def get_tags(self) -> list[str]:
        return [self.path.removeprefix("/api/v1/").split("/")[0]]

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        bodies["default"] = self._get_response_for_code(  # type: ignore[no-untyped-call]
            ProblemSerializer, "default", ["application/problem+json"], direction
        )
        return bodies


REF = "#/components/responses/{name}"
_BODY = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_TEXT = {"schema": {"type": "string"}, "required": True}
_SECONDS = {"schema": {"type": "integer", "minimum": 0}, "required": True, "description": "Seconds to wait before asking again."}
RESPONSES: dict[str, dict[str, Any]] = {
    "Refusal": {"description": "Refused; `code` and `detail` say why, and nothing was changed.", "content": _BODY},
    "NotAuthenticated": {"description": "No token that is valid.", "content": _BODY, "headers": {"WWW-Authenticate": _TEXT}},
    "Later": {"description": "Not now; nothing was changed.", "content": _BODY, "headers": {"Retry-After": _SECONDS}},
}
NAMES = {401: "NotAuthenticated", 429: "Later", 503: "Later"}


def name_refusals(result: dict[str, Any], generator: Any, **_: Any) -> dict[str, Any]:
    """drf-spectacular's POSTPROCESSING_HOOK: in the place of one `default`, each status with which an operation may refuse."""
    result["components"]["responses"] = RESPONSES
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            if operation["responses"].pop("default", None) is None:
                continue
            for status in refusals(method.upper(), named="{" in path):
                operation["responses"][str(status)] = {"$ref": REF.format(name=NAMES.get(status, "Refusal"))}
            operation["responses"] = dict(sorted(operation["responses"].items()))
    return result


def refusals(method: str, *, named: bool) -> list[int]:
    """The statuses with which such an operation may refuse; `named` where its path names an object."""
    found = {401, 403, 404, 406, 409, 422, 429, 500, 503}
    if method != "GET":
        found |= {400, 413, 415}
    if named:
        found |= {412}
    return sorted(found)
