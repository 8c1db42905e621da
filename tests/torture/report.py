"""What a run is told by, to a person: what was broken first and what happened around it; else the figures."""

from __future__ import annotations

import argparse
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import checker, machine
from .checker_rows import Histories
from .failpoints import POINTS
from .history import ChangeAnswered, FaultBegan, FaultEnded, Folder, MasterEnded, OrderAnswered
from .invariants_timing import Takeover, takeovers, windows

SHOWN = 10


@dataclass(frozen=True, slots=True)
class Report:
    """``broken``: whether anything was."""

    broken: bool
    text: str


def of(folder: Folder, url: str | None, troubles: Sequence[str] = ()) -> Report:
    """Judge what a run has left, with its database at ``url``, or by the rows of it that the folder has kept."""
    h = checker.look_at(folder, url)
    broken = checker.judged(h)
    told = [f"TROUBLE in the torture itself, or an answer that never should be: {trouble}" for trouble in troubles]
    if broken:
        told += [f"BROKEN, first of {len(broken)}: {broken[0]}"]
        told += ["then:"] * (len(broken) > 1) + [f"  {b.invariant}: {b.what}" for b in broken[1:SHOWN]]
    return Report(bool(broken or troubles), "\n".join([*told, *figures(h)]))


def figures(h: Histories) -> list[str]:
    """What was done and checked, in lines."""
    ticks = sum(1 for b in h.rows.buildsets if b.due_at is not None)
    skipped = sum(s.count for s in h.rows.skips if s.what == "ticks")
    answers = Counter(event.outcome for event in h.truth.of(OrderAnswered))
    acknowledged = sum(1 for event in h.truth.of(ChangeAnswered) if event.outcome == "yes")
    attempts = sum(task.attempt for task in h.rows.tasks)
    taken = sum(1 for o in h.rows.ownership if o.incarnation is not None)
    return [
        f"checked: {len(h.rows.changes)} changes ({acknowledged} acknowledged), {ticks + skipped} ticks ({skipped} of them"
        f" skipped as their policy says), {len(h.rows.buildsets)} buildsets, {len(h.rows.tasks)} tasks in {attempts} attempts",
        f"checked: {taken} terms of {len(h.rows.schedulers)} schedulers under {len(h.rows.masters)} incarnations,"
        f" {sum(answers.values())} orders ({answers['yes']} done, {answers['no']} refused, {answers['unknown']} unanswered)",
        *_faults(h),
        *_takeovers(h),
    ]


def _faults(h: Histories) -> list[str]:
    ended = Counter(event.fault for event in h.faults.of(FaultEnded))
    busy = sum(event.detail["seconds"] for event in h.faults.of(FaultEnded) if event.fault == machine.FAULT)
    crashes = Counter(event.exit_code for event in h.truth.of(MasterEnded))
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(ended.items()) if kind != machine.FAULT) or "none"
    processes = ", ".join(f"{count} with {code}" for code, count in sorted(crashes.items()))
    told = [f"faults: {kinds}", *_fail_points(h), f"masters' processes ended: {processes}"]
    if busy:
        told.append(f"for {busy:.0f} s the machine itself was too busy for bounds of time to be judged")
    return told


def _fail_points(h: Histories) -> list[str]:
    """At which points of the code a master has ended, and at which it was frozen."""
    struck = {e.id for e in h.faults.of(FaultEnded) if e.detail.get("struck")}
    aimed = [e for e in h.faults.of(FaultBegan) if "point" in e.detail]
    if not aimed:
        return []
    points = {point.name for point in POINTS}
    hit: dict[str, set[str]] = {what: set() for what in ("kill", "freeze")}
    for e in aimed:
        if e.id in struck:
            hit[e.detail["what"]].add(e.detail["point"])
    by_what = ", ".join(f"{what} at {len(found)}" for what, found in hit.items())
    never = sorted(points - set().union(*hit.values()))
    told = f"fail points: {len(points) - len(never)} of {len(points)} struck ({by_what}), {len(aimed)} times aimed at"
    return [told + (f"; not struck: {', '.join(never)}" if len(never) <= SHOWN else "")]


def _takeovers(h: Histories) -> list[str]:
    by_kind: dict[str, list[float]] = defaultdict(list)
    for takeover in takeovers(h):
        if not _another_struck(h, takeover):
            by_kind[takeover.fault].append(takeover.seconds)
    lines = []
    for kind, found in sorted(by_kind.items()):
        p50, p99, most = (_percentile(found, p) for p in (50, 99, 100))
        lines.append(f"takeover after {kind}: {len(found)} times, p50 {p50:.2f} s, p99 {p99:.2f} s, max {most:.2f} s")
    return lines


def _another_struck(h: Histories, takeover: Takeover) -> bool:
    """Whether something else was done between a fault and the takeover, so that it tells nothing of that fault."""
    return any(
        w.begin != takeover.at and w.begin <= takeover.at + takeover.seconds and takeover.at <= w.end
        for w in windows(h)
    )


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def main() -> None:
    """Judge a kept folder again: ``python -m locum.tests.torture.report FOLDER``."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder")
    print(of(Folder(Path(parser.parse_args().folder).resolve()), None).text)


if __name__ == "__main__":
    main()
