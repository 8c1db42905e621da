"""What the database says in the end: what was to be done, what was done, and whether each thing was done once. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Done:
    """A buildset. ``what``: the revision it builds, or when its tick was due. ``well``: its task succeeded, on it."""

    what: str | int
    term: int
    submitted_at: int
    well: bool
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: how many there were to do, and how many were done, lost, doubled, or went wrong."""

    name: str
    expected: int
    done: int
    lost: int
    doubled: int
    wrong: int
    again: int
    """tasks that were started again because their master was killed"""

    @property
    def exact(self) -> bool:
        return self.done == self.expected and not (self.lost or self.doubled or self.wrong)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The table, and sentences about what must not be; empty: all is well."""

    rows: tuple[Row, ...]
    faults: tuple[str, ...] = field(default=())

    @property
    def exact(self) -> bool:
        return not self.faults and all(row.exact for row in self.rows)


def compared(name: str, wanted: Iterable[str | int], done: Sequence[Done]) -> Row:
    """What was to be done beside what was. Something done that nobody wanted counts as doubled."""
    left = Counter(wanted)
    expected = left.total()
    doubled = 0
    for one in done:
        if left[one.what] > 0:
            left[one.what] -= 1
        else:
            doubled += 1
    wrong = sum(not one.well for one in done)
    again = sum(one.attempts > 1 for one in done)
    return Row(name, expected, expected - left.total(), left.total(), doubled, wrong, again)


def due_ticks(first: int, period_us: int, until: int) -> list[int]:
    """Every due time from the first one on, up to ``until``."""
    return list(range(first, until + 1, period_us))


def late_commits(name: str, done: Iterable[Done], since: Mapping[int, int]) -> list[str]:
    """Buildsets that were committed under a term after the next one had begun; ``since``: term -> when it began."""
    terms = sorted(since)
    ends = {term: since[following] for term, following in pairwise(terms)}
    return [
        f"{name}: the buildset for {one.what} was committed under term {one.term} after that term had ended"
        for one in done
        if one.term not in since or one.submitted_at > ends.get(one.term, one.submitted_at)
    ]
