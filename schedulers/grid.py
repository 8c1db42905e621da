"""Time rules in general, the even grid, and the questions that any rule can be asked.

A rule is a pure value: a set of instants, in whole microseconds since the epoch, UTC, that is asked for its neighbours.
"""

from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Final, Protocol, runtime_checkable

from .cron import Instant
from .cron_sentence import grid_sentence

COUNT_LIMIT: Final = 100_000  # fires of a rule that cannot count, before a count becomes "at least"


class TimeRule(Protocol):
    """A set of fire times."""

    def after(self, t: Instant) -> Instant | None:
        """The first fire strictly after ``t``, None if there is none."""

    def before(self, t: Instant) -> Instant | None:
        """The last fire strictly before ``t``, None if there is none."""


@runtime_checkable
class CountingRule(Protocol):
    """A time rule that can tell how many fires there are without walking over them."""

    def count(self, after: Instant, until: Instant) -> int:
        """How many fires there are at ``after < t <= until``."""


@dataclass(frozen=True, slots=True)
class PeriodicRule:
    """The grid ``anchor + n * period_us`` for n = 0, 1, 2, ...: it never moves because a run was late."""

    period_us: int
    anchor: Instant

    def __post_init__(self) -> None:
        if self.period_us <= 0:
            raise ValueError(f"expected a period longer than 0, got {self.period_us} microseconds")

    def after(self, t: Instant) -> Instant:
        """The first fire strictly after ``t``."""
        return self.anchor + max(0, (t - self.anchor) // self.period_us + 1) * self.period_us

    def before(self, t: Instant) -> Instant | None:
        """The last fire strictly before ``t``; None up to the anchor."""
        if t <= self.anchor:
            return None
        return self.anchor + (t - self.anchor - 1) // self.period_us * self.period_us

    def sentence(self, zone: tzinfo | None = None) -> str:
        """The rule in English, such as "Every 15 minutes from 5 January 2026 00:00:00 UTC"; its beginning in that zone."""
        return grid_sentence(self.period_us, self.anchor, UTC if zone is None else zone)

    def count(self, after: Instant, until: Instant) -> int:
        """How many fires there are at ``after < t <= until``."""
        low = max(0, (after - self.anchor) // self.period_us + 1)
        high = (until - self.anchor) // self.period_us + 1
        return max(0, high - low)


def due_times(rule: TimeRule, after: Instant, until: Instant, limit: int) -> list[Instant]:
    """The fires at ``after < t <= until``, oldest first, at most ``limit`` of them."""
    found: list[Instant] = []
    t = rule.after(after)
    while t is not None and t <= until and len(found) < limit:
        found.append(t)
        t = rule.after(t)
    return found


def newest_due_times(rule: TimeRule, after: Instant, until: Instant, limit: int) -> list[Instant]:
    """The last ``limit`` of the fires at ``after < t <= until``, oldest first."""
    found: list[Instant] = []
    t = rule.before(until + 1)
    while t is not None and t > after and len(found) < limit:
        found.append(t)
        t = rule.before(t)
    return found[::-1]


def count_due(rule: TimeRule, after: Instant, until: Instant) -> tuple[int, bool]:
    """How many fires there are at ``after < t <= until``, and whether that is exact.

    Not exact, it is a lower bound: the rule cannot count, and it was walked over for ``COUNT_LIMIT`` fires.
    """
    if isinstance(rule, CountingRule):
        return rule.count(after, until), True
    found = 0
    t = rule.after(after)
    while t is not None and t <= until:
        found += 1
        if found == COUNT_LIMIT:
            t = rule.after(t)
            return found, t is None or t > until
        t = rule.after(t)
    return found, True
