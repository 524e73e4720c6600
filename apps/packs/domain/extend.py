"""The blocks that a child adds to or overrides: sections, personality, rubric, contracts, kpis, model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from apps.core.domain.canonical import canonical_bytes
from apps.packs.domain.contracts import conjunction
from apps.packs.domain.steps import By, Out, Step, escape, given
from apps.packs.domain.values import Span

JOIN: Final = "\n\n"
_DEFAULTS: Final = {"order": 0, "file": "AGENTS"}
_MODEL_FIELDS: Final = ("primary", "fallbacks", "fallback_on", "reasoning", "locked")


class Section:
    """A section as the versions so far wrote it. `parts` are the pieces of its text in reading order; a join is in the added one."""

    __slots__ = ("fields", "locked", "parts", "writer")

    def __init__(self, index: int) -> None:
        self.parts: list[By] = []
        self.writer = index
        self.fields = {key: By(value, index) for key, value in _DEFAULTS.items()}
        self.locked: int | None = None

    @property
    def text(self) -> str:
        return "".join(part.value for part in self.parts)


class Sections:
    """A child adds sections and edits those that no ancestor locked."""

    def __init__(self) -> None:
        self.by_name: dict[str, Section] = {}

    def add(self, step: Step, block: Mapping[str, Mapping[str, Any]]) -> None:
        for name, says in block.items():
            section = self.by_name.get(name)
            if section is None:
                section = self.by_name[name] = Section(step.index)
            elif section.locked is not None:
                step.breach(f"/sections/{escape(name)}", section.locked, f"The section {name} is locked", locked=True)
                continue
            self._write(section, step.index, says["text"], says.get("mode"))
            for key in _DEFAULTS:
                if says.get(key) is not None and (says[key] != section.fields[key].value or section.fields[key].layer == step.index):
                    section.fields[key] = By(says[key], step.index)
            if says.get("locked"):
                section.locked = step.index

    def emit(self, out: Out, spans: dict[str, tuple[Span, ...]]) -> dict[str, Any]:
        block: dict[str, Any] = {}
        for name, section in self.by_name.items():
            at = f"/sections/{escape(name)}"
            block[name] = written = {"text": section.text}
            found = spans[name] = _spans(out, section)
            writers = {part.layer for part in section.parts} or {section.writer}
            # One writer is named as of any other leaf; of several each has its spans.
            out.origins[f"{at}/text"] = out.sources[writers.pop()] if len(writers) == 1 else [span.as_json() for span in found]
            for key, value in section.fields.items():
                out.put(written, key, f"{at}/{key}", value.value, value.layer)
            if section.locked is not None:
                out.put(written, "locked", f"{at}/locked", True, section.locked)
        return block

    @staticmethod
    def _write(section: Section, index: int, text: str, mode: str | None) -> None:
        if mode == "replace":
            section.parts = []
            section.writer = index
        if not text:
            return
        if not section.parts:
            section.parts = [By(text, index)]
        elif mode == "prepend":
            section.parts.insert(0, By(text + JOIN, index))
        else:
            section.parts.append(By(JOIN + text, index))


def _spans(out: Out, section: Section) -> tuple[Span, ...]:
    spans, start = [], 0
    for text, index in section.parts:
        end = start + len(text.encode())
        spans.append(Span(start, end, **out.sources[index]))
        start = end
    return tuple(spans)


class Personality:
    """Overridden as a whole."""

    def __init__(self) -> None:
        self.says: By | None = None

    def add(self, step: Step, block: Mapping[str, Any] | None) -> None:
        if block is not None:
            self.says = By(given(block), step.index)

    def emit(self, out: Out) -> dict[str, Any]:
        if self.says is None or not self.says.value:
            return {}
        out.trace("/personality", self.says.value, self.says.layer)
        return dict(self.says.value)


class Rubric:
    """Checks by id. A hard one of an ancestor stays as it is; a child may only give it more weight."""

    def __init__(self) -> None:
        self.checks: dict[str, tuple[By, By]] = {}  # id -> (the check, its weight)

    def add(self, step: Step, block: list[Mapping[str, Any]]) -> None:
        for place, entry in enumerate(block):
            says = given(entry)
            had = self.checks.get(says["id"])
            if had is None or not had[0].value.get("hard"):
                self.checks[says["id"]] = (By(says, step.index), By(says["weight"], step.index))
                continue
            check, weight = had
            if _without_weight(says) != _without_weight(check.value) or says["weight"] < weight.value:
                detail = f"The check {says['id']} is hard: it can't be changed, nor given less weight"
                step.breach(f"/rubric/{place}", check.layer, detail)
            elif says["weight"] > weight.value:
                self.checks[says["id"]] = (check, By(says["weight"], step.index))

    def emit(self, out: Out) -> list[dict[str, Any]]:
        block = []
        for place, (check, weight) in enumerate(self.checks.values()):
            block.append({**check.value, "weight": weight.value})
            out.trace(f"/rubric/{place}", check.value, check.layer)
            out.trace(f"/rubric/{place}/weight", weight.value, weight.layer)
        return block


def _without_weight(check: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in check.items() if key != "weight"}


class Contracts:
    """Schemas by task type. Several for one task type all hold: see `conjunction`."""

    def __init__(self) -> None:
        self.schemas: dict[str, dict[bytes, By]] = {}

    def add(self, step: Step, block: Mapping[str, Mapping[str, Any]]) -> None:
        for task_type, schema in block.items():
            self.schemas.setdefault(task_type, {}).setdefault(canonical_bytes(dict(schema)), By(schema, step.index))

    def emit(self, out: Out) -> dict[str, Any]:
        block: dict[str, Any] = {}
        for task_type, said in self.schemas.items():
            at, says = f"/contracts/{escape(task_type)}", list(said.values())
            if len(says) == 1:
                out.put(block, task_type, at, says[0].value, says[0].layer)
                continue
            parts = conjunction([one.value for one in says])
            block[task_type] = {"allOf": parts}
            for place, (part, one) in enumerate(zip(parts, says, strict=True)):
                out.trace(f"{at}/allOf/{place}", part, one.layer)
        return block


class Kpis:
    """By name; the lowest tolerance stays."""

    def __init__(self) -> None:
        self.kpis: dict[str, tuple[By, By | None]] = {}  # name -> (the rest, the tolerance)

    def add(self, step: Step, block: list[Mapping[str, Any]]) -> None:
        for place, entry in enumerate(block):
            says = given(entry)
            said = says.pop("tolerance", None)
            had = self.kpis[says["name"]][1] if says["name"] in self.kpis else None
            if had is not None and said is not None and said > had.value:
                step.breach(f"/kpis/{place}/tolerance", had.layer, f"{said} raises the tolerance above {had.value}", neutral=True)
            tolerance = By(said, step.index) if said is not None and (had is None or said < had.value) else had
            self.kpis[says["name"]] = (By(says, step.index), tolerance)

    def emit(self, out: Out) -> list[dict[str, Any]]:
        block = []
        for place, (rest, tolerance) in enumerate(self.kpis.values()):
            entry = dict(rest.value)
            out.trace(f"/kpis/{place}", rest.value, rest.layer)
            if tolerance is not None:
                out.put(entry, "tolerance", f"/kpis/{place}/tolerance", tolerance.value, tolerance.layer)
            block.append(entry)
        return block


class Model:
    """Field by field, until an ancestor locks it."""

    def __init__(self) -> None:
        self.fields: dict[str, By] = {}
        self.locked: int | None = None

    def add(self, step: Step, block: Mapping[str, Any]) -> None:
        says = {key: block[key] for key in _MODEL_FIELDS if block.get(key) is not None}
        for key, value in says.items():
            had = self.fields.get(key)
            if had is not None and had.value == value:
                continue
            if self.locked is not None:
                step.breach(f"/model/{key}", self.locked, f"The model is locked: {key} can't be changed")
            else:
                self.fields[key] = By(value, step.index)
        if self.locked is None and says.get("locked"):
            self.locked = step.index

    def emit(self, out: Out) -> dict[str, Any]:
        block: dict[str, Any] = {}
        for key, value in self.fields.items():
            out.put(block, key, f"/model/{key}", value.value, value.layer)
        return block
