"""What a fault is: drawn from a seed, without looking at anything; carried out on the ground of a run, and always healed."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .history import Planned
from .masters import Masters
from .nemesis_ground import Ground

BOTH = ("postgresql", "sqlite")
POSTGRESQL = ("postgresql",)
SQLITE = ("sqlite",)

Args = dict[str, Any]
Detail = dict[str, Any]


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


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault.

    ``draw(rng, masters, lease_s)`` gives (target, args) of one; args hold ``seconds``, about how long it will last.
    ``strike(site, planned, detail)`` does it and heals it, and notes in ``detail`` what happened.
    ``claims``: what nobody else may touch meanwhile: ``process``, ``network`` and ``clock`` are the target's own,
    ``database`` is there once, ``all`` is every process. ``weight``: how often it is dealt, compared to others.
    """

    name: str
    draw: Callable[[random.Random, Sequence[str], float], tuple[str, Args]]
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


def on_a_master(**ranges: tuple[float, float]) -> Callable[[random.Random, Sequence[str], float], tuple[str, Args]]:
    """Draws one of the masters, and each argument from a range; those of ``leases`` become ``seconds``."""
    return _drawn(lambda rng, masters: rng.choice(masters), ranges)


def on_the_database(**ranges: tuple[float, float]) -> Callable[[random.Random, Sequence[str], float], tuple[str, Args]]:
    """Draws each argument from a range."""
    return _drawn(lambda rng, masters: "database", ranges)


def on_all(**ranges: tuple[float, float]) -> Callable[[random.Random, Sequence[str], float], tuple[str, Args]]:
    """Draws each argument from a range, for all masters together."""
    return _drawn(lambda rng, masters: "all", ranges)


def _drawn(
    target: Callable[[random.Random, Sequence[str]], str], ranges: Mapping[str, tuple[float, float]]
) -> Callable[[random.Random, Sequence[str], float], tuple[str, Args]]:
    def draw(rng: random.Random, masters: Sequence[str], lease_s: float) -> tuple[str, Args]:
        chosen = target(rng, masters)
        args: Args = {"seed": rng.randrange(1 << 30)}
        for name, (least, most) in ranges.items():
            value = round(rng.uniform(least, most), 3)
            if name == "leases":
                name, value = "seconds", round(value * lease_s, 3)
            args[name] = value
        args.setdefault("seconds", round(int(args["times"]) * args["every_s"], 3) if "times" in args else 0.0)
        return chosen, args

    return draw
