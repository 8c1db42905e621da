"""P9: how fast a scheduler changes hands, by kind of fault, and how late a due time is served when nothing is wrong.

Bounds count only where nothing else was wrong at the time; the figures are of all.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass

from . import checker_expected as expected
from . import configuration
from .checker_rows import Histories, Ownership
from .history import Configured, FaultBegan, FaultEnded, OrderAnswered, OrderAsked
from .invariants import Found, Invariant, us

HUNG_S = configuration.LEASE_S + configuration.HEARTBEAT_S + 1.0
SLACK_S = 2.0
"""For a machine that does a hundred other things at the time."""
KILLED_S = 1.0
_HUNG = ("freeze-above", "block", "net-cut", "net-cut-to-server")
BOUNDS_S = {"kill": KILLED_S + SLACK_S, "term": KILLED_S + SLACK_S, **dict.fromkeys(_HUNG, HUNG_S + SLACK_S)}
"""From the fault to the scheduler's next owner; of a hung or cut-off master, if it was that for longer than ``HUNG_S``."""
LATE_S = 3.0
READ_S = 5.0
"""How long it takes until a master that is up has read its file anew."""
RECOVERY_S = 15.0
"""After a fault is healed: masters start, wait for their names, take what is free, and catch up."""


@dataclass(frozen=True, slots=True)
class Window:
    """A fault, from its beginning to its healing."""

    fault: str
    target: str
    begin: float
    end: float

    def covers(self, at: float, *, before_s: float = 0.0, after_s: float = RECOVERY_S) -> bool:
        return self.begin - before_s <= at <= self.end + after_s

    def overlaps(self, begin: float, end: float) -> bool:
        return self.begin <= end and begin <= self.end + RECOVERY_S


@dataclass(frozen=True, slots=True)
class Takeover:
    """A scheduler that got another owner because of a fault. ``alone``: nothing else was wrong then."""

    fault: str
    target: str
    scheduler: str
    at: float
    seconds: float
    alone: bool
    lasted_s: float


def windows(h: Histories) -> list[Window]:
    """All faults; one that was not healed lasts until the quiet time."""
    ended = {e.id: e.at for e in h.faults.of(FaultEnded)}
    quiet = h.phase("quiet") or float("inf")
    return [Window(e.fault, e.target, e.at, ended.get(e.id, quiet)) for e in h.faults.of(FaultBegan)]


def takeovers(h: Histories) -> list[Takeover]:
    """Every change of hands that followed a fault of one master, where another had the scheduler in its file all the time."""
    every = windows(h)
    found = []
    for w in every:
        incarnation = _incarnation(h, w.target, w.begin)
        if incarnation is None:
            continue
        bound = BOUNDS_S.get(w.fault, HUNG_S + SLACK_S)
        alone = not any(o is not w and o.overlaps(w.begin, w.begin + bound) for o in every)
        for scheduler_id, owners in h.owners.items():
            after = _next_owner(owners, incarnation, us(w.begin))
            if after is not None and after.since <= us(w.end) + us(RECOVERY_S):
                seconds = after.since / 1e6 - w.begin
                if not _another_has_it(h, h.name(scheduler_id), w, seconds):
                    continue
                found.append(
                    Takeover(w.fault, w.target, h.name(scheduler_id), w.begin, seconds, alone, w.end - w.begin)
                )
    return found


def _another_has_it(h: Histories, scheduler: str, w: Window, seconds: float) -> bool:
    """Not so while files differ: then only its own master may come back for it."""
    if scheduler not in h.entries:
        return True  # a change source, or the calendar: in every file
    begin, end = w.begin - READ_S, w.begin + seconds
    files: dict[str, list[bool]] = {}
    for e in h.truth.of(Configured):
        if e.master != w.target and e.at <= end:
            has = files.setdefault(e.master, [])
            if e.at <= begin:
                has.clear()  # it was read anew
            has.append(scheduler in e.schedulers)
    return any(all(has) for has in files.values())


def _incarnation(h: Histories, name: str, at: float) -> str | None:
    for m in h.rows.masters:
        if m.name == name and m.started_at <= us(at) and (m.ended_at is None or m.ended_at >= us(at)):
            return m.incarnation
    return None


def _next_owner(owners: list[Ownership], incarnation: str, at_us: int) -> Ownership | None:
    """Who had it next, if that incarnation had it at that moment; None also if it was given up to be disabled."""
    place = bisect.bisect_right([o.since for o in owners], at_us) - 1
    if place < 0 or owners[place].incarnation != incarnation:
        return None
    for after in owners[place + 1 :]:
        if after.why.startswith(("disabled by", "moved by", "rebalanced by")):
            return None
        if after.incarnation not in (None, incarnation):
            return after
    return None


def others_take_over_in_time(h: Histories) -> Iterator[Found]:
    """A killed, stopped or frozen master's schedulers have another owner within the promised time."""
    for t in takeovers(h):
        bound = BOUNDS_S.get(t.fault)
        must = t.fault not in _HUNG or t.lasted_s > HUNG_S
        if bound is not None and must and t.alone and t.seconds > bound:
            what = f"{t.scheduler} had no other owner for {t.seconds:.3f} s after {t.fault} of {t.target}"
            yield Found(f"{what}, more than {bound:.1f} s", us(t.at))


def lateness(h: Histories) -> list[tuple[str, int, float, bool]]:
    """(scheduler, due time, seconds from there to its buildset, whether nothing was wrong) of every tick that waits for nothing."""
    troubled = _troubled(h)
    found = []
    for b in h.rows.buildsets:
        if b.due_at is None or b.scheduler_id is None:
            continue
        name = h.name(b.scheduler_id)
        entries = h.entries.get(name, [])
        policies = [expected.policy(e) for e in entries if e["type"] in expected.TIMED]
        if (
            not entries
            or any(p.jitter_us or p.overlap != "allow" for p in policies)
            or expected.is_backfilled(h, name, b.due_at)
        ):
            continue
        seconds = (b.submitted_at - b.due_at) / 1e6
        calm = not any(
            begin <= b.submitted_at / 1e6 and b.due_at / 1e6 <= end for begin, end in troubled.get(name, troubled[""])
        )
        found.append((name, b.due_at, seconds, calm))
    return found


def troubled(h: Histories, scheduler: str) -> list[tuple[float, float]]:
    """When that scheduler may be late: from, until."""
    spans = _troubled(h)
    return spans.get(scheduler, spans[""])


def _troubled(h: Histories) -> dict[str, list[tuple[float, float]]]:
    """When a scheduler may be late: '' for any, a name with what it was ordered besides. Before the load all is just starting."""
    quiet, stopping, load = h.phase("quiet"), h.phase("stopping"), h.phase("load")
    spans = [(w.begin, w.end + RECOVERY_S) for w in windows(h)]
    spans.append((0.0, load or 0.0))
    if quiet is not None:
        spans.append((quiet, quiet + RECOVERY_S))
    if stopping is not None:
        spans.append((stopping, float("inf")))
    answered = {e.id: e.at for e in h.truth.of(OrderAnswered)}
    found: dict[str, list[tuple[float, float]]] = {"": spans}
    for order in h.truth.of(OrderAsked):
        span = (order.at - 1.0, answered.get(order.id, order.at) + 5.0)
        if order.scheduler:
            found.setdefault(order.scheduler, []).append(span)
        else:
            spans.append(span)
    return {name: spans if name == "" else [*spans, *own] for name, own in found.items()}


def ticks_are_served_in_time(h: Histories) -> Iterator[Found]:
    """When nothing is wrong a due time's buildset is there within seconds; and never before its time."""
    for name, due, seconds, calm in lateness(h):
        if calm and seconds > LATE_S:
            yield Found(f"{name}: its buildset came {seconds:.3f} s after it was due", due)
        if seconds < -1.0:
            yield Found(f"{name}: its buildset came {-seconds:.3f} s before it was due", due)


ALL: tuple[Invariant, ...] = (others_take_over_in_time, ticks_are_served_in_time)
