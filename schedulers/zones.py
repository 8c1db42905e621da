"""Time zones by IANA name, and their clocks cut into stretches of one constant offset.

The zones come from the ``tzdata`` package, so that every master of a cluster has the same ones whatever its system brings;
only a name that ``tzdata`` lacks altogether is a fault. Seconds here are whole seconds since the epoch, UTC.
"""

import difflib
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

MAX_SHIFT_S: Final = 3 * 3600  # a larger jump of the clock is a correction (the date line), not daylight saving

_DAY_S: Final = 86400
_BLOCK_BITS: Final = 25  # stretches are worked out in blocks of 2**25 s, about 388 days
_FIRST_S: Final = -62_000_000_000  # in year 5; beyond these two the offset is taken as constant,
_LAST_S: Final = 253_300_000_000  # in year 9996: datetime ends soon after


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Every IANA name that ``zone`` knows."""
    listing = resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8")
    return frozenset(line for line in listing.split("\n") if line)


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """The time zone of that IANA name. ValueError, with the nearest names, if there is none."""
    if not isinstance(name, str) or name not in zone_names():
        raise ValueError(_unknown(name))
    path = resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    with path.open("rb") as tzif:
        return ZoneInfo.from_file(tzif, key=name)


def _unknown(name: object) -> str:
    by_lower = {known.lower(): known for known in zone_names()}
    wanted = str(name).strip().lower().replace(" ", "_")
    near = difflib.get_close_matches(wanted, list(by_lower), n=2, cutoff=0.75)
    if not near and "/" not in wanted:  # "berlin"
        near = sorted(known for known in by_lower if known.endswith("/" + wanted))[:2]
    if not near:
        return f"unknown time zone {name!r}: expected an IANA name such as 'UTC' or 'Europe/Berlin'"
    return f"unknown time zone {name!r}; did you mean " + " or ".join(repr(by_lower[one]) for one in near) + "?"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time during which one offset holds: the instants ``start <= t < end``, whose local time is ``t + offset``.

    ``before`` is the offset just before ``start``; ``offset > before`` leaves a gap there, ``offset < before`` a repeat.
    ``fresh`` is the instant from which local times are shown for the first time (``start``, or the end of a repeat of at
    most three hours). Long stretches are cut in two here and there, with nothing changing at the cut.
    """

    start: int
    end: int
    offset: int
    before: int
    fresh: int


class ZoneClock:
    """The stretches of one zone, found by asking for its offset day by day and halving where it changed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._zone = zone(name)
        self._blocks: dict[int, tuple[Stretch, ...]] = {}

    def stretch_at(self, second: int) -> Stretch:
        """The stretch that holds the instant ``second``. Its neighbours are at ``.end`` and ``.start - 1``."""
        number = second >> _BLOCK_BITS
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = self._cut(number)
        for stretch in block:
            if second < stretch.end:
                return stretch
        raise AssertionError("the stretches of a block cover it")

    def _offset(self, second: int) -> int:
        moment = datetime.fromtimestamp(min(max(second, _FIRST_S), _LAST_S), self._zone)
        offset = moment.utcoffset()
        assert offset is not None
        return offset.days * _DAY_S + offset.seconds

    def _cut(self, number: int) -> tuple[Stretch, ...]:
        start, end = number << _BLOCK_BITS, (number + 1) << _BLOCK_BITS
        changes = self._changes(start - _DAY_S, end)
        stretches = []
        fresh = start
        offset = self._offset(start - 1)
        for at, before, after in changes:
            repeat = before - after
            if at < start:  # a repeat may reach over the cut
                fresh = max(fresh, at + repeat) if 0 < repeat <= MAX_SHIFT_S else fresh
                continue
            if at > start:
                stretches.append(Stretch(start, at, before, offset, fresh))
            start, offset = at, before
            fresh = at + repeat if 0 < repeat <= MAX_SHIFT_S else at
        last = changes[-1][2] if changes else offset
        stretches.append(Stretch(start, end, last, offset, fresh))
        return tuple(stretches)

    def _changes(self, start: int, end: int) -> list[tuple[int, int, int]]:
        """The changes of offset at ``start < t < end`` as (t, offset before, offset after)."""
        found = []
        low, before = start, self._offset(start)
        while low < end - 1:
            high = min(low + _DAY_S, end - 1)
            after = self._offset(high)
            if after != before:
                found.append((self._halve(low, high, before), before, after))
            low, before = high, after
        return found

    def _halve(self, low: int, high: int, before: int) -> int:
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset(middle) == before:
                low = middle
            else:
                high = middle
        return high


@lru_cache(maxsize=1024)
def zone_clock(name: str) -> ZoneClock:
    """The one ``ZoneClock`` of that zone. ValueError as for ``zone``."""
    return ZoneClock(name)
