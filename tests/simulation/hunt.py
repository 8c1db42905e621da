"""``python -m locum.tests.simulation.hunt --seeds A:B``: many stories; tells of those in which a promise was broken.

A failure is cut down to a small plan, printed, and written to a file that ``--replay FILE`` plays again.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from .breakages import BREAKAGES
from .plan import Plan, draw
from .shrink import shrunk, told
from .story import Report, simulate

EVERY_S = 60.0
"""How often the figures so far are printed."""


@dataclass(slots=True)
class Figures:
    """What has been simulated."""

    seeds: int = 0
    failed: list[int] = field(default_factory=list)
    steps: int = 0
    commits: int = 0
    faults: int = 0
    lived_s: float = 0.0
    simulated_s: float = 0.0
    cpu_s: float = 0.0
    shapes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, report: Report) -> None:
        """One more story."""
        self.seeds += 1
        if report.violation:
            self.failed.append(report.plan.seed)
        self.steps += report.steps
        self.commits += report.commits
        self.faults += len(report.faults)
        self.lived_s += report.lived_s
        self.simulated_s += report.simulated_s
        self.cpu_s += report.cpu_s
        self.shapes[report.plan.shape] += 1
        self.kinds.update(fault.rsplit(": ", 1)[1] for fault in report.faults)
        self.kinds.update(report.kinds)

    def __str__(self) -> str:
        return (
            f"{self.seeds} seeds, {len(self.failed)} failed{f' {self.failed[:20]}' if self.failed else ''};"
            f" {self.steps:,} steps, {self.commits:,} commits, {self.faults:,} faults;"
            f" {self.simulated_s / 3600:,.1f} h simulated ({self.lived_s / 3600:,.1f} h of them lived, the rest idle calendar),"
            f" {self.cpu_s:,.0f} s of CPU: {self.simulated_s / 60 / max(self.cpu_s, 0.001):,.1f} h a CPU minute"
        )

    def details(self) -> str:
        """How often what was done, and what went wrong."""
        return ", ".join(f"{kind} {n:,}" for kind, n in sorted({**self.shapes, **self.kinds}.items()))


def one(seed: int, shape: str | None, shorter: float, breakage: str = "") -> Report:
    """The story of a seed; ``shorter`` times."""
    plan = draw(seed, BREAKAGES[breakage].shape if breakage else shape)
    if breakage:
        plan = replace(plan.stirred(BREAKAGES[breakage].chances, BREAKAGES[breakage].every), breakage=breakage)
    lasts_s = plan.lasts_s / shorter
    return play(replace(plan, lasts_s=lasts_s, ops=tuple(op for op in plan.ops if op.at_s < lasts_s)))


def play(plan: Plan) -> Report:
    """Carry out a plan, with the product broken on purpose if it says so."""
    if not plan.breakage:
        return simulate(plan)
    with BREAKAGES[plan.breakage].patch():
        return simulate(plan, peace=BREAKAGES[plan.breakage].peace)


def main() -> int:
    """The number of seeds that failed, at most 100, is the exit code."""
    given = _arguments().parse_args()
    if given.replay is not None:
        return _replay(given.replay, given.whole)
    first, _, last = given.seeds.partition(":")
    seeds: Iterable[int] = (
        itertools.count(int(first)) if given.forever else range(int(first), int(last or 0) or int(first) + 1)
    )
    figures, next_word = Figures(), time.monotonic() + EVERY_S
    tell = partial(one, shape=given.shape, shorter=given.shorter, breakage=given.broken)
    for report in _reports(tell, seeds, given.jobs):
        figures.add(report)
        if report.violation:
            print(f"seed {report.plan.seed}: {report.violation}", flush=True)
            if not given.quick:
                _cut_down(report, given.folder)
        if time.monotonic() >= next_word:
            next_word += EVERY_S
            print(figures, flush=True)
    print(figures)
    print(figures.details())
    return min(len(figures.failed), 100)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Simulate many clusters; print the seeds in which a promise was broken."
    )
    parser.add_argument("--seeds", default="0:100", metavar="A:B", help="from A up to, not including, B; or just one")
    parser.add_argument("--forever", action="store_true", help="go on from the first seed until it is stopped")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="play one plan again")
    parser.add_argument("--shape", choices=("dense", "tasks", "wide", "long"), help="only such clusters")
    parser.add_argument("--shorter", type=float, default=1.0, metavar="N", help="so many times shorter stories")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--quick", action="store_true", help="do not cut failing plans down")
    parser.add_argument("--folder", type=Path, default=Path("."), help="where the plans of failures are written")
    parser.add_argument("--whole", action="store_true", help="print the last events of each failure")
    parser.add_argument("--broken", default="", choices=sorted(BREAKAGES), help="with the product broken on purpose")
    return parser


def _reports(tell: partial[Report], seeds: Iterable[int], jobs: int) -> Iterable[Report]:
    if jobs == 1:
        yield from map(tell, seeds)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        waiting = iter(seeds)
        while batch := list(itertools.islice(waiting, 50 * jobs)):
            yield from pool.map(tell, batch)


def _cut_down(report: Report, folder: Path) -> None:
    small = shrunk(report, play)
    file = folder / f"seed-{report.plan.seed}.json"
    file.write_text(small.plan.to_json())
    print(told(small))
    print(f"again: python -m locum.tests.simulation.hunt --replay {file}", flush=True)


def _replay(file: Path, whole: bool) -> int:
    report = play(Plan.read(file))
    print(report if whole else told(report))
    return 1 if report.violation else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
