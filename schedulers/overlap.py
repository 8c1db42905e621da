"""What a fire does when the run before it is unfinished. One pure decision for every time rule."""

from __future__ import annotations

from typing import Any, Final, Literal, cast

Overlap = Literal["skip", "queue", "allow", "replace"]
OVERLAPS: Final = ("skip", "queue", "allow", "replace")

UNFINISHED: Final = "overlap skip: the run before it was unfinished"
ONE_WAITS: Final = "overlap queue: one is waiting already"
REPLACED: Final = "overlap replace: a newer one came before it had started"

MOST_AT_ONCE: Final = 1000
"""Nominal times that one backfill may start."""

Step = Literal["start", "wait", "skip", "replace"]


def checked_overlap(value: Any) -> Overlap:
    """ValueError names the argument."""
    if value not in OVERLAPS:
        raise ValueError(f"overlap: expected {', '.join(OVERLAPS[:-1])} or {OVERLAPS[-1]}, got {value!r}")
    return cast("Overlap", value)


def next_step(overlap: Overlap, unfinished: int, waiting: int, *, in_line: bool = False) -> tuple[Step, str]:
    """What to do with a fire, and why it is skipped: ``unfinished`` runs have started, ``waiting`` ones wait for them.

    ``replace``: stop those, drop the waiting ones, and wait for the end of the stopped. ``in_line``: it was asked for
    (a backfill), so it is not dropped now: unless ``allow`` says otherwise, it waits for its turn.
    """
    if overlap == "allow" or not (unfinished or waiting):
        return "start", ""
    if in_line:
        return "wait", ""
    if overlap == "replace":
        return "replace", ""
    if overlap == "skip":
        return "skip", UNFINISHED
    return ("skip", ONE_WAITS) if waiting else ("wait", "")
