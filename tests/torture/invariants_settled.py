"""After the quiet time all is as before: everything is owned, nothing is overdue, and nobody leaves anything behind."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .checker_rows import Histories
from .history import Configured, FaultBegan, Leftovers, MasterEnded, OrderAnswered, OrderAsked, Resources, Seen
from .invariants import Found, Invariant, us

OVERDUE_S = 5.0
BLOCKING = ("block", "freeze", "fail-point", "twin")
"""Faults by which a scheduler may seem to block its master: twice, and it is quarantined."""
SLACK = {"threads": 12, "files": 40, "children": 8, "connections": 24}
"""How much more of each a master may use after the quiet time: pools fill as they are needed, tasks come and go."""
EXPECTED_FILES = re.compile(
    r"m\d+(-\w+)?\.yaml|.*\.log|rows\.(json|dialect)|.*\.sqlite|raised|work|ground|postgresql|repository|jobs"
)


def everything_is_owned(h: Histories) -> Iterator[Found]:
    """At the last look each scheduler that a master stands by for is enabled and held by one that was up."""
    last = _last_look(h)
    if last is None:
        return
    configured: dict[str, set[str]] = {}
    for e in h.truth.of(Configured):
        if e.at <= last.at:
            configured[e.master] = set(e.schedulers)
    wanted = set().union(*configured.values()) if configured else set(last.schedulers)
    wanted |= {s.name for s in h.rows.schedulers if s.kind == "change_source"}
    blocked = any(f.fault.startswith(BLOCKING) for f in h.faults.of(FaultBegan))
    told = _told_to_be_disabled(h)
    for name in sorted(wanted):
        now = last.schedulers.get(name)
        if now is None:
            yield Found(f"{name} is configured, and has no row", us(last.at))
        elif not now["enabled"]:
            why = (s.disabled_why or "") if (s := h.by_name.get(name)) else ""
            if not (name in told or (blocked and why.startswith("quarantined: "))):
                yield Found(f"{name} is disabled ({why}), and nobody asked for that", us(last.at))
        elif not _was_up(h, now["incarnation"], last.at):
            yield Found(
                f"{name} is held by {now['incarnation'] or 'nobody'}, who was not up, after the quiet time", us(last.at)
            )


def _last_look(h: Histories) -> Seen | None:
    end = h.phase("stopping")
    return next((e for e in reversed(h.truth.of(Seen)) if end is not None and e.until <= end), None)


def _told_to_be_disabled(h: Histories) -> set[str]:
    """Whose last order was to be disabled, or may have come last."""
    answers = {a.id: a.outcome for a in h.truth.of(OrderAnswered)}
    found: dict[str, bool] = {}
    for order in h.truth.of(OrderAsked):
        outcome = answers.get(order.id, "unknown")
        if order.action == "disable" and outcome != "no":
            found[order.scheduler] = True
        elif order.action == "enable" and outcome == "yes":
            found[order.scheduler] = False
    return {name for name, disabled in found.items() if disabled}


def _was_up(h: Histories, incarnation: str | None, at: float) -> bool:
    m = h.masters.get(incarnation or "")
    return m is not None and m.started_at <= us(at) + 1_000_000 and (m.ended_at is None or m.ended_at >= us(at))


def nothing_is_left_to_do(h: Histories) -> Iterator[Found]:
    """No alarm is overdue, no message unanswered, no cause failed."""
    end = h.phase("stopping")
    if end is None:
        return
    late = us(end - OVERDUE_S)
    for t in h.rows.timers:
        s = h.schedulers.get(t.scheduler_id)
        if s is not None and s.enabled and t.due < late and h.is_configured(s.name):
            yield Found(f"{s.name}: timer {t.key} was due {end - t.due / 1e6:.1f} s before the end", t.due)
    for m in h.rows.messages:
        if m.answered_at is None and m.made_at < late:
            yield Found(f"{h.name(m.scheduler_id)}: message {m.key} has no answer", m.made_at)
    for f in h.rows.failures:
        state = "set aside" if f.retry_at is None else "waiting for another try"
        yield Found(f"{h.name(f.scheduler_id)}: {f.cause} is {state} after {f.attempts}: {f.error[:200]}")


def nothing_leaks(h: Histories) -> Iterator[Found]:
    """A master uses no more after it all than before; and when all have ended nothing of them is left."""
    before = {e.master: e for e in h.truth.of(Resources) if e.phase == "calm"}
    for e in h.truth.of(Resources):
        if e.phase != "calm" and e.master in before and e.threads:
            for what, slack in SLACK.items():
                was, now = getattr(before[e.master], what), getattr(e, what)
                if now > was + slack:
                    yield Found(f"{e.master} had {was} {what} before the load, and {now} after", us(e.at))
    for left in h.truth.of(Leftovers):
        for process in left.processes:
            yield Found(f"a process outlived the masters: {process}", us(left.at))
        for session in left.sessions:
            yield Found(f"a session outlived the masters: {session}", us(left.at))
        for file in left.files:
            if not EXPECTED_FILES.fullmatch(file):
                yield Found(f"a file is left that nobody expects: {file}", us(left.at))


def masters_end_in_order(h: Histories) -> Iterator[Found]:
    """Told to stop when nothing else is wrong, each leaves with exit code 0, and its incarnation is over."""
    end = h.phase("stopping")
    if end is None:
        return
    for e in h.truth.of(MasterEnded):
        if e.at >= end and e.exit_code != 0:
            yield Found(f"{e.master} (pid {e.pid}) ended with {e.exit_code} when it was told to stop", us(e.at))
    for m in h.rows.masters:
        if m.state in ("up", "stopping"):
            yield Found(f"{m.name} ({m.incarnation}) is {m.state}, when all have ended")
    for s in h.rows.schedulers:
        if s.incarnation is not None and (m := h.masters.get(s.incarnation)) is not None and m.state == "stopped":
            yield Found(f"{s.name} is still held by {m.name} ({m.incarnation}), which has stopped")


def logs_tell_of_no_defect(h: Histories) -> Iterator[Found]:
    """No master's log has an error that nobody expected."""
    for line in h.logs:
        yield Found(line)


ALL: tuple[Invariant, ...] = (
    everything_is_owned,
    nothing_is_left_to_do,
    nothing_leaks,
    masters_end_in_order,
    logs_tell_of_no_defect,
)
