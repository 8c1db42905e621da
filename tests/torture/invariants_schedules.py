"""Stored schedules: each nominal time is one execution or a recorded skip; what a person says holds when it is answered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from .checker_rows import Buildset, Execution, Histories, ScheduleSkip
from .history import OrderAnswered, OrderAsked
from .invariants import Found, Invariant, us

NEARLY_US = 1_000_000
"""How far the moment of making or removing one may be from when that was asked or answered, beside the time it took."""
OVERDUE_S = 5.0
TOGETHER_US = 1000
"""How far apart two readings of one clock may seem, as commits are not instants."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What is known of one from those who made it. Times in microseconds; ``removed_*`` None: it never was."""

    id: int
    name: str
    start: int
    period: int
    catch_up: str
    limit: int
    overlap: str
    made_from: int
    made_until: int
    removed_from: int | None
    removed_until: int | None

    def due(self, after: int, until: int) -> list[int]:
        """The nominal times at ``after < t <= until``."""
        first = max(self.start, self.start + ((after - self.start) // self.period + 1) * self.period)
        return list(range(first, until + 1, self.period))


def stored(h: Histories) -> list[Stored]:
    """All that were made for certain."""
    orders: dict[tuple[str, str], list[tuple[OrderAsked, OrderAnswered | None]]] = defaultdict(list)
    answers = {a.id: a for a in h.truth.of(OrderAnswered)}
    for e in h.truth.of(OrderAsked):
        orders[e.action, e.scheduler].append((e, answers.get(e.id)))
    found = []
    for (action, name), asked in orders.items():
        made = next((a for _, a in asked if a is not None and a.outcome == "yes"), None)
        if action != "schedule-add" or made is None:
            continue
        args = asked[0][0].args
        removals = orders.get(("schedule-remove", name), [])
        gone = next((a for _, a in removals if a is not None and a.outcome == "yes"), None)
        found.append(
            Stored(
                made.detail["id"], name, us(datetime.fromisoformat(args["start"]).timestamp()), args["seconds"] * 1_000_000,
                args["catch_up"], args["limit"], args["overlap"], us(asked[0][0].at), us(made.at),
                us(removals[0][0].at) if removals else None, None if gone is None else us(gone.at),
            )
        )  # fmt: skip
    return found


def _executions(h: Histories) -> dict[int, list[Execution]]:
    found: dict[int, list[Execution]] = defaultdict(list)
    for e in sorted(h.rows.executions, key=lambda e: e.made_at):
        found[e.schedule_id].append(e)
    return found


def _skips(h: Histories) -> dict[int, list[ScheduleSkip]]:
    found: dict[int, list[ScheduleSkip]] = defaultdict(list)
    for k in h.rows.schedule_skips:
        found[k.schedule_id].append(k)
    return found


def every_nominal_time_is_accounted_for(h: Histories) -> Iterator[Found]:
    """From its making to its removal, or to the end, each nominal time has one execution or is in one recorded skip."""
    executions, skips = _executions(h), _skips(h)
    rows = {row.id: row for row in h.rows.schedules}
    end = h.phase("stopping")
    for one in stored(h):
        row = rows.get(one.id)
        if row is None and one.removed_from is None:
            yield Found(f"{one.name} was made, and is not there; nobody removed it", one.made_until)
            continue
        if row is not None and one.removed_until is not None:
            yield Found(f"{one.name} was removed, and is there", one.removed_until)
        served: dict[int, int] = defaultdict(int)
        for e in executions[one.id]:
            if e.due_at is not None:
                served[e.due_at] += 1
        if row is not None:
            until, maybe = row.examined, row.examined
            missed = one.due(row.examined, us((end or 0) - OVERDUE_S))
            if missed and not row.paused:
                yield Found(
                    f"{one.name}: {len(missed)} times came due, and nobody looked at them until the end", missed[0]
                )
        else:
            until, maybe = (one.removed_from or 0) - NEARLY_US, (one.removed_until or us(end or 0)) + NEARLY_US
        must = set(one.due(one.made_until + NEARLY_US, until))
        may = set(one.due(one.made_from - NEARLY_US, maybe))
        for t in sorted(must | set(served)):
            skipped = sum(1 for k in skips[one.id] if t in k)
            times = served.get(t, 0) + skipped
            if times == 0:
                yield Found(f"{one.name}: {_at(t)} was due, and there is neither an execution nor a recorded skip", t)
            elif times > 1 and not (skipped == 1 and served.get(t) == 1 and _backfilled(h, one, t)):
                yield Found(f"{one.name}: {_at(t)} has {served.get(t, 0)} executions, and {times} records in all", t)
            if t not in may and not _backfilled(h, one, t):
                yield Found(f"{one.name}: an execution for {_at(t)}, which was never due", t)
        for k in skips[one.id]:
            if one.due(k.first - 1, k.last)[:1] != [k.first] or len(one.due(k.first - 1, k.last)) != k.count:
                yield Found(
                    f"{one.name}: {k.count} times skipped, {_at(k.first)} to {_at(k.last)}, which were not due", k.at
                )


def _backfilled(h: Histories, one: Stored, t: int) -> bool:
    return any(order["first"] <= t <= order["last"] for order in h.backfills.get(one.name, ()))


def schedule_skips_are_as_the_policy_says(h: Histories) -> Iterator[Found]:
    """Every reason for a skip is one that its policy, its removal or a run before it can give."""
    skips, executions = _skips(h), _executions(h)
    for one in stored(h):
        for k in skips[one.id]:
            wrong = _wrong(one, k, executions[one.id], skips[one.id])
            if wrong:
                yield Found(f"{one.name}: skipped {_at(k.first)} to {_at(k.last)} ({k.reason}): {wrong}", k.at)


def _wrong(one: Stored, k: ScheduleSkip, executions: list[Execution], skips: list[ScheduleSkip]) -> str:
    later = any(e.due_at is not None and e.due_at > k.last for e in executions) or any(o.first > k.last for o in skips)
    if k.reason.startswith("catch_up "):
        if not k.reason.startswith(f"catch_up {one.catch_up}:"):
            return "its policy is another"
        return "" if later or one.catch_up == "none" else "but no newer one was served"
    if k.reason.startswith("catch_up_limit"):
        return "" if one.catch_up == "all" and later else "its policy is another, or none was served"
    if k.reason.startswith("overlap "):
        if not k.reason.startswith(f"overlap {one.overlap}:"):
            return "its policy is another"
        if "one is waiting" in k.reason:
            waited = any(e.made_at <= k.at and _not_before(e.started_at or e.ended_at, k.at) for e in executions)
            return "" if waited else "none was waiting"
        before = any(e.made_at <= k.at and _not_before(e.ended_at, k.at) for e in executions)
        return "" if before else "no run before it was unfinished"
    if k.reason.startswith("the schedule was removed"):
        return "" if one.removed_from is not None else "nobody removed it"
    return "that is no reason known"


def _not_before(when: int | None, at: int) -> bool:
    """Several turns may be committed together."""
    return when is None or when > at - NEARLY_US


def what_a_person_said_holds(h: Histories) -> Iterator[Found]:
    """Once pausing or removing it is answered, nothing of it fires until somebody asks to let it."""
    if not h.one_clock:
        return
    executions = _executions(h)
    answers = {a.id: a for a in h.truth.of(OrderAnswered)}
    for one in stored(h):
        deeds = [e for e in h.truth.of(OrderAsked) if e.scheduler == one.name]
        for place, e in enumerate(deeds):
            answer = answers.get(e.id)
            if e.action not in ("schedule-pause", "schedule-remove") or answer is None or answer.outcome != "yes":
                continue
            resumed = next((o.at for o in deeds[place + 1 :] if o.action == "schedule-resume"), float("inf"))
            for x in executions[one.id]:
                if x.cause == "due" and us(answer.at) + TOGETHER_US < x.made_at < us(min(resumed, 2e9)):
                    late = x.made_at / 1e6 - answer.at
                    yield Found(f"{one.name} fired {late:.3f} s after {e.action} was answered", x.made_at)


def executions_and_buildsets_agree(h: Histories) -> Iterator[Found]:
    """Each execution that has begun is a buildset of the calendar, and ends with its result; no other is the calendar's."""
    calendar = h.by_name.get("calendar")
    if calendar is None:
        return
    own = {b.id: b for b in h.rows.buildsets if b.scheduler_id == calendar.id and b.turn is not None}
    forced = {m.answer.get("buildset") for m in h.messages.get(calendar.id, [])}
    known = {e.id for e in h.rows.executions}
    for b in own.values():
        if b.id not in known and b.id not in forced:
            yield Found(f"buildset {b.id} of the calendar is no execution", b.submitted_at)
    end = us((h.phase("stopping") or 0) - OVERDUE_S)
    for e in h.rows.executions:
        found, what = own.get(e.id), f"execution {e.id} of schedule {e.schedule_id} is {e.state}"
        if (e.started_at is not None) != (found is not None):
            yield Found(f"{what}, and its buildset is {'there' if found else 'not there'}", e.made_at)
        elif e.state == "finished" and (found is None or found.result != e.result):
            yield Found(f"{what} with {e.result}, and its buildset ended with {found and found.result}", e.ended_at)
        elif e.state == "dropped" and (found is not None or not e.why):
            yield Found(f"{what} ({e.why}), and its buildset is there, or there is no reason", e.ended_at)
        elif e.state == "started" and found is not None and found.completed_at is not None and found.completed_at < end:
            yield Found(f"{what}, and its buildset had long ended", found.completed_at)


def executions_do_not_overlap(h: Histories) -> Iterator[Found]:
    """Unless ``overlap`` is ``allow``, what came due starts when every run before it has ended; a dropped one was replaced,
    or its schedule is gone. A run now that was committed together with it may have come after it: no time tells."""
    if not h.one_clock:
        return
    executions = _executions(h)
    buildsets = {b.id: b for b in h.rows.buildsets}
    for one in stored(h):
        begun = sorted((e for e in executions[one.id] if e.started_at is not None), key=lambda e: e.started_at or 0)
        runs: list[tuple[Execution, Buildset]] = []
        for e in begun:
            b = buildsets.get(e.id)
            ends = [
                other.completed_at or 1 << 62
                for before, other in runs
                if b is None or before.cause != "run now" or (other.term, other.turn) != (b.term, b.turn)
            ]
            early_us = max(ends, default=0) - (e.started_at or 0)
            if one.overlap != "allow" and e.cause != "run now" and early_us > TOGETHER_US:
                yield Found(
                    f"{one.name}: execution {e.id} began {early_us / 1e6:.3f} s before the one before it had ended",
                    e.started_at,
                )
            if b is not None:
                runs.append((e, b))
        for e in executions[one.id]:
            replaced = e.why.startswith("overlap replace") and one.overlap == "replace"
            removed = e.why.startswith("the schedule was removed") and one.removed_from is not None
            if e.state == "dropped" and not replaced and not removed:
                yield Found(f"{one.name}: execution {e.id} was dropped ({e.why})", e.ended_at)
            if e.result == "cancelled" and one.overlap != "replace":
                yield Found(f"{one.name}: execution {e.id} was cancelled, and its overlap is {one.overlap}", e.ended_at)


def every_run_now_is_one_execution(h: Histories) -> Iterator[Found]:
    """What a request was answered with is there with that cause, and no other request's; no other was run now."""
    calendar = h.by_name.get("calendar")
    if calendar is None:
        return
    executions = {e.id: e for e in h.rows.executions}
    answered: dict[int, str] = {}
    for m in h.messages.get(calendar.id, []):
        one = m.answer.get("execution")
        for number in [*([one] if one is not None else []), *m.answer.get("executions", [])]:
            cause = "run now" if one is not None else "backfill"
            if number in answered:
                yield Found(f"execution {number} is the answer to {answered[number]} and to {m.key}", m.answered_at)
            if number not in executions or executions[number].cause != cause:
                yield Found(
                    f"{m.key} was answered with execution {number}, which is not there as '{cause}'", m.answered_at
                )
            answered[number] = m.key
    for e in h.rows.executions:
        if e.cause != "due" and e.id not in answered:
            yield Found(f"execution {e.id} ({e.cause}) of schedule {e.schedule_id} is no request's answer", e.made_at)


def _at(t: int) -> str:
    return f"{datetime.fromtimestamp(t / 1e6).strftime('%H:%M:%S')}.{t % 1_000_000:06}"


ALL: tuple[Invariant, ...] = (
    every_nominal_time_is_accounted_for,
    schedule_skips_are_as_the_policy_says,
    what_a_person_said_holds,
    executions_and_buildsets_agree,
    executions_do_not_overlap,
    every_run_now_is_one_execution,
)
