"""Pack content: parsed strictly, with every finding at its pointer, and its published JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import ValidationError
from pydantic.json_schema import models_json_schema
from pydantic_core import ErrorDetails

from apps.core.domain.canonical import check_json, copy_json, pointer
from apps.core.errors import FieldError, Problem, problem
from apps.packs.domain.contracts import contract_findings, pattern_error
from apps.packs.domain.schema import RULES, Block, DomainContent, PolicyContent

POLICY_BLOCKS: Final = tuple(PolicyContent.model_fields)
BLOCKS: Final = tuple(DomainContent.model_fields)
_MODELS: Final[dict[str, type[Block]]] = {"domain": DomainContent, "policy": PolicyContent}


def parse_content(value: Any, *, kind: Literal["domain", "policy"]) -> dict[str, Any]:
    """A copy of what the author wrote, nothing added (so that its digest is the digest of just that), once all of it is valid.

    Raises Problem with one error for each finding: `unknown_key`, `not_available` or `invalid`; the problem's own code is theirs when all
    agree, else `invalid`.
    """
    findings: dict[tuple[str, str], FieldError] = {}
    for found in _findings(value, kind):
        findings.setdefault((found.pointer, found.code), found)
    if findings:
        raise _refusal(list(findings.values()))
    parsed: dict[str, Any] = copy_json(value)
    return parsed


def content_schema() -> dict[str, Any]:
    """The published JSON Schema (draft 2020-12): `#/$defs/DomainContent` and `#/$defs/PolicyContent`, any of which the whole may be.

    What it can't say (RE2 patterns, schemas inside contracts, ids that appear twice) `parse_content` holds besides.
    """
    _, schema = models_json_schema([(DomainContent, "validation"), (PolicyContent, "validation")], title="Pack content")
    either = [{"$ref": "#/$defs/DomainContent"}, {"$ref": "#/$defs/PolicyContent"}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "anyOf": either}


def estimate_tokens(text: str) -> int:
    """Tokens of a text, estimated as one for every four UTF-8 bytes, rounded up. No tokenizer: the same number for every provider."""
    return -(-len(text.encode()) // 4)


def prompt_tokens(content: Mapping[str, Any]) -> int:
    """What the sections of an effective content cost in the prompt: the estimated tokens of each section's text, added up."""
    return sum(estimate_tokens(section["text"]) for section in (content.get("sections") or {}).values())


def _findings(value: Any, kind: str) -> Iterator[FieldError]:
    unsound: tuple[str, ...] = ()
    try:
        check_json(value)
    except Problem as refusal:
        unsound = tuple(found.pointer for found in refusal.errors)
        yield from refusal.errors
    try:
        _MODELS[kind].model_validate(value)
    except ValidationError as error:
        yield from (_finding(found, value, kind) for found in error.errors(include_url=False, include_context=False, include_input=False))
    if isinstance(value, dict) and kind == "domain":
        # What isn't JSON (nested too deep, for one) can't be read as a schema either.
        if not any(place.startswith(("/contracts", "/rubric")) for place in unsound):
            yield from _contract_findings(value.get("contracts"))
            yield from _rubric_findings(value.get("rubric"))
        yield from _twice(value.get("rubric"), "rubric", "id")
        yield from _twice(value.get("kpis"), "kpis", "name")


def _finding(found: ErrorDetails, value: Any, kind: str) -> FieldError:
    path = _path(found["loc"])
    at = pointer(*path)
    match found["type"]:
        case "extra_forbidden" if kind == "policy" and path[0] in BLOCKS:
            return FieldError(at, "unknown_key", f"A policy pack carries only {', '.join(POLICY_BLOCKS)}, not `{path[0]}`.")
        case "extra_forbidden":
            return FieldError(at, "unknown_key", f"Unknown key {str(path[-1])!r}.")
        case "too_long" if path == ["prompts"]:
            return FieldError(at, "not_available", "The prompt library is not available yet: leave `prompts` out, or empty.")
        case "list_type" if path == ["prompts"] and value["prompts"]:
            return FieldError(at, "not_available", "The prompt library is not available yet: leave `prompts` out, or empty.")
        case "not_available":
            return FieldError(at, "not_available", found["msg"] + ".")
        case "missing" | "union_tag_not_found":
            name = path[-1] if found["type"] == "missing" else "rule"
            return FieldError(at, "invalid", f"`{name}` is missing.")
        case "union_tag_invalid":
            return FieldError(f"{at}/rule", "invalid", f"No such rule. Rules are {', '.join(RULES)}.")
        case "model_type" | "dict_type" | "model_attributes_type":
            return FieldError(at, "invalid", "This should be an object.")
        case "list_type":
            return FieldError(at, "invalid", "This should be a list.")
        case "string_type" | "string_unicode":
            return FieldError(at, "invalid", "This should be a text.")
        case _:
            return FieldError(at, "invalid", found["msg"].replace("Input should", "This should") + ".")


def _path(loc: Sequence[int | str]) -> list[int | str]:
    """The path into the author's content. pydantic's also has the constraint's rule as a step, and marks the key of a map as `[key]`."""
    path = [token for token in loc if token != "[key]"]
    return path[:2] + path[3:] if path[:1] == ["constraints"] and len(path) > 2 else path


def _contract_findings(contracts: Any) -> Iterator[FieldError]:
    for task_type, schema in contracts.items() if isinstance(contracts, dict) else ():
        yield from contract_findings(schema, pointer("contracts", task_type))


def _rubric_findings(rubric: Any) -> Iterator[FieldError]:
    """What params hold that is never valid, whatever the check makes of the rest."""
    for index, check in enumerate(rubric if isinstance(rubric, list) else ()):
        params = check.get("params") if isinstance(check, dict) else None
        if not isinstance(params, dict):
            continue
        at = pointer("rubric", index, "params")
        if check.get("check") == "regex" and isinstance(params.get("pattern"), str) and (reason := pattern_error(params["pattern"])):
            yield FieldError(f"{at}/pattern", "invalid", f"Not an RE2 pattern: {reason}.")
        if check.get("check") == "json_schema" and params.get("schema") is not None:
            yield from contract_findings(params["schema"], f"{at}/schema")


def _twice(entries: Any, block: str, key: str) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        name = entry.get(key) if isinstance(entry, dict) else None
        if isinstance(name, str) and name in seen:
            yield FieldError(pointer(block, index, key), "invalid", f"{name!r} is already used above; each {key} appears once.")
        elif isinstance(name, str):
            seen.add(name)


def _refusal(findings: Sequence[FieldError]) -> Problem:
    codes = {found.code for found in findings}
    code = codes.pop() if len(codes) == 1 else "invalid"
    first = findings[0]
    summary = f"{first.pointer or 'The content'}: {first.detail}"
    return problem(code, summary if len(findings) == 1 else f"{len(findings)} findings. The first is {summary}", errors=findings)
