"""Why a time of a scheduler or stored schedule was served, skipped, or is late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Connection

from ...db import coming, descriptions, explaining, listings, naming, schedules
from ...db.explaining import Consumer, Skipped
from ...db.naming import Named, Refused
from ...db.schedules import ScheduleRow
from ...db.stored import Unreadable, read_value
from ...schedulers.calendar import CALENDAR
from ...schedulers.catchup import Policy, start_of
from ...schedulers.describing import Times
from ...schedulers.grid import TimeRule
from ...schedulers.overlapping import RUNS
from ...schedulers.timed import FORMER, STATE, TICK, rule_of
from ..reading import policy_of, rule_and_start_of
from .explain_change import description_of
from .explaining import NOT_RECORDED, RECOMPUTED, Explained, Reader, cause_of, held_by, made_by, tasks_of
from .next import grid_in, rule_text
from .output import iso, span

_SECOND_US = 1_000_000
_DEEDS_SPAN_US = 86_400 * _SECOND_US


def of_scheduler(conn: Connection, name: str, due: int, reader: Reader) -> Explained:
    """A time of a scheduler. NotFound; Refused: it has no times, or they cannot be read."""
    named = naming.find(conn, name, "scheduler")
    (consumer,) = explaining.consumers(conn, named.id)
    about = description_of(descriptions.newest(conn, named.id).get(named.id), name)
    state_json = explaining.state(conn, named.id, STATE)
    grid = grid_in(state_json, name)
    if about is not None and about.times is None:
        raise Refused(f"scheduler {name!r} is a {about.cls}, which has no times of its own")
    if about is None or about.times is None or grid is None:
        raise Refused(f"scheduler {name!r} has never been active, so nothing is known of its times")
    rule, began = _rule_then(conn, named.id, name, about.times, grid, due)
    due = _in_that_second(rule, due)
    starts = due if rule is None else start_of(rule, about.times.policy, name, due)
    told = Explained({"what": "tick", "scheduler": name, "due_at": iso(due), "starts": iso(starts)})
    text = f"by code of {about.cls}" if rule is None else rule_text(rule, reader.zone)
    told.say("rule", text, f"time {reader.at(due)} of scheduler {name!r}: {text}")
    _judge(conn, told, consumer, about.times, rule, grid, began, due, starts, reader)
    _say_holder(conn, told, named, due, reader)
    return told


def _in_that_second(rule: TimeRule | None, due: int) -> int:
    """The time of the rule that people are shown as ``due``: to the second, where a grid began within one."""
    found = None if rule is None or due % _SECOND_US else rule.after(due - 1)
    return found if found is not None and found < due + _SECOND_US else due


def _judge(
    conn: Connection,
    told: Explained,
    s: Consumer,
    times: Times,
    rule: TimeRule | None,
    grid: tuple[int, int],
    began: int,
    due: int,
    starts: int,
    reader: Reader,
) -> None:
    if _served(conn, told, s.id, due, starts, reader):
        return
    if rule is not None and rule.after(due - 1) != due:
        _not_a_time(told, rule, due, reader)
        return
    skips = explaining.tick_skipped(conn, s.id, due)
    if skips:
        _skipped(told, skips, reader)
        return
    waiting = _runs(conn, s.id, s.name)
    if due in waiting.get("waiting", ()):
        runs = ", ".join(map(str, waiting.get("running", ()))) or "(none)"
        told.reason("waits", f"overlap {times.overlap}: it waits for buildset {runs} to end")
        return
    if due > grid[1]:
        _to_come(conn, told, s, times, due, starts, reader)
        return
    if due <= began:
        told.reason("before it began", f"its rule began {reader.at(began)}: there was nobody to serve that time")
        return
    how = "its own code" if not times.is_ours else "what is kept"
    told.reason("not known", f"it has been dealt with, and {how} left neither a buildset nor a skip", NOT_RECORDED)


def _served(conn: Connection, told: Explained, scheduler_id: int, due: int, starts: int, reader: Reader) -> bool:
    origin = explaining.buildset_at(conn, scheduler_id, due)
    if origin is None:
        return False
    late = origin.submitted_at - starts
    cause, why = cause_of(conn, origin, reader)
    tasks, lines = tasks_of(conn, origin.id, reader)
    told.say(
        "buildset", {"id": origin.id, "result": origin.result, "cause": cause, "late_s": late / 1e6, "tasks": tasks}
    )
    text = f"served by buildset {origin.id} ({origin.result or 'unfinished'}), {span(late)} after it was to start: "
    told.reason("served", text + f"{made_by(origin, reader)}, {why}")
    told.lines += [f"  {line}" for line in lines]
    return True


def _skipped(told: Explained, skips: Sequence[Skipped], reader: Reader) -> None:
    for skip in skips:
        one = skip.count == 1
        run = "" if one else f" (with {skip.count} times from {reader.at(skip.first)} to {reader.at(skip.last)})"
        who = "" if skip.term is None else f", under term {skip.term} on {skip.master or 'a master no longer known'}"
        told.reason("skipped", f"skipped{run}: {skip.reason}; recorded {reader.when(skip.at)}{who}")


def _not_a_time(told: Explained, rule: TimeRule, due: int, reader: Reader) -> None:
    before, after = rule.before(due), rule.after(due)
    told.say("neighbours", [iso(before), iso(after)])
    told.reason(
        "not a time",
        f"it is none of its times; those beside it are {reader.at(before)} and {reader.at(after)}",
        RECOMPUTED,
    )


def _to_come(
    conn: Connection, told: Explained, s: Consumer, times: Times, due: int, starts: int, reader: Reader
) -> None:
    if not s.enabled:
        why = f": {s.disabled_why}" if s.disabled_why else ""
        told.reason("disabled now", f"the scheduler is disabled{why}; times until it is enabled again are skipped")
        return
    late = starts <= reader.now
    failing = {one.cause: one for one in explaining.failing(conn, s.id)}.get(f"timer:{TICK}")
    if failing is not None and failing.retry_at is not None:
        error = failing.error.splitlines()[-1] if failing.error else ""
        text = (
            f"serving it failed {failing.attempts} times, and is tried again {reader.when(failing.retry_at)}: {error}"
        )
        told.reason("waiting for a retry", text)
    elif s.master is None:
        when = "it is late: " if late else "it is to come, and now "
        told.reason("nobody holds it", f"{when}nobody holds the scheduler; {_catch_up(times.policy)}")
    elif late:
        told.reason("late", f"it was to start {reader.when(starts)}, and master {s.master} has not served it yet")
    else:
        delay = "" if starts == due else f", delayed by its jitter to {reader.at(starts)}"
        told.reason("to come", f"it is to come, {reader.when(starts)}{delay}")
    if times.only_if_changed:
        _, important = explaining.pending_of(conn, s.id)
        if important:
            told.reason("onlyIfChanged", f"{important} important changes wait for it")
        else:
            told.reason("onlyIfChanged", "no important change waits: unless one comes, it is skipped")


def _catch_up(policy: Policy) -> str:
    says = {
        "one": "when a master takes it, the newest of the times that came due is served",
        "all": f"when a master takes it, each time that came due is served, the newest {policy.catch_up_limit} at most",
        "none": "times that come due meanwhile are skipped",
    }[policy.catch_up]
    grace = "" if policy.grace_us is None else f", unless it is older than {span(policy.grace_us)} by then"
    return f"catch_up {policy.catch_up}: {says}{grace}"


def _rule_then(
    conn: Connection, scheduler_id: int, name: str, times: Times, grid: tuple[int, int], due: int
) -> tuple[TimeRule | None, int]:
    """(its rule at that time, when that rule began); a rule that was changed since is still known."""
    former_json = explaining.state(conn, scheduler_id, FORMER)
    former = [] if former_json is None else read_value(former_json, f"state {FORMER!r} of {name!r}")
    try:
        for one in former:
            if due <= one["until"]:
                return rule_of(one["rule"], one["anchor"]), one["anchor"]
    except (TypeError, LookupError):
        raise Unreadable(f"state {FORMER!r} of {name!r} is not what Locum writes there; mend that row") from None
    return times.rule(grid[0]), grid[0]


def _runs(conn: Connection, scheduler_id: int, name: str) -> Mapping[str, Any]:
    text = explaining.state(conn, scheduler_id, RUNS)
    value = {} if text is None else read_value(text, f"state {RUNS!r} of {name!r}")
    return value if isinstance(value, dict) else {}


def _say_holder(conn: Connection, told: Explained, named: Named, due: int, reader: Reader) -> None:
    value, line = held_by(explaining.held_at(conn, named.id, due), reader)
    told.say("held_by", value, f"at that time, {line}" if due <= reader.now else f"now, {line}")
    since, until = due - _DEEDS_SPAN_US, min(due + _DEEDS_SPAN_US, reader.now)
    found = explaining.deeds(conn, str(named), since, until)
    told.say("audit", [{"at": iso(e.at), "who": e.who, "action": e.action, "reason": e.reason} for e in found])
    told.lines += [f"{reader.at(e.at)}: {e.who}: {e.action}{': ' + e.reason if e.reason else ''}" for e in found]


# -- stored schedules -------------------------------------------------------------------------------------------------


def of_schedule(conn: Connection, row: ScheduleRow, due: int, reader: Reader) -> Explained:
    """A nominal time of a stored schedule. Refused: its rule cannot be read."""
    try:
        recurrence, _ = rule_and_start_of(row)
        policy, rule = policy_of(row), recurrence.rule
    except ValueError as error:
        raise Refused(f"{row} cannot be read by this release: {error}") from None
    due = _in_that_second(rule, due)
    told = Explained({"what": "tick", "schedule": row.id, "name": row.name, "due_at": iso(due)})
    told.say("rule", recurrence.text(), f"time {reader.at(due)} of {row}: {recurrence.text()}")
    execution = explaining.execution_at(conn, row.id, due)
    skips = explaining.schedule_skipped(conn, row.id, due)
    if execution is not None:
        _executed(conn, told, execution, reader)
    elif rule is not None and rule.after(due - 1) != due:
        _not_a_time(told, rule, due, reader)
    elif skips:
        _skipped(told, skips, reader)
    elif due > row.examined:
        _schedule_to_come(conn, told, row, policy, due, reader)
    else:
        told.reason("not known", "it has been dealt with, and left neither an execution nor a skip", NOT_RECORDED)
    calendar = [s for s in explaining.consumers(conn) if s.name == CALENDAR]
    if calendar:
        _say_holder(conn, told, naming.find(conn, CALENDAR, "scheduler"), due, reader)
    return told


def of_stored(conn: Connection, row: ScheduleRow, reader: Reader) -> Explained:
    """Why a stored schedule does nothing right now: its next time, and what has not ended."""
    try:
        recurrence, _ = rule_and_start_of(row)
    except ValueError as error:
        raise Refused(f"{row} cannot be read by this release: {error}") from None
    due = None if row.ended_at is not None else recurrence.after(max(row.examined, reader.now))
    if due is None:
        told = Explained({"what": "schedule", "schedule": row.id, "name": row.name})
        told.say("rule", recurrence.text(), f"{row}: {recurrence.text()}")
        over = "" if row.ended_at is None else f", since {reader.when(row.ended_at)}"
        told.reason("over", f"it will never fire again{over}")
    else:
        told = of_schedule(conn, row, due, reader)
        told.value["what"] = "schedule"
    for one in schedules.unfinished(conn, row.id)[:20]:
        told.reason(
            "unfinished", f"execution {one.id} is {one.state}, since {reader.at(one.started_at or one.made_at)}"
        )
    return told


def _executed(conn: Connection, told: Explained, number: int, reader: Reader) -> None:
    one = schedules.execution(conn, number)
    why = f": {one.why}" if one.why else ""
    began = "" if one.started_at is None else f", started {reader.at(one.started_at)}"
    told.say("execution", {"id": number, "state": one.state, "result": one.result, "cause": one.cause, "why": one.why})
    told.reason(one.state, f"execution {number} ({one.cause}): {one.result or one.state}{began}{why}")
    tasks, lines = tasks_of(conn, number, reader)
    told.say("tasks", tasks)
    told.lines += [f"  {line}" for line in lines]


def _schedule_to_come(
    conn: Connection, told: Explained, row: ScheduleRow, policy: Policy, due: int, reader: Reader
) -> None:
    if row.paused:
        why = f": {row.paused_why}" if row.paused_why else ""
        told.reason("paused", f"the schedule is paused{why}; when it is resumed, {_catch_up(policy)}")
        return
    holder = next((r for r in coming.timed(conn, STATE) if r.kind == "scheduler" and r.name == CALENDAR), None)
    if holder is None or not holder.enabled or holder.master is None:
        state = "is not there yet" if holder is None else "is disabled" if not holder.enabled else "is held by nobody"
        told.reason("nobody holds it", f"the scheduler {CALENDAR!r}, which serves it, {state}; {_catch_up(policy)}")
    elif due <= reader.now:
        failing = [f for f in listings.failures(conn, holder.id) if f.cause == f"schedule:{row.id}"]
        error = f": serving it failed: {failing[0].error.splitlines()[-1]}" if failing and failing[0].error else ""
        told.reason("late", f"it came due {reader.when(due)}, and master {holder.master} has not served it yet{error}")
    else:
        told.reason("to come", f"it is to come, {reader.when(due)}")
