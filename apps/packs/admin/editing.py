"""Content as people write it: YAML (of which JSON is a part), strictly what governed JSON can hold and nothing more."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from apps.core.errors import problem
from apps.packs.domain.content import BLOCKS

MAX_TEXT = 2 * 1024 * 1024
_NAMES = (
    *(
        "id",
        "name",
        "check",
        "rule",
        "value",
        "reason",
        "type",
        "dimension",
        "weight",
        "hard",
        "params",
        "direction",
        "target",
        "tolerance",
    ),
    *("order", "file", "mode", "locked", "allow", "ask", "deny", "risk", "text"),
)
_LAST = 100
_PLACES = {name: place for place, name in enumerate((*BLOCKS, *_NAMES))}
_INTEGER = re.compile(r"^-?(?:0|[1-9][0-9]*)$")
_TRUTH = re.compile(r"^(?:true|false)$")
_FLOAT = re.compile(r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$")
_NULL = re.compile(r"^(?:null|~|)$")


class _Loader(yaml.SafeLoader):
    """YAML without its surprises: no dates, no `yes`, no octal, no anchors, no key twice. What looks like a float stays one, to be refused."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not taken", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if key.tag != "tag:yaml.org,2002:str":
                raise yaml.MarkedYAMLError(problem=f"the key {name} is not a text; quote it", problem_mark=key.start_mark)
            if name in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {name!r} appears twice", problem_mark=key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


for _tag, _pattern, _first in (
    ("bool", _TRUTH, "tf"),
    ("int", _INTEGER, "-0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
    ("null", _NULL, ["n", "~", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, list(_first))


class _Dumper(yaml.SafeDumper):
    """Texts of several lines stand as blocks, as their author would write them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = '"' if _ambiguous(value) else "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _ambiguous(value: str) -> bool:
    """Whether the bare text would read as something else; of the line ends only the newline survives YAML unquoted."""
    return any(sign in value for sign in "\r\x85\u2028\u2029") or any(pattern.match(value) for pattern in (_INTEGER, _TRUTH, _FLOAT, _NULL))


_Dumper.add_representer(str, _text)


def dump(content: Any) -> str:
    """The content as text that `load` reads back unchanged."""
    if not content:
        return ""
    text: str = yaml.dump(_ordered(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000, default_flow_style=False)
    return text


def _ordered(value: Any) -> Any:
    """As an author would order it: what names a thing first, its text last. (The database keeps no order of keys.)"""
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    if not isinstance(value, dict):
        return value
    keys = sorted(value, key=lambda key: (_order(value[key]), _PLACES.get(key, _LAST), key))
    return {key: _ordered(value[key]) for key in keys}


def _order(value: Any) -> int:
    order = value.get("order") if isinstance(value, dict) else None
    return order if isinstance(order, int) else 0


def load(text: str) -> Any:
    """The content of a text in YAML or JSON. Raises Problem `invalid` with line and column."""
    if len(text) > MAX_TEXT:
        raise problem("too_large", f"The text has {len(text)} characters; {MAX_TEXT} are taken.", pointer="/content")
    try:
        # Browsers send line ends of their own.
        return yaml.load(text.replace("\r\n", "\n"), Loader=_Loader)  # noqa: S506 -- a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise problem("invalid", f"Not readable as YAML or JSON{where}: {error.problem or error.context}.", pointer="/content") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise problem("invalid", f"Not readable as YAML or JSON: {str(error)[:200] or 'nested too deep'}.", pointer="/content") from None
