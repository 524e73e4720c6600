"""Columns: one named value of a row. The same ones stand in lists, on pages and in tables of relatives."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from apps.core.admin import cells


class Column:
    """`render(obj)` is safe HTML or plain text; `order` the look-up to sort by. A Django `list_display` takes it as it is."""

    def __init__(self, label: str, render: Callable[[Any], Any], *, order: str | None = None) -> None:
        self.short_description = label
        self.admin_order_field = order
        self.render = render
        self.__name__ = "column_" + re.sub(r"\W+", "_", label.lower())

    def __call__(self, obj: Any) -> Any:
        value = self.render(obj)
        return cells.EMPTY if value is None or value == "" else value


def reach(obj: Any, path: str) -> Any:
    """`layer.pack.slug` of an object; None where a step is."""
    for name in path.split("."):
        if obj is None:
            return None
        obj = getattr(obj, name)
    return obj


def _of(path: str, label: str | None, show: Callable[[Any], Any], order: bool | str) -> Column:
    name = path.replace(".", "__")
    found = label or path.rpartition(".")[2].replace("_", " ").capitalize()
    return Column(found, lambda obj: show(reach(obj, path)), order=order if isinstance(order, str) else name if order else None)


def text(path: str, label: str | None = None, *, order: bool | str = True) -> Column:
    return _of(path, label, lambda value: value, order)


def day(path: str, label: str | None = None, *, order: bool | str = True) -> Column:
    """A date, as times are written."""
    return _of(path, label, lambda value: value.isoformat() if value else None, order)


def itself(label: str, *, order: bool | str = False) -> Column:
    """The row by its name, leading to its page."""
    return Column(label, cells.link_to, order=order if isinstance(order, str) else None)


def link(path: str, label: str | None = None, *, order: bool | str = True) -> Column:
    return _of(path, label, cells.link_to, order)


def badge(path: str, label: str | None = None, *, order: bool | str = True) -> Column:
    return _of(path, label, lambda value: cells.badge(value) if value else None, order)


def moment(path: str, label: str | None = None, *, order: bool | str = True) -> Column:
    return _of(path, label, cells.moment, order)


def money(path: str, label: str | None = None, *, order: bool | str = True) -> Column:
    return _of(path, label, cells.money, order)


def number(path: str, label: str | None = None, *, order: bool | str = True, unit: str = "") -> Column:
    return _of(path, label, lambda value: cells.number(value, unit), order)


def tokens(path: str, label: str | None = None, *, order: bool | str = True) -> Column:
    return _of(path, label, cells.tokens, order)


def points(path: str, label: str | None = None, *, order: bool | str = True) -> Column:
    return _of(path, label, cells.points, order)


def digest(path: str, label: str | None = None, *, length: int = 10) -> Column:
    return _of(path, label, lambda value: cells.digest(value, length), False)


def code(path: str, label: str | None = None, *, order: bool | str = True) -> Column:
    return _of(path, label, cells.code, order)


def yes_no(path: str, label: str | None = None, *, order: bool | str = True) -> Column:
    return _of(path, label, cells.yes_no, order)


def block(path: str, label: str | None = None) -> Column:
    return _of(path, label, cells.block, False)


def words(path: str, label: str | None = None) -> Column:
    return _of(path, label, cells.words, False)


def pretty(path: str, label: str | None = None) -> Column:
    return _of(path, label, cells.pretty, False)


def clipped(path: str, label: str | None = None, *, length: int = 80) -> Column:
    """The beginning of a text, on one line."""

    def show(value: Any) -> str | None:
        line = " ".join(str(value or "").split())
        return line[: length - 1] + "…" if len(line) > length else line or None

    return _of(path, label, show, False)
