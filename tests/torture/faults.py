"""What a fault is: drawn from a seed, without looking at anything; carried out on the ground of a run, and always healed."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .history import Planned
from .masters import Masters
from .nemesis_ground import Ground

BOTH = ("postgresql", "sqlite")
POSTGRESQL = ("postgresql",)
SQLITE = ("sqlite",)

T = TypeVar("T")
Args = dict[str, Any]
Detail = dict[str, Any]
Draw = Callable[["Dealer", Sequence[str], float], tuple[str, Args]]


@dataclass(frozen=True, slots=True)
class Site:
    """Where faults happen. ``over`` is set when the run wants no more of them: pauses end at once then."""

    ground: Ground
    masters: Masters
    lease_s: float
    over: threading.Event
    folder: Path

    def pause(self, seconds: float) -> None:
        """Wait, unless all is over."""
        self.over.wait(seconds)

    def until(self, true: Callable[[], bool], bound_s: float) -> bool:
        """Wait for it, at most so long, and only until all is over. Whether it came."""
        waited = 0.0
        while not true():
            if waited > bound_s or self.over.wait(0.05):
                return False
            waited += 0.05
        return True


class Dealer:
    """Draws from a seed. What is dealt by name comes from a shuffled pack, so that all of it has its turn before any comes again."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"nemesis {seed}")
        self._packs: dict[str, list[Any]] = {}

    def deal(self, name: str, items: Sequence[T]) -> T:
        """One of ``items``, which must be the same for the same name."""
        pack = self._packs.setdefault(name, [])
        if not pack:
            pack.extend(self.rng.sample(items, len(items)))
        dealt: T = pack.pop()
        return dealt

    def between(self, least: float, most: float) -> float:
        """A number in that range."""
        return round(self.rng.uniform(least, most), 3)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault.

    ``draw(dealer, masters, lease_s)`` gives (target, args) of one; args hold ``seconds``, about how long it will last.
    ``strike(site, planned, detail)`` does it and heals it, and notes in ``detail`` what happened.
    ``claims``: what nobody else may touch meanwhile: ``process``, ``network`` and ``clock`` are the target's own,
    ``database`` is there once, ``all`` is every process. ``weight``: how often it is dealt, compared to others.
    """

    name: str
    draw: Draw
    strike: Callable[[Site, Planned, Detail], None]
    claims: str
    databases: Sequence[str] = BOTH
    needs: str = ""
    """a tool that a machine may lack: ``libfaketime``, ``mount``, ``standby``"""
    weight: int = 1

    def resources(self, target: str, masters: Sequence[str]) -> frozenset[str]:
        """What one on ``target`` claims."""
        if self.claims == "database":
            return frozenset({"database"})
        if self.claims == "all":
            return frozenset(f"process {name}" for name in masters)
        return frozenset({f"{self.claims} {target}"})


def on_a_master(**ranges: tuple[float, float]) -> Draw:
    """Draws one of the masters, and each argument from a range; those of ``leases`` become ``seconds``."""
    return _drawn(lambda dealer, masters: dealer.rng.choice(masters), ranges)


def on_the_database(**ranges: tuple[float, float]) -> Draw:
    """Draws each argument from a range."""
    return _drawn(lambda dealer, masters: "database", ranges)


def on_all(**ranges: tuple[float, float]) -> Draw:
    """Draws each argument from a range, for all masters together."""
    return _drawn(lambda dealer, masters: "all", ranges)


def _drawn(target: Callable[[Dealer, Sequence[str]], str], ranges: Mapping[str, tuple[float, float]]) -> Draw:
    def draw(dealer: Dealer, masters: Sequence[str], lease_s: float) -> tuple[str, Args]:
        chosen = target(dealer, masters)
        args: Args = {"seed": dealer.rng.randrange(1 << 30)}
        for name, (least, most) in ranges.items():
            if name == "leases":
                args["seconds"] = dealer.between(least * lease_s, most * lease_s)
            else:
                args[name] = dealer.between(least, most)
        args.setdefault("seconds", round(int(args["times"]) * args["every_s"], 3) if "times" in args else 0.0)
        return chosen, args

    return draw
