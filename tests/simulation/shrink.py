"""From a plan that fails to a small one that fails in the same way: what is not needed for it is left out, bit by bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from .plan import Plan
from .story import Report, simulate


def shrunk(report: Report, run: Callable[[Plan], Report] = simulate, within_s: float = 300.0) -> Report:
    """The report of the smallest plan found (by delta debugging) that breaks the same promise; ``within_s`` of CPU.

    First the plan's own faults are written down in place of its dice, which tells the same story again.
    """
    return _Shrinking(report, run, time.process_time() + within_s).shrink()


class _Shrinking:
    """The best plan so far, and the tries to better it."""

    def __init__(self, report: Report, run: Callable[[Plan], Report], until_s: float) -> None:
        self._run = run
        self._until_s = until_s
        self._promise = _promise(report)
        self.best = report
        self._fixed = replace(report.plan, faults=report.faults)

    def shrink(self) -> Report:
        if not self._try(self._cut_off(self._fixed)) and not self._try(self._fixed):
            return self.best  # it cannot be played again, which is a defect of the simulation
        before = None
        while before != (before := self._size()) and self._time_left():
            self._without("faults")
            self._without("ops")
            self._fewer_masters()
            self._without("schedulers")
        return self.best

    def _size(self) -> tuple[int, int, int, int]:
        p = self.best.plan
        return len(p.ops), len(p.faults or ()), p.masters, len(p.specs)

    def _time_left(self) -> bool:
        return time.process_time() < self._until_s

    def _cut_off(self, plan: Plan) -> Plan:
        """Without what comes after the violation."""
        at_s = self.best.at_s
        if at_s > plan.lasts_s:  # it showed only in peace
            return plan
        return replace(plan, lasts_s=at_s + 1.0, ops=tuple(op for op in plan.ops if op.at_s <= at_s))

    def _try(self, plan: Plan) -> bool:
        report = self._run(plan)
        if _promise(report) != self._promise:
            return False
        self.best = report
        return True

    def _without(self, what: str) -> None:
        """Delta debugging of one of the plan's lists: ever smaller pieces are left out, while it still fails."""
        items: Sequence[Any] = getattr(self.best.plan, what) or (
            tuple(self.best.plan.specs) if what == "schedulers" else ()
        )
        size = len(items)
        while size >= 1 and items and self._time_left():
            start = 0
            while start < len(items) and self._time_left():
                fewer = (*items[:start], *items[start + size :])
                if (fewer or what != "schedulers") and self._try(_with(self.best.plan, what, fewer)):
                    items = fewer
                else:
                    start += size
            size //= 2

    def _fewer_masters(self) -> None:
        while self.best.plan.masters > 1 and self._time_left():
            plan = self.best.plan
            last = plan.names[-1]
            ops = tuple(op for op in plan.ops if last not in op.detail)
            if not self._try(replace(plan, masters=plan.masters - 1, ops=ops)):
                return


def _with(plan: Plan, what: str, items: Sequence[Any]) -> Plan:
    if what != "schedulers":
        return replace(plan, **{what: tuple(items)})
    kept = set(items)
    names = set(plan.specs)
    # What is done to a scheduler that is not there any more is not done.
    ops = tuple(op for op in plan.ops if not (op.detail and op.detail[0] in names - kept))
    ops = tuple(
        replace(
            op, detail=(op.detail[0], *(tuple(n for n in some if n in kept) for some in op.detail[1:3]), *op.detail[3:])
        )
        if op.deed == "reconfigure"
        else op
        for op in ops
    )
    return replace(plan, schedulers=tuple(items), ops=ops)


def _promise(report: Report) -> str:
    """What was broken, without its numbers: 'P3: ...' is P3."""
    found = report.violation
    return found[:3] if found[:1] == "P" and found[2:3] == ":" else found[:30]


def told(report: Report) -> str:
    """A minimal plan as a person reads it."""
    p = report.plan
    lines = [
        f"seed {p.seed}: {p.shape}, {p.masters} masters, {len(p.specs)} schedulers, lease {p.lease}, heartbeat {p.heartbeat},"
        f" {'several hosts' if p.several_hosts else 'one host'}, lasts {p.lasts_s:.1f} s",
        "what was done:",
        *(f"  {op}" for op in p.ops),
        "what went wrong:",
        *(f"  {fault}" for fault in p.faults or ()),
        f"what came of it, at {report.at_s:.3f} s: {report.violation}",
    ]
    return "\n".join(lines)
