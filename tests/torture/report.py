"""What a run is told by, to a person: what was broken first and what happened around it; else the figures."""

from __future__ import annotations

import argparse
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import checker
from .checker_rows import Histories
from .history import ChangeAnswered, FaultBegan, FaultEnded, Folder, MasterEnded, OrderAnswered

SHOWN = 10
_ON_A_MASTER = ("kill", "term", "freeze", "block", "net")


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
    crashes = Counter(event.exit_code for event in h.truth.of(MasterEnded))
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(ended.items())) or "none"
    processes = ", ".join(f"{count} with {code}" for code, count in sorted(crashes.items()))
    return [f"faults: {kinds}", f"masters' processes ended: {processes}"]


def _takeovers(h: Histories) -> list[str]:
    by_kind = takeovers(h)
    lines = []
    for kind, found in sorted(by_kind.items()):
        p50, p99, most = (_percentile(found, p) for p in (50, 99, 100))
        lines.append(f"takeover after {kind}: {len(found)} times, p50 {p50:.2f} s, p99 {p99:.2f} s, max {most:.2f} s")
    return lines


def takeovers(h: Histories) -> dict[str, list[float]]:
    """Seconds from the beginning of each fault on a master until each scheduler that it held was somebody else's.

    Those that it kept are left out: the fault was too short for a takeover. So are those that were moved or disabled by
    an order meanwhile.
    """
    found: dict[str, list[float]] = defaultdict(list)
    ends = {event.id: event.at for event in h.faults.of(FaultEnded)}
    for fault in h.faults.of(FaultBegan):
        if fault.id in ends and fault.fault.startswith(_ON_A_MASTER):
            at = round(fault.at * 1e6)
            found[fault.fault] += _lost_by(h, fault.target, at, round(ends[fault.id] * 1e6))
    return {kind: times for kind, times in found.items() if times}


def _lost_by(h: Histories, master: str, at: int, until: int) -> Iterable[float]:
    for owners in h.owners.values():
        held = [o for o in owners if o.since <= at]
        mine = held[-1] if held else None
        if mine is None or mine.incarnation is None or h.masters[mine.incarnation].name != master:
            continue
        after = [o for o in owners if o.since > at]
        following = next((o for o in after if o.incarnation is not None), None)
        first = after[0] if after else None
        if following is None or first is None or following.since > until:
            continue
        if following.incarnation != mine.incarnation and not _ordered(first.why):
            yield (following.since - at) / 1e6


def _ordered(why: str) -> bool:
    return why.startswith(("moved", "rebalanced", "disabled", "enabled"))


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
