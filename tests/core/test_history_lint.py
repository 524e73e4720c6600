"""Writes that would leave no history: nothing in `apps/` makes one on a governed model, but for those named here with their reasons."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps

from apps.core.history import governed, history_model, history_table

ROOT = Path(__file__).resolve().parents[2]
# (file, function) -> why it may.
ALLOWED = {
    ("apps/identity/services/purge.py", "_count"): "removes a tenant with all its history",
    ("apps/demo/services/removal.py", "_delete"): "removes the demo with its history",
    ("apps/core/sql.py", "keep_history"): "begins the history",
    ("apps/telemetry/services/tables.py", "_table"): "the tables of runs and events, which are not governed",
    ("apps/telemetry/services/restoring.py", "_insert"): "the tables of runs, events and scores, which are not governed",
    ("apps/telemetry/services/tables.py", "_complete"): "the tables of runs and events, which are not governed",
}
BULK = {"update", "bulk_create", "bulk_update", "aupdate", "abulk_create", "abulk_update", "_raw_delete", "_update", "_insert"}
BYPASSES = {"save_without_historical_record", "skip_history_when_saving"}
STATEMENT = re.compile(r"\b(?:UPDATE|INSERT INTO|DELETE FROM|MERGE INTO|TRUNCATE(?: TABLE)?|COPY)\s+(?:ONLY\s+)?\"?(\{\}|[a-z_]+)")


def tables() -> set[str]:
    return {table for model in governed() for table in (model._meta.db_table, history_table(model))}


def models() -> tuple[set[str], set[str]]:
    """The names of governed models, and of all others."""
    tracked = {model.__name__ for model in governed()}
    return tracked, {model.__name__ for model in apps.get_models()} - tracked


def findings(source: str) -> Iterator[tuple[str, str]]:
    """(function, what) of each write that might leave no history."""
    tracked, untracked = models()
    for where, node in _walk(ast.parse(source), "module"):
        line = f"line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in BULK:
            root = _root(node.func.value)
            # What takes a mapping and no names is a dict's; a model's own name says whose rows they are.
            a_dict = (node.func.attr == "update" and bool(node.args)) or (node.func.attr == "update" and not node.keywords)
            if not a_dict and root not in untracked:
                yield where, f"{line}: .{node.func.attr}() on {root if root in tracked else 'an unknown model'}"
        elif isinstance(node, ast.Attribute) and node.attr in BYPASSES:
            yield where, f"{line}: {node.attr}"
        elif isinstance(node, ast.Constant) and node.value in BYPASSES:
            yield where, f"{line}: {node.value}"
        elif (text := _text(node)) is not None:
            for table in STATEMENT.findall(text):
                if table in tables() or table == "{}":
                    yield where, f"{line}: SQL writes {'a table by name' if table == '{}' else table}"


def _walk(node: ast.AST, where: str) -> Iterator[tuple[str, ast.AST]]:
    """Every node with the function, or the module's constant, that it stands in; texts as a whole, not their pieces."""
    for child in ast.iter_child_nodes(node):
        inside = where
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = child.name
        elif isinstance(child, ast.Assign) and where == "module" and isinstance(child.targets[0], ast.Name):
            inside = child.targets[0].id
        yield inside, child
        if not isinstance(child, ast.JoinedStr):
            yield from _walk(child, inside)


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"\{\w*\}", "{}", node.value)
    return None


def test_no_write_goes_past_history() -> None:
    """Nor is anything allowed that is not there any more."""
    found = {
        (path.relative_to(ROOT).as_posix(), where): what
        for path in sorted((ROOT / "apps").rglob("*.py"))
        if "migrations" not in path.parts
        for where, what in findings(path.read_text())
    }
    assert {place: what for place, what in found.items() if place not in ALLOWED} == {}
    assert set(ALLOWED) - set(found) == set()


def test_what_is_written_past_history_is_left_out_of_it() -> None:
    kept = {history_table(model): {field.name for field in history_model(model)._meta.fields} for model in governed()}
    for table in ("identity_historicalagenttoken", "identity_historicalapitoken"):
        assert "last_used_at" not in kept[table]
    assert "flagged_at" not in kept["packs_historicallayer"]


@pytest.mark.parametrize(
    "line",
    [
        "Agent.objects.filter(team=team).update(status='retired')",
        "layer.versions.filter(status='draft').update(status='archived')",
        "rows.update(status='archived')",
        "rows.update(**values)",
        "Team.objects.bulk_create([Team()])",
        "manager.bulk_update(rows, ['name'])",
        "cursor.execute('UPDATE identity_agent SET status = 1')",
        "cursor.execute(f'DELETE FROM {table}')",
        "cursor.execute('DELETE FROM \"identity_membership\"')",
        "cursor.execute('INSERT INTO packs_historicallayer (id) VALUES (1)')",
        "team.save_without_historical_record()",
        "setattr(team, 'skip_history_when_saving', True)",
    ],
)
def test_the_lint_finds(line: str) -> None:
    assert list(findings(f"def f():\n    {line}\n")), line


@pytest.mark.parametrize(
    "line",
    [
        "found.update({'a': 1})",
        "EvalItem.objects.filter(pk=1).update(lease_id=None)",
        "cursor.execute('SELECT 1 FROM identity_agent FOR UPDATE OF agent')",
        "cursor.execute('INSERT INTO core_change (id) VALUES (1)')",
        "cursor.execute('DELETE FROM packs_packs')",
    ],
)
def test_the_lint_lets_be(line: str) -> None:
    assert not list(findings(f"def f():\n    {line}\n")), line
