"""The nemesis: a plan of faults, which is a pure function of a seed, and its carrying out.

Faults come in storms of one, two or three at once, with calm between them that is long enough for a takeover. Kinds are
dealt like cards from a shuffled pack, so that all have their turn. Now and then the calm is so long that all has recovered
and bounds of time can be judged, and one fault alone that has such a bound ends it. Each fault is healed by whoever made
it, however it ends; two faults never touch the same thing at the same time.
"""

from __future__ import annotations

import contextlib
import fnmatch
import itertools
import threading
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from . import configuration, faults_database, faults_masters, faults_network
from .faults import Args, Dealer, Detail, Kind, Site
from .history import FaultBegan, FaultEnded, History, Plan, Planned, now
from .invariants_timing import BOUNDS_S, RECOVERY_S
from .nemesis_ground import lacking

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (*faults_masters.KINDS, *faults_network.KINDS, *faults_database.KINDS)
}
FIRST_S = 4.0
CALM_S = (4.5, 7.5)
"""After a storm: longer than lease + heartbeat + 1 s, so that the next one finds schedulers that are held."""
LONG_CALM_S = (RECOVERY_S + 3.0, RECOVERY_S + 7.0)
"""After each fourth storm, and after the lone fault that follows: with time left in which nothing is wrong any more."""
LONG_EACH = 4
LAST_S = 4.0
_AT_ONCE = (1, 1, 1, 2, 2, 3)


def new_plan(seed: int, minutes: float, database: str, wanted: Sequence[str], masters: int) -> Plan:
    """A plan of the kinds ``wanted`` ('net-*' means all that begin so; () means all), without those that this machine lacks a
    tool for; ValueError: there is no such kind for this database."""
    lacks = lacking()
    kinds = _chosen(database, wanted)
    left_out = {name: lacks[KINDS[name].needs] for name in kinds if KINDS[name].needs in lacks}
    possible = [name for name in kinds if name not in left_out]
    faults = faults_of(seed, minutes, possible, names_of_masters(masters), configuration.LEASE_S)
    return Plan(seed, minutes, database, faults, masters, tuple(wanted), left_out)


def names_of_masters(count: int) -> tuple[str, ...]:
    """What the masters of a run are called."""
    return tuple(f"m{n + 1}" for n in range(count))


def kinds_of(database: str) -> list[str]:
    """All kinds of faults that there are for a database."""
    return [kind.name for kind in KINDS.values() if database in kind.databases]


def _chosen(database: str, wanted: Sequence[str]) -> list[str]:
    here = kinds_of(database)
    unknown = [pattern for pattern in wanted if not fnmatch.filter(here, pattern)]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no such fault on {database}; there are {', '.join(here)}")
    return [name for name in here if not wanted or any(fnmatch.fnmatch(name, pattern) for pattern in wanted)]


def needs_of(kinds: Collection[str]) -> set[str]:
    """What these kinds need beside the usual."""
    return {KINDS[name].needs for name in kinds} - {""}


def faults_of(
    seed: int, minutes: float, kinds: Sequence[str], masters: Sequence[str], lease_s: float
) -> tuple[Planned, ...]:
    """The faults of a run, in the order of their beginning. The same arguments give the same plan, on any machine."""
    dealer = Dealer(seed)
    storms = _Storms(dealer, kinds, masters, lease_s)
    faults: list[Planned] = []
    at, end = FIRST_S, minutes * 60 - LAST_S
    for number in itertools.count(1) if kinds else ():
        place = number % (LONG_EACH + 1)
        storm = storms.lone() if place == 0 else storms.next()
        over = at + max(planned.at_s + planned.args["seconds"] for planned in storm)
        if over > end and faults:
            break
        faults += [replace(planned, at_s=round(at + planned.at_s, 3)) for planned in storm]
        at = over + dealer.between(*(LONG_CALM_S if place in (0, LONG_EACH) else CALM_S))
        if at > end:
            break
    return tuple(sorted(faults, key=lambda planned: planned.at_s))


class _Storms:
    """Some faults at a time that do not touch the same things, each a little after the other."""

    def __init__(self, dealer: Dealer, kinds: Collection[str], masters: Sequence[str], lease_s: float) -> None:
        self._dealer = dealer
        self._cards = [KINDS[name] for name in sorted(kinds) for _ in range(KINDS[name].weight)]
        self._masters = masters
        self._lease_s = lease_s
        self._put_off: list[tuple[Kind, str, Args]] = []
        """dealt, but something of the same storm was in its way"""

    def next(self) -> list[Planned]:
        """The faults of the next one; ``at_s`` counts from its beginning."""
        storm: list[Planned] = []
        claimed: set[str] = set()
        drawn, self._put_off = self._put_off, []
        drawn += [self._draw() for _ in range(self._dealer.rng.choice(_AT_ONCE) - len(drawn))]
        for kind, target, args in drawn:
            resources = kind.resources(target, self._masters)
            if resources & claimed:
                self._put_off.append((kind, target, args))
                continue
            claimed |= resources
            after_s = self._dealer.between(0, min(2.0, storm[0].args["seconds"])) if storm else 0.0
            storm.append(Planned(after_s, kind.name, target, args))
        return storm

    def lone(self) -> list[Planned]:
        """One fault, of a kind with a bound of time if there is one among them."""
        bounded = [kind for kind in dict.fromkeys(self._cards) if kind.name in BOUNDS_S]
        kind = self._dealer.deal("bounded", bounded) if bounded else self._dealer.deal("kinds", self._cards)
        target, args = kind.draw(self._dealer, self._masters, self._lease_s)
        return [Planned(0.0, kind.name, target, args)]

    def _draw(self) -> tuple[Kind, str, Args]:
        kind = self._dealer.deal("kinds", self._cards)
        return kind, *kind.draw(self._dealer, self._masters, self._lease_s)


class Nemesis:
    """Carries out a plan. ``run`` once; ``troubles`` are errors of the torture itself, not of what is tortured."""

    def __init__(self, faults: Sequence[Planned], site: Site, history: History, say: Callable[[str], None]) -> None:
        self.troubles: list[str] = []
        self._faults = sorted(faults, key=lambda planned: planned.at_s)
        self._site = site
        self._history = history
        self._say = say
        self._locks: dict[str, threading.Lock] = {}

    def run(self) -> None:
        """Until all faults are over and healed; those that have not begun when ``site.over`` is set never will.

        A storm that takes longer than planned puts off the next ones: the calm between them is never cut short.
        """
        began = time.monotonic()
        running: list[threading.Thread] = []
        planned_over, late_s = 0.0, 0.0
        for number, planned in enumerate(self._faults, 1):
            if planned.at_s >= planned_over:
                _join(running)
                calm_s = planned.at_s - planned_over
                late_s = max(late_s, time.monotonic() - began + calm_s - planned.at_s) if number > 1 else 0.0
            planned_over = max(planned_over, planned.at_s + planned.args["seconds"])
            if self._site.over.wait(max(0.0, began + planned.at_s + late_s - time.monotonic())):
                break
            running.append(threading.Thread(target=self._one, args=(number, planned), name=f"fault {number}"))
            running[-1].start()
        _join(running)

    def _one(self, number: int, planned: Planned) -> None:
        kind = KINDS[planned.fault]
        with contextlib.ExitStack() as stack:
            for resource in sorted(kind.resources(planned.target, self._site.masters.names)):
                stack.enter_context(self._locks.setdefault(resource, threading.Lock()))
            if self._site.over.is_set():
                return
            self._history.add(FaultBegan(now(), number, planned.fault, planned.target, dict(planned.args)))
            self._say(f"{planned.fault} on {planned.target}: {_shown(planned.args)}")
            detail: Detail = {}
            try:
                kind.strike(self._site, planned, detail)
            except Exception as error:
                detail["error"] = repr(error)
                self.troubles.append(f"{planned.fault} on {planned.target}: {traceback.format_exc()}")
            self._history.add(FaultEnded(now(), number, planned.fault, planned.target, detail))
            self._say(f"  {planned.fault} on {planned.target} is over{f': {_shown(detail)}' if detail else ''}")


def _join(threads: list[threading.Thread]) -> None:
    while threads:
        threads.pop().join()


def _shown(values: Detail) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if key != "seed")
