"""Which branches of a repository are followed: named, by pattern, or the default one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

LONGEST_NAME = 900
"""Bytes of UTF-8 of a branch's name: a change must be able to carry it."""
_BAD = re.compile(r"[\x00-\x20\x7f~^:\\]|\.\.|@\{|//|\.lock(?:/|$)|/$|\.$|^/|/\.|^\.|^@$")
_WILD = re.compile(r"[*?\[]")
_WANTED = "expected a list of branches' names or patterns such as 'release/*'"


@dataclass(frozen=True, slots=True)
class Refs:
    """A repository's branches as they are now: name -> commit. ``head``: the default branch, if it exists.

    ``left_out`` counts branches whose names are no UTF-8, or too long.
    """

    head: str | None
    tips: Mapping[str, str]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Branches:
    """Names and patterns in the order of their importance; None: the repository's default branch."""

    patterns: tuple[str, ...] | None

    @classmethod
    def parse(cls, value: Any) -> Branches:
        """None, True (all), one name or pattern, or a list of them. ValueError says what is wrong."""
        if value is None:
            return cls(None)
        if value is True:
            return cls(("*",))
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, (list, tuple)) or not value:
            raise ValueError(f"{_WANTED}, got {value!r}")
        return cls(tuple(dict.fromkeys(_checked(item) for item in value)))

    def matches(self, branch: str) -> bool:
        """Whether a name is one of these, or fits a pattern (in which ``*`` stands for ``/``, too)."""
        return any(_fits(branch, pattern) for pattern in self.patterns or ())

    def chosen(self, refs: Refs) -> dict[str, str]:
        """The followed ones of a repository's branches, the most important first."""
        if self.patterns is None:
            return {refs.head: refs.tips[refs.head]} if refs.head is not None else {}
        names = sorted(refs.tips, key=lambda name: (name != refs.head, name))
        found = dict.fromkeys(name for pattern in self.patterns for name in names if _fits(name, pattern))
        return {name: refs.tips[name] for name in found}

    def missing(self, refs: Refs) -> list[str]:
        """The plain names among these that the repository does not have."""
        return [name for name in self.patterns or () if not _WILD.search(name) and name not in refs.tips]


def _fits(branch: str, pattern: str) -> bool:
    return branch == pattern or fnmatchcase(branch, pattern)


def _checked(item: Any) -> str:
    if not isinstance(item, str):
        raise ValueError(f"{_WANTED}, got {item!r} in it")
    name = item.removeprefix("refs/heads/")
    if not name or name.startswith(("-", "refs/")) or _BAD.search(name):
        raise ValueError(f"{_WANTED}; {item[:200]!r} cannot be a branch's name")
    if len(name.encode("utf-8", "surrogatepass")) > LONGEST_NAME:
        raise ValueError(f"{_WANTED}; {item[:100]!r}... is longer than {LONGEST_NAME} bytes")
    return name
