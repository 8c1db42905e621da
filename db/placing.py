"""Which of its masters each scheduler should be on, so that all carry about the same number. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from itertools import pairwise


def evened(
    held: Mapping[int, str], standby: Mapping[int, Collection[str]], masters: Collection[str]
) -> dict[int, tuple[str, str]]:
    """{scheduler id: (from, to)} of the moves, as few as are needed, after which no move could make loads more even.

    ``held`` says who holds what, ``standby`` who could. What others than ``masters`` hold stays where it is.
    """
    place = {scheduler: master for scheduler, master in held.items() if master in masters}
    pairs = _movable(place, standby, masters)
    load = {master: 0 for master in sorted(masters)}
    for master in place.values():
        load[master] += 1
    while path := next(filter(None, (_way_down(giver, load, pairs) for giver in _by_load(load))), None):
        for source, target in pairwise(path):
            scheduler = next(iter(pairs[source, target]))
            _shift(scheduler, source, target, pairs, standby, masters)
            place[scheduler] = target
        load[path[0]] -= 1
        load[path[-1]] += 1
    return {s: (held[s], place[s]) for s in sorted(place) if held[s] != place[s]}


_Pairs = dict[tuple[str, str], set[int]]


def _movable(place: Mapping[int, str], standby: Mapping[int, Collection[str]], masters: Collection[str]) -> _Pairs:
    """(from, to) -> the schedulers that could make this move."""
    pairs: _Pairs = {(a, b): set() for a in masters for b in masters if a != b}
    for scheduler, source in place.items():
        for target in standby.get(scheduler, ()):
            if target in masters and target != source:
                pairs[source, target].add(scheduler)
    return pairs


def _by_load(load: dict[str, int]) -> list[str]:
    return sorted(load, key=lambda master: (-load[master], master))


def _way_down(giver: str, load: dict[str, int], pairs: _Pairs) -> list[str]:
    """The shortest chain of moves from ``giver`` to the least loaded master where it makes loads more even; [] if none."""
    came_from: dict[str, str] = {giver: ""}
    queue = deque([giver])
    while queue:
        here = queue.popleft()
        for there in load:
            if there not in came_from and pairs.get((here, there)):
                came_from[there] = here
                queue.append(there)
    best = min((m for m in came_from if load[m] <= load[giver] - 2), key=lambda m: load[m], default="")
    path = []
    while best:
        path.append(best)
        best = came_from[best]
    return path[::-1]


def _shift(
    scheduler: int,
    source: str,
    target: str,
    pairs: _Pairs,
    standby: Mapping[int, Collection[str]],
    masters: Collection[str],
) -> None:
    for other in standby.get(scheduler, ()):
        if other in masters:
            if other != source:
                pairs[source, other].discard(scheduler)
            if other != target:
                pairs[target, other].add(scheduler)
