"""What fires when: the coming times of schedulers and stored schedules, worked out from their rules."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Literal

from ..schedulers.base import to_datetime, to_instant
from ..schedulers.catchup import Policy, start_of
from ..schedulers.grid import TimeRule, count_due, due_times

Kind = Literal["scheduler", "schedule"]
FEW_A_DAY = 4
"""Of more times on one day, a calendar tells how many they are, the first and the last."""


@dataclass(frozen=True, slots=True)
class Source:
    """Something that fires at times of a rule. ``examined``: what came due until then has been dealt with.

    ``identity`` is what its jitter depends on; ``note`` says what keeps it from firing in time.
    """

    kind: Kind
    id: int
    name: str | None
    text: str
    rule: TimeRule
    policy: Policy
    identity: str
    examined: int
    note: str = ""

    @property
    def label(self) -> str:
        """How people call it."""
        return self.name if self.name is not None else f"schedule {self.id}"

    def start(self, nominal: int) -> int:
        """When the fire of that nominal time starts."""
        return start_of(self.rule, self.policy, self.identity, nominal)


@dataclass(frozen=True, slots=True)
class Fire:
    """A time of a source, in microseconds. ``late``: so many times, of which ``due`` is the first, wait to be dealt with."""

    source: Source
    due: int
    starts: int
    late: int = 0


def next_fires(source: Source, now: int) -> Iterator[Fire]:
    """Its fires from ``now`` on, in order; first, as one, those that have come due and wait for a master."""
    first = source.rule.after(source.examined)
    if first is not None and first <= now:
        newest = source.rule.before(now + 1)
        assert newest is not None
        waits = source.start(newest) > now  # for its jitter to run out; at most one does
        until = newest - 1 if waits else now
        count, _ = count_due(source.rule, source.examined, until)
        if count:
            yield Fire(source, first, source.start(first), count)
        first = newest if waits else source.rule.after(now)
    while first is not None:
        yield Fire(source, first, source.start(first))
        first = source.rule.after(first)


def coming(sources: Iterable[Source], now: int, until: int | None, most: int) -> tuple[list[Fire], bool]:
    """The soonest ``most`` fires of all the sources that start up to ``until``; and whether there are more."""
    heap: list[tuple[int, int, Fire, Iterator[Fire]]] = []
    for number, source in enumerate(sources):
        fires = next_fires(source, now)
        fire = next(fires, None)
        if fire is not None:
            heap.append((fire.starts, number, fire, fires))
    heapq.heapify(heap)
    found: list[Fire] = []
    while heap and (until is None or heap[0][0] <= until):
        if len(found) == most:
            return found, True
        _, number, fire, fires = heap[0]
        found.append(fire)
        following = next(fires, None)
        if following is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (following.starts, number, following, fires))
    return found, False


def first_of_each(sources: Iterable[Source], now: int, most: int) -> tuple[list[Fire], int]:
    """The next fire of each source, soonest first, at most ``most``; and how many sources are left out."""
    fires = [fire for source in sources if (fire := next(next_fires(source, now), None)) is not None]
    fires.sort(key=lambda fire: (fire.starts, fire.source.label))
    return fires[:most], max(0, len(fires) - most)


def total(sources: Iterable[Source], now: int, until: int) -> int:
    """How many nominal times they have at ``now < t <= until``."""
    return sum(count_due(source.rule, max(source.examined, now), until)[0] for source in sources)


@dataclass(frozen=True, slots=True)
class Entry:
    """A source on one day: all its ``times``, or, if they are many, ``count`` and the first and last of them."""

    source: Source
    count: int
    times: tuple[int, ...]

    @property
    def is_whole(self) -> bool:
        """Whether ``times`` are all."""
        return len(self.times) == self.count


@dataclass(frozen=True, slots=True)
class Day:
    """A day of a zone, and what fires on it, by the first time."""

    day: date
    entries: tuple[Entry, ...]


def days(sources: Sequence[Source], now: int, until: int, zone: Any, most: int) -> tuple[list[Day], int | None]:
    """Day by day in a zone, nominal times at ``now < t <= until``; at most ``most`` entries, and then where it stopped."""
    found: list[Day] = []
    left = most
    today = to_datetime(now).astimezone(zone).date()
    low = now
    while low < until:
        high = min(_midnight(today + timedelta(days=1), zone) - 1, until)
        entries = sorted(_entries(sources, low, high), key=lambda e: (e.times[0], e.source.label))
        if len(entries) > left:
            return [*found, Day(today, tuple(entries[:left]))], entries[left].times[0]
        if entries:
            found.append(Day(today, tuple(entries)))
        left -= len(entries)
        today, low = today + timedelta(days=1), max(high, low + 1)
    return found, None


def _entries(sources: Iterable[Source], after: int, until: int) -> Iterator[Entry]:
    for source in sources:
        low = max(after, source.examined)
        times = due_times(source.rule, low, until, FEW_A_DAY + 1) if low < until else []
        if len(times) <= FEW_A_DAY:
            if times:
                yield Entry(source, len(times), tuple(times))
            continue
        last = source.rule.before(until + 1)
        assert last is not None
        yield Entry(source, count_due(source.rule, low, until)[0], (times[0], last))


def _midnight(day: date, zone: Any) -> int:
    return to_instant(datetime.combine(day, time(), tzinfo=zone))
