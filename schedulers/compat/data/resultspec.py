"""Filters, order and pages for ``self.master.data.get``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..absent import absent

__all__ = ["Filter", "ResultSpec"]

_OPERATORS: Mapping[str, Callable[[Any, Sequence[Any]], bool]] = {
    "eq": lambda value, given: value in given,
    "ne": lambda value, given: value not in given,
    "in": lambda value, given: value in given,
    "notin": lambda value, given: value not in given,
    "contains": lambda value, given: any(one in value for one in given),
    "lt": lambda value, given: value is not None and value < given[0],
    "le": lambda value, given: value is not None and value <= given[0],
    "gt": lambda value, given: value is not None and value > given[0],
    "ge": lambda value, given: value is not None and value >= given[0],
}


@dataclass(frozen=True)
class Filter:
    """Keeps the rows whose ``field`` compares so with one of ``values``."""

    field: str
    op: str
    values: Sequence[Any]

    def __post_init__(self) -> None:
        if self.op not in _OPERATORS:
            raise ValueError(f"unknown operator {self.op!r}; known are {', '.join(_OPERATORS)}")

    def keeps(self, row: Mapping[str, Any]) -> bool:
        """Whether a row fulfils it. KeyError: it has no such field."""
        if self.field not in row:
            raise KeyError(f"there is no field {self.field!r}; there are {', '.join(row)}")
        return _OPERATORS[self.op](row[self.field], list(self.values))


@dataclass(frozen=True)
class ResultSpec:
    """Which rows, in which order, and which part of them; ``order`` names fields, with '-' for the largest first."""

    filters: Sequence[Filter] = ()
    fields: Sequence[str] | None = None
    order: Sequence[str] | None = None
    limit: int | None = None
    offset: int | None = None

    def apply(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """What is left of the rows."""
        left = [dict(row) for row in rows if all(one.keeps(row) for one in self.filters or ())]
        for field in reversed(list(self.order or ())):
            name = field.removeprefix("-")
            left.sort(key=lambda row: (row[name] is not None, row[name]), reverse=field.startswith("-"))
        start = self.offset or 0
        left = left[start:] if self.limit is None else left[start : start + self.limit]
        return left if self.fields is None else [{name: row[name] for name in self.fields} for row in left]


__getattr__ = absent(__name__)
