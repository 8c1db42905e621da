"""A story's plan: how big the cluster is, what people do and when, and what goes wrong at which point. Made from a seed.

A plan is data, so that a failing one can be cut down and played again. Nothing in it depends on what else is in it: every
die is thrown by the name of the point that it is thrown for, so leaving one fault out leaves the others where they were.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from . import load
from .world import FATES, PARTINGS

DEEDS = (
    "change", "push", "kill", "stop", "freeze", "block", "cut off", "outage", "disable", "move", "rebalance", "force",
    "reconfigure", "roll", "clock", "host clock", "retry", "idle",
)  # fmt: skip
LEASES = (("10s", "2s"), ("4s", "1s"), ("6s", "1s"))
SHAPES = ("dense", "dense", "tasks", "tasks", "wide", "long")
_EVERY_S = {
    "change": 1.5, "push": 6.0, "disable": 40.0, "move": 30.0, "rebalance": 60.0, "force": 10.0, "clock": 120.0,
    "reconfigure": 25.0, "retry": 40.0,
}  # fmt: skip
_LASTS_S = {"dense": 70.0, "tasks": 80.0, "wide": 25.0, "long": 150.0}
_FEWER = {"wide": 2.0, "long": 6.0}
"""How much seldomer than in a dense story something is done."""


@dataclass(frozen=True, slots=True)
class Op:
    """Something done from outside, ``at_s`` seconds after the beginning."""

    at_s: float
    deed: str
    detail: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.at_s:8.3f} s  {self.deed} {', '.join(map(str, self.detail))}".rstrip()


@dataclass(frozen=True, slots=True)
class Plan:
    """``faults`` None: thrown by dice, with these ``chances``; else exactly those listed, and no other.

    ``several_hosts``: each master has clocks of its own, and the lease clock is the server's, which may be set (as with
    PostgreSQL); else all share one host. ``proof``: the processes of one host can see each other's end.
    """

    seed: int
    shape: str
    masters: int
    copies: int
    lease: str
    heartbeat: str
    lasts_s: float
    several_hosts: bool
    proof: bool
    crash_hint: bool
    at_once: int
    chances: dict[str, float]
    wake_lost: float
    wake_late_s: float
    ops: tuple[Op, ...]
    faults: tuple[str, ...] | None = None
    schedulers: tuple[str, ...] | None = None
    """only these of the shape's; None: all"""
    breakage: str = ""
    """the product is broken on purpose, in the way of this name"""
    weights: dict[str, float] = field(default_factory=dict)
    """seconds between two of each deed, as drawn; for readers"""

    @property
    def specs(self) -> dict[str, load.Spec]:
        """The schedulers by name."""
        found = load.specs(self.shape, self.copies)
        return {n: s for n, s in found.items() if self.schedulers is None or n in self.schedulers}

    @property
    def names(self) -> list[str]:
        """The masters'."""
        return [f"m{i + 1}" for i in range(self.masters)]

    def to_json(self) -> str:
        """For a file, and for ``--replay``."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """What ``to_json`` wrote."""
        found = json.loads(text)
        ops = tuple(Op(op["at_s"], op["deed"], _as_tuples(op["detail"])) for op in found.pop("ops"))
        kept = {key: found.pop(key) for key in ("faults", "schedulers")}
        tuples = {key: None if value is None else tuple(value) for key, value in kept.items()}
        return cls(ops=ops, **found, **tuples)

    @classmethod
    def read(cls, path: Path) -> Plan:
        """From a file."""
        return cls.from_json(path.read_text())

    def stirred(self, chances: dict[str, float], every: dict[str, float]) -> Plan:
        """The same cluster, with other chances for some faults and other deeds."""
        rng = random.Random(f"stirred {self.seed}")
        weights = {**self.weights, **every}
        return replace(self, chances={**self.chances, **chances}, weights=weights, ops=tuple(_ops(rng, self, weights)))


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(v) for v in value) if isinstance(value, list) else value


def draw(seed: int, shape: str | None = None) -> Plan:
    """The plan of ``seed``. Each has troubles of its own: many kinds of faults are left out of each."""
    rng = random.Random(seed)
    shape = shape or rng.choice(SHAPES)
    masters = rng.choice((2, 2, 3, 3, 4)) if shape != "wide" else rng.choice((3, 6, 10, 20))
    if shape in ("dense", "tasks") and rng.random() < 0.1:
        masters = rng.choice((6, 8))
    lease, heartbeat = rng.choice(LEASES)
    several = rng.random() < 0.4
    plan = Plan(
        seed=seed,
        shape=shape,
        masters=masters,
        copies=rng.choice((8, 12, 20)) if shape == "wide" else 1,
        lease=lease,
        heartbeat=heartbeat,
        lasts_s=_LASTS_S[shape] * rng.uniform(0.6, 1.4),
        several_hosts=several,
        proof=not several and rng.random() < 0.5,
        crash_hint=rng.random() < 0.5,
        at_once=2 if several else 1,
        chances=_chances(rng),
        wake_lost=rng.choice((0.0, 0.1, 0.5, 1.0)),
        wake_late_s=rng.choice((0.01, 0.1, 1.0)),
        ops=(),
    )
    weights = _weights(rng, plan)
    return replace(plan, weights=weights, ops=tuple(_ops(rng, plan, weights)))


def _chances(rng: random.Random) -> dict[str, float]:
    chances = {}
    for fate in (*FATES, "slow"):
        if rng.random() < 0.5:
            most = {"kill before": 0.002, "kill after": 0.002, "slow": 0.02}.get(fate, 0.01)
            chances[fate] = rng.uniform(0.0, 0.003 if fate.startswith(("freeze", "block")) else most)
    for parting in PARTINGS:
        if rng.random() < 0.3:
            chances[parting] = rng.uniform(0.0, 0.02 if parting == "late" else 0.001)
    chances["raise"] = rng.choice((0.0, 0.05, 0.3))
    chances["stubborn"] = rng.choice((0.0,) * 9 + (1.0,))
    chances["slow turn"] = rng.choice((0.0, 0.05, 0.2))
    chances["failing command"] = rng.choice((0.0, 0.2))
    return chances


def _weights(rng: random.Random, plan: Plan) -> dict[str, float]:
    every = {}
    for deed in DEEDS:
        mean_s = _EVERY_S.get(deed, 45.0) * rng.uniform(0.5, 3) * _FEWER.get(plan.shape, 1.0)
        left_out = deed not in ("change", "push") and rng.random() < 0.4
        if deed == "idle":
            left_out, mean_s = plan.shape != "long", 2.0
        if deed == "clock":
            left_out = left_out or plan.shape == "long"
        if deed == "host clock":
            left_out = left_out or not plan.several_hosts
        if not left_out:
            every[deed] = mean_s
    return every


def _ops(rng: random.Random, plan: Plan, weights: dict[str, float]) -> Iterable[Op]:
    ops: list[Op] = []
    for deed in DEEDS:
        at_s = 0.0
        while weights.get(deed, 0.0) > 0:
            at_s += rng.expovariate(1 / weights[deed])
            if at_s > plan.lasts_s:
                break
            ops += _op(rng, plan, round(at_s, 6), deed)
    return sorted(ops, key=lambda op: op.at_s)


def _op(rng: random.Random, plan: Plan, at_s: float, deed: str) -> list[Op]:
    """One deed with all that is to be known of it; disabling comes with an enabling later."""
    master = rng.choice(plan.names)
    names = sorted(plan.specs)
    name = rng.choice(names)
    detail: tuple[Any, ...] = ()
    if deed in ("change", "push"):
        n = rng.choice((1, 1, 1, 2, 5))
        detail = (tuple(rng.choice(("main", "main", "dev", "rc")) for _ in range(n)), rng.random() < 0.1)
    elif deed in ("kill", "stop"):
        detail = (master,)
    elif deed in ("freeze", "block"):
        detail = (master, rng.choice((0.5, 3, 8, 15, 40)))
    elif deed == "cut off":
        detail = (master, rng.choice((1, 4, 12, 30)))
    elif deed == "outage":
        detail = (rng.choice((0.5, 3, 8, 20)),)
    elif deed == "disable":
        enable = Op(round(at_s + rng.choice((0.01, 2.0, 15.0, 40.0)), 6), "enable", (name,))
        return [Op(at_s, deed, (name,)), enable]
    elif deed == "move":
        detail = (name, rng.choice((None, *plan.names)))
    elif deed in ("force", "retry"):
        detail = (name,)
    elif deed == "reconfigure":
        without = rng.sample(names, rng.choice((0, 0, 1, 2)))
        changed = rng.sample(names, rng.choice((0, 1, 3)))
        heartbeat = rng.choice((None, None, None, "500ms", "1s"))
        everywhere = rng.random() < 0.3
        detail = (None if everywhere else master, tuple(without), tuple(changed), heartbeat, rng.random() < 0.15)
    elif deed == "clock":
        detail = (rng.choice((-20.0, -3.0, -0.4, 0.4, 3.0, 45.0, 400.0)),)
    elif deed == "host clock":
        detail = (master, rng.choice((-86400.0, -30.0, -1.0, 1.0, 30.0, 86400.0)))
    return [Op(at_s, deed, detail)]
