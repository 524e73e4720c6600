"""Contracts: the JSON Schemas (draft 2020-12) that outputs of a task type must satisfy, and how a child adds to an ancestor's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import re2
from jsonschema import Draft202012Validator

from apps.core.domain.canonical import canonical_bytes, digest, pointer
from apps.core.errors import FieldError

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_MAPS = ("properties", "patternProperties", "$defs", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE = (
    *("items", "contains", "additionalProperties", "propertyNames", "unevaluatedItems", "unevaluatedProperties"),
    *("not", "if", "then", "else"),
)
_RESERVED = ("$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$vocabulary")


@lru_cache(maxsize=4096)
def pattern_error(pattern: str) -> str | None:
    """Why RE2 refuses the pattern, or None."""
    try:
        compiled(pattern)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
    return None


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> Any:
    """The compiled RE2 pattern. Raises re2.error."""
    options = re2.Options()
    options.log_errors = False  # else every typo of an author is a line on stderr
    return re2.compile(pattern, options)


def contract_findings(schema: Any, at: str) -> Iterator[FieldError]:
    """What keeps `schema` from being a contract: invalid by the draft itself, patterns that aren't RE2, references that leave it."""
    if not isinstance(schema, dict):
        yield FieldError(at, "invalid", "A contract is a JSON Schema written as an object.")
        return
    invalid = [
        FieldError(at + pointer(*error.absolute_path), "invalid", f"Not a JSON Schema: {error.message[:200]}")
        for error in Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(schema)
    ]
    yield from invalid
    if not invalid:
        for place, part in _subschemas(schema, at):
            yield from _part_findings(schema, place, part)


def conjunction(schemas: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The parts of an `allOf` that only an output passes which passes every schema; so that no child can weaken an ancestor."""
    return [_embedded(schema) for schema in schemas]


def _embedded(schema: Mapping[str, Any]) -> dict[str, Any]:
    # "#" would mean the merged schema; with an id of its own the part stays the root of its references.
    refers = any("$ref" in part for _, part in _subschemas(schema, ""))
    return {"$id": f"urn:{digest(canonical_bytes(dict(schema)))}", **schema} if refers else dict(schema)


def _subschemas(schema: Mapping[str, Any], at: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """`schema` and every schema inside it. Values that only look like schemas (in enum, const, default, examples) are no part of it."""
    yield at, schema
    for key in _MAPS:
        for name, part in schema.get(key, {}).items():
            if isinstance(part, dict):
                yield from _subschemas(part, at + pointer(key, name))
    for key in _LISTS:
        for index, part in enumerate(schema.get(key, [])):
            if isinstance(part, dict):
                yield from _subschemas(part, at + pointer(key, index))
    for key in _SINGLE:
        if isinstance(part := schema.get(key), dict):
            yield from _subschemas(part, at + pointer(key))


def _part_findings(root: Mapping[str, Any], at: str, part: Mapping[str, Any]) -> Iterator[FieldError]:
    for key in _RESERVED:
        if key in part:
            yield FieldError(at + pointer(key), "invalid", f"`{key}` is not taken in a contract: refer with `$ref` to `#/$defs/…`.")
    if part.get("$schema", DRAFT) != DRAFT:
        yield FieldError(at + "/$schema", "invalid", f"Contracts are written in draft 2020-12: {DRAFT}.")
    if "$ref" in part and not _resolves(root, part["$ref"]):
        yield FieldError(at + "/$ref", "invalid", "The reference leads to nothing in this contract. Refer to `#` or `#/$defs/…`.")
    patterns = [(at + "/pattern", part["pattern"])] if "pattern" in part else []
    patterns += [(at + pointer("patternProperties", name), name) for name in part.get("patternProperties", {})]
    for place, pattern in patterns:
        if reason := pattern_error(pattern):
            yield FieldError(place, "invalid", f"Not an RE2 pattern: {reason}.")


def _resolves(root: Any, reference: str) -> bool:
    if reference != "#" and not reference.startswith("#/"):
        return False
    node = root
    for token in reference.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and key in node:
            node = node[key]
        elif isinstance(node, list) and re.fullmatch("0|[1-9][0-9]*", key) and int(key) < len(node):
            node = node[int(key)]
        else:
            return False
    return isinstance(node, (dict, bool))
