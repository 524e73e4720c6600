"""JSON in outputs, and the contracts (JSON Schema, draft 2020-12) it must satisfy: no network, and every pattern is RE2."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import re2
from jsonschema import Draft202012Validator, ValidationError, validators
from jsonschema.exceptions import best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from apps.core.errors import problem
from apps.packs.domain.contracts import compiled


def parse_output(output: str) -> Any:
    """The JSON that an output is, a Markdown code fence around it allowed. Raises ValueError with a sentence for a person."""
    text = output.strip()
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        text = text[text.index("\n") : -3]
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"Not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        raise ValueError("Not JSON that can be read: it nests too deep.") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"Not JSON: {name} is no JSON number.")


def schema_violation(value: Any, schema: Mapping[str, Any]) -> str | None:
    """The first thing in `value` that breaks the schema, as a sentence with its place; None when it holds.

    Raises Problem `invalid` for a schema that cannot be applied (a reference that leads nowhere, a pattern that is not RE2).
    """
    try:
        error = best_match(_Contract(dict(schema), registry=Registry()).iter_errors(value))
    except (Unresolvable, re2.error) as cause:
        raise problem("invalid", f"The output contract cannot be applied: {str(cause)[:200]}.", pointer="/contracts") from None
    except RecursionError:
        return "The output nests too deep for its contract."
    if error is None:
        return None
    place = "/".join(str(step) for step in error.absolute_path)
    return f"/{place}: {error.message[:300]}" if place else error.message[:300]


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and compiled(pattern).search(instance) is None:
        yield ValidationError(f"{instance[:100]!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for pattern, schema in patterns.items():
            for key, value in instance.items():
                if compiled(pattern).search(key) is not None:
                    yield from validator.descend(value, schema, path=key, schema_path=pattern)


def _additional_properties(validator: Any, additional: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    patterns = [compiled(pattern) for pattern in schema.get("patternProperties", {})]
    extras = [key for key in instance if key not in schema.get("properties", {}) and not any(p.search(key) for p in patterns)]
    if isinstance(additional, dict):
        for key in extras:
            yield from validator.descend(instance[key], additional, path=key)
    elif not additional and extras:
        yield ValidationError(f"Unexpected: {', '.join(repr(key) for key in extras[:10])}")


def _unevaluated_properties(validator: Any, unevaluated: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    # The library looks for evaluated keys with Python's backtracking `re`; without patterns it has nothing to match.
    if "patternProperties" in json.dumps(validator.schema):
        raise re2.error("unevaluatedProperties beside patternProperties is not supported")
    yield from Draft202012Validator.VALIDATORS["unevaluatedProperties"](validator, unevaluated, instance, schema)


_Contract = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "unevaluatedProperties": _unevaluated_properties,
    },
)
