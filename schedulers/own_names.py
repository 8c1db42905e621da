"""Whether what a person names is a scheduler's own: its builders and codebases. '' or a sentence for that person."""

from __future__ import annotations

from collections.abc import Iterable

from ..config import suggest
from .base import BaseScheduler
from .rendering import is_renderable


def foreign_builder(scheduler: BaseScheduler, names: Iterable[str] | None) -> str:
    """What is wrong with the first of ``names`` that may not be asked for. Where the scheduler's builders are worked out for
    each buildset, any that there is may be."""
    known = scheduler.master.known_builders()
    own = _own_builders(scheduler)
    for name in names or ():
        nobody_s = "unknown builder: " if name not in known else ""
        if own and name not in own:
            return f"{nobody_s}{name!r} is not one of this scheduler's builders, {', '.join(own)}{_meant(name, own)}"
        if nobody_s:
            return f"unknown builder {name!r}{_meant(name, known)}"
    return ""


def foreign_codebase(scheduler: BaseScheduler, codebase: str | None) -> str:
    """What is wrong with a codebase; None: none was named."""
    if codebase is None or codebase in scheduler.codebases:
        return ""
    own = ", ".join(map(repr, scheduler.codebases))
    return f"codebase {codebase!r} is not one of this scheduler's, {own}{_meant(codebase, scheduler.codebases)}"


def _own_builders(scheduler: BaseScheduler) -> list[str]:
    names = scheduler.builderNames
    if isinstance(names, tuple) and any(is_renderable(name) for name in names):
        return []
    return scheduler.listBuilderNames()


def _meant(name: str, known: Iterable[str]) -> str:
    meant = suggest(name, known)
    return f"; did you mean {meant!r}?" if meant else ""
