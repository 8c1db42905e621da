"""What a run is told by, to a person: what was broken first, what happened around it, and the figures if nothing was."""

from __future__ import annotations

from dataclasses import dataclass

from .history import Folder


@dataclass(frozen=True, slots=True)
class Report:
    broken: bool
    text: str


def of(folder: Folder, url: str, troubles: list[str]) -> Report:
    """Look at all that a run has left."""
    return Report(bool(troubles), "\n".join(troubles))
