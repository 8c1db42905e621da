"""Why a change did or did not start anything, scheduler by scheduler."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection

from ...db import changes, descriptions, explaining, naming
from ...db.audit import Entry
from ...db.descriptions import DescriptionRow
from ...db.explaining import Consumer, Failing, Origin, Skipped
from ...db.naming import NotFound, Refused
from ...schedulers.changes import Change
from ...schedulers.describing import Description, Judgement, read_description
from ...schedulers.timed import TICK
from ..reading import change_of
from .explaining import NOT_RECORDED, RECOMPUTED, RECORDED, Explained, Reader, cause_of, held_by, made_by, tasks_of
from .output import iso

SHOWN = 50
_RANK = (
    *(
        "started",
        "set aside",
        "discarded",
        "waiting for a retry",
        "behind a failure",
        "pending",
        "waits for importance",
    ),
    *("not read yet", "nobody holds it", "disabled now", "was disabled", "before it began", "handled by its own code"),
    *("cancels older tasks", "refused by its code", "refused", "not known"),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one scheduler made of a change, and how that is known."""

    scheduler: str
    verdict: str
    text: str
    how: str = RECORDED
    buildsets: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is on record of one change."""

    change: Change
    received_at: int
    started: Mapping[int | None, list[Origin]]
    pending: Mapping[int, bool]
    skipped: Mapping[int, Skipped]
    failing: Mapping[int, Mapping[str, Failing]]
    timers: Mapping[int, Mapping[str, int]]
    then: Mapping[int, DescriptionRow]
    latest: Mapping[int, DescriptionRow]
    discarded: Mapping[str, Entry]


def explain(conn: Connection, number: int, reader: Reader, only: str | None, *, everything: bool) -> Explained:
    """One change: every scheduler that consumes changes, or the one named ``only``. NotFound."""
    found = changes.these(conn, [number])
    if not found:
        newest = changes.last_number(conn)
        raise NotFound(f"there is no change {number}; the newest is {newest}")
    row = found[0]
    scheduler_id = None if only is None else naming.find(conn, only, "scheduler").id
    facts = _facts(conn, change_of(row), row.received_at, scheduler_id)
    told = Explained({"what": "change", "number": number})
    told.say("branch", row.branch)
    told.say("revision", row.revision)
    told.say("received_at", iso(row.received_at))
    where = " ".join(filter(None, (row.repository, row.project, row.codebase)))
    told.lines.append(
        f"change {number} by {row.who}, {reader.when(row.received_at)}: branch {row.branch or '(default)'},"
        f" revision {row.revision or '-'}{', ' + where if where else ''}"
    )
    consumers = explaining.consumers(conn, scheduler_id)
    verdicts = [v for s in consumers if (v := _verdict(conn, s, facts, reader)) is not None]
    others = len(consumers) - len(verdicts)
    verdicts += _gone(conn, facts, {s.id for s in consumers}, reader) if only is None else []
    verdicts.sort(key=lambda v: (_RANK.index(v.verdict), v.scheduler))
    shown = verdicts if everything else verdicts[:SHOWN]
    told.value["schedulers"] = [_json(v) for v in shown]
    for verdict in shown:
        how = "" if verdict.how == RECORDED else f" [{verdict.how}]"
        told.lines.append(f"{verdict.scheduler}: {verdict.verdict}: {verdict.text}{how}")
        told.lines += [f"  {line}" for line in verdict.lines]
    _say_rest(told, len(verdicts) - len(shown), others)
    if only is not None:
        value, line = held_by(explaining.held_at(conn, consumers[0].id, row.received_at), reader)
        told.say("held_by", value, f"when it came, {line}")
    return told


def _say_rest(told: Explained, left_out: int, others: int) -> None:
    told.value["left_out"] = left_out
    if left_out:
        told.lines.append(f"left out: {left_out} more schedulers; --all shows them, --scheduler NAME one of them")
    if others > 0:
        told.say("not_consuming", others, f"{others} schedulers consume no changes")


def _json(v: Verdict) -> dict[str, Any]:
    return {"scheduler": v.scheduler, "verdict": v.verdict, "text": v.text, "how": v.how, "buildsets": v.buildsets}


def _facts(conn: Connection, change: Change, received_at: int, scheduler_id: int | None) -> Facts:
    started: dict[int | None, list[Origin]] = {}
    for origin in explaining.buildsets_of_change(conn, change.number):
        started.setdefault(origin.scheduler_id, []).append(origin)
    failing: dict[int, dict[str, Failing]] = {}
    for one in explaining.failing(conn, scheduler_id):
        failing.setdefault(one.scheduler_id, {})[one.cause] = one
    return Facts(
        change,
        received_at,
        started,
        explaining.pending(conn, change.number),
        explaining.change_skipped(conn, change.number),
        failing,
        explaining.timers(conn, scheduler_id),
        descriptions.at_change(conn, change.number, scheduler_id),
        descriptions.newest(conn, scheduler_id),
        {entry.what: entry for entry in explaining.discarded(conn, f"change:{change.number}")},
    )


def description_of(row: DescriptionRow | None, name: str) -> Description | None:
    """What a scheduler was. Refused: it cannot be read."""
    try:
        return None if row is None else read_description(row.about)
    except ValueError as error:
        raise Refused(f"scheduler {name!r}: {error}") from None


def _gone(conn: Connection, facts: Facts, known: set[int], reader: Reader) -> list[Verdict]:
    """What schedulers made of it that are not there any more."""
    lost = [(key, origins) for key, origins in facts.started.items() if key not in known]
    return [_started(conn, origins[0].scheduler or "(no scheduler)", origins, reader) for _, origins in lost]


def _verdict(conn: Connection, s: Consumer, facts: Facts, reader: Reader) -> Verdict | None:
    """None: it does not consume changes."""
    number = facts.change.number
    if s.id in facts.started:
        return _started(conn, s.name, facts.started[s.id], reader)
    failed = facts.failing.get(s.id, {}).get(f"change:{number}")
    if failed is not None:
        return _failed(s, failed, reader)
    deed = facts.discarded.get(f"scheduler '{s.name}'")
    if deed is not None:
        return Verdict(s.name, "discarded", f"it failed, and {deed.who} gave it up, {reader.when(deed.at)}")
    skip = facts.skipped.get(s.id)
    if skip is not None:
        text = f"changes {skip.first} to {skip.last} came before it was enabled again, {reader.when(skip.at)}"
        return Verdict(s.name, "was disabled", text)
    latest = description_of(facts.latest.get(s.id), s.name)
    if latest is None:
        return Verdict(s.name, "not known", "it has never been active, so nobody knows what it consumes", NOT_RECORDED)
    if s.change_start is None or (latest.judgement is None and number > (s.change_cursor or 0)):
        return None
    if number <= s.change_start:
        return Verdict(s.name, "before it began", f"it consumes changes from {s.change_start + 1} on")
    if s.change_cursor is not None and number > s.change_cursor:
        return _unread(s, facts, latest, reader)
    if s.id in facts.pending:
        return _pending(conn, s, facts, latest, reader)
    return _answered(conn, s, facts, description_of(facts.then.get(s.id), s.name), reader)


def _started(conn: Connection, name: str, origins: list[Origin], reader: Reader) -> Verdict:
    values, lines = [], []
    for origin in origins:
        cause, why = cause_of(conn, origin, reader)
        tasks, said = tasks_of(conn, origin.id, reader)
        values.append({"id": origin.id, "result": origin.result, "cause": cause, "term": origin.term, "tasks": tasks})
        lines += [f"buildset {origin.id} ({origin.result or 'unfinished'}): {made_by(origin, reader)}, {why}", *said]
    text = "buildset " + ", ".join(f"{o.id} ({o.result or 'unfinished'})" for o in origins)
    return Verdict(name, "started", text, RECORDED, values, lines)


def _failed(s: Consumer, failed: Failing, reader: Reader) -> Verdict:
    error = failed.error.splitlines()[-1] if failed.error else ""
    if failed.retry_at is None:
        text = f"after {failed.attempts} tries, the last {reader.when(failed.last_at)}: {error}"
        cure = f"; 'locum scheduler failures {s.name} --retry {failed.cause}' tries it again"
        return Verdict(s.name, "set aside", text + cure)
    return Verdict(
        s.name,
        "waiting for a retry",
        f"it failed {failed.attempts} times and is tried again {reader.when(failed.retry_at)}: {error}",
    )


def _unread(s: Consumer, facts: Facts, latest: Description | None, reader: Reader) -> Verdict:
    """Its position in the database is before the change."""
    number = facts.change.number
    at = f"the position on record is {s.change_cursor}"
    if not s.enabled:
        why = f" ({s.disabled_why})" if s.disabled_why else ""
        return Verdict(s.name, "disabled now", f"disabled{why}: what came since will not be for it when it is enabled")
    refusals = [] if latest is None or latest.judgement is None else latest.judgement.refusals(facts.change)
    if refusals:
        return Verdict(s.name, "refused", f"{'; '.join(refusals)} ({at})", RECOMPUTED)
    blocking = [
        one
        for cause, one in facts.failing.get(s.id, {}).items()
        if cause.startswith("change:") and one.retry_at is not None and int(cause.partition(":")[2]) < number
    ]
    if blocking:
        one = min(blocking, key=lambda b: int(b.cause.partition(":")[2]))
        text = f"it waits behind {one.cause}, which failed and is tried again {reader.when(one.retry_at or 0)}"
        return Verdict(s.name, "behind a failure", text)
    if s.master is None:
        return Verdict(s.name, "nobody holds it", f"it is read when a master takes this scheduler; {at}")
    return Verdict(s.name, "not read yet", f"{at}; master {s.master} holds it and writes its position at most 5 s late")


def _pending(conn: Connection, s: Consumer, facts: Facts, latest: Description | None, reader: Reader) -> Verdict:
    important = facts.pending[s.id]
    judgement = None if latest is None else latest.judgement
    timers = facts.timers.get(s.id, {})
    grade = "important" if important else "unimportant"
    if judgement is not None and judgement.reaction == "stable":
        due = _stable_timer(timers, facts.change)
        if due is not None:
            return Verdict(s.name, "pending", f"{grade}; it waits for the tree-stable timer, {reader.when(due)}")
        return Verdict(s.name, "waits for importance", f"{grade}: it waits for an important change to come with")
    if judgement is not None and judgement.reaction == "collects":
        due = timers.get(TICK)
        then = "" if due is None else f", {reader.when(due)}"
        alone = ""
        if latest is not None and latest.times is not None and latest.times.only_if_changed and not important:
            _, others = explaining.pending_of(conn, s.id)
            alone = "" if others else "; with onlyIfChanged, unimportant ones alone start nothing"
        return Verdict(s.name, "pending", f"{grade}; it waits for the next time{then}{alone}")
    return Verdict(s.name, "pending", f"{grade}; it is on the list of changes that wait")


def _stable_timer(timers: Mapping[str, int], change: Change) -> int | None:
    own = json.dumps([change.codebase, change.project, change.repository, change.branch])
    return timers.get(own, timers.get("stable"))


def _answered(conn: Connection, s: Consumer, facts: Facts, then: Description | None, reader: Reader) -> Verdict:
    """It has been read, and nothing names it."""
    if then is None:
        return Verdict(s.name, "not known", "it was read; what the scheduler was then is not on record", NOT_RECORDED)
    if then.judgement is None:
        return Verdict(s.name, "refused", "the scheduler did not consume changes then")
    judgement = then.judgement
    refusals = judgement.refusals(facts.change)
    if refusals:
        return Verdict(s.name, "refused", "; ".join(refusals), RECOMPUTED)
    if judgement.reaction == "own":
        return _own(conn, s, facts, then, judgement, reader)
    if judgement.reaction == "cancels":
        return Verdict(s.name, "cancels older tasks", "it starts nothing: it cancels older tasks of the same branch")
    code = [*judgement.code, *(["fileIsImportant"] if judgement.judges_importance else [])]
    if not code:
        text = "it was read and fits, and nothing of it is left: neither a buildset nor a place on a list"
        return Verdict(s.name, "not known", text, NOT_RECORDED)
    what = "it or said that it is unimportant" if judgement.reaction == "at once" or judgement.only_important else "it"
    return Verdict(
        s.name,
        "refused by its code",
        f"all conditions on record hold, so {' or '.join(code)} refused {what}; which of them is not recorded",
        RECOMPUTED,
    )


def _own(
    conn: Connection, s: Consumer, facts: Facts, then: Description, judgement: Judgement, reader: Reader
) -> Verdict:
    number = facts.change.number
    origins = explaining.buildsets_of_cause(conn, s.id, f"change:{number}", facts.received_at)
    if origins:
        return _started(conn, s.name, origins, reader)
    code = [*judgement.code, *(["fileIsImportant"] if judgement.judges_importance else [])]
    doubt = f", unless {' or '.join(code)} refused it" if code else ""
    text = f"the code of {then.cls} has answered it{doubt}, and asked for no buildset in that turn"
    return Verdict(s.name, "handled by its own code", text, RECOMPUTED if code else RECORDED)
