"""The fail points of the product that a run crashes and freezes masters at, and what makes a master come to each.

A master with ``LOCUM_FAIL_POINT=trace`` tells which points it comes to; a test looks for each of these in the source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Provoke = Literal["", "work", "leave", "reconfigure", "lapse", "death", "deaths"]
"""What makes it come there: nothing but its start; schedulers to hold; SIGTERM; an order to read its file anew; the loss of
its lease; the death of another, or of all others."""


@dataclass(frozen=True, slots=True)
class Point:
    """``most``: how often it is passed, at most, before it strikes."""

    name: str
    most: int
    provoke: Provoke


_WRITES: dict[Provoke, dict[str, int]] = {
    "": {
        "join": 1,
        "register": 1,
        "stand_by": 1,
        "set_crash_key": 1,
        "beat": 6,
        "holds": 1,
        "takeable": 2,
        "claim": 6,  # of tasks
        "record": 8,  # of what tasks do, and their results
    },
    "work": {"add_stamps": 4, "commit": 12, "reserve": 2, "announce": 8, "take_back": 1},
    "leave": {"stopping": 1, "release_and_announce": 1, "stopped": 1},
    "reconfigure": {"record_and_take_back": 1, "answer_order": 1},
    "lapse": {"requeue_forgotten": 1},
    "death": {
        "declare_lost": 1,
        "terminate_sessions": 1,
        "take_and_load": 1,
        "lost": 1,  # tasks
    },
    "deaths": {"declare_crashed": 1},  # by whoever watches the dead one's lock: of two that die, one is watched by it
}
"""What the product's writes run; each has a point before and one after its commit."""

POINTS: tuple[Point, ...] = (
    *(
        Point(f"{name}.{moment}", most, provoke)
        for provoke, names in _WRITES.items()
        for name, most in names.items()
        for moment in ("before", "after")
    ),
    Point("commit.told", 12, "work"),
    Point("command.before", 4, ""),
    Point("command.after", 4, ""),
    Point("command.ended", 4, ""),
)
