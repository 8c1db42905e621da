"""Committing turns, many schedulers' at once, each fenced by its term.

Lock order: scheduler rows by id, then the rest, last the commit-order lock of the changes. READ COMMITTED: what a lock
protects is read in a later statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from . import cancelling, changes, descriptions, schedules, tasks
from .effects import Effects, Stamp
from .errors import DatabaseError
from .sql import Statement


class CauseGone(DatabaseError):
    """A cause of these schedulers' turns is not there any more: what they were made from is stale. Load them anew."""

    def __init__(self, scheduler_ids: frozenset[int], what: str) -> None:
        super().__init__(f"{what} of schedulers {sorted(scheduler_ids)[:5]} had been answered already")
        self.scheduler_ids = scheduler_ids


class StampsGone(DatabaseError):
    """A sourcestamp that was thought to be in the table is not: insert the group's stamps again, then commit again."""


_FENCE = Statement(
    "SELECT s.id FROM schedulers s JOIN {rows(id bigint, term bigint)} AS r ON r.id = s.id AND r.term = s.term"
    " WHERE s.incarnation = :incarnation ORDER BY s.id {lock_s}"
)
_MOVE_TIMERS = Statement(
    "UPDATE timers SET due = r.due FROM {rows(id bigint, key text, old bigint, due bigint)} AS r"
    " WHERE timers.scheduler_id = r.id AND timers.key = r.key AND timers.due = r.old RETURNING timers.scheduler_id, timers.key"
)
_FIRED_TIMERS = Statement(
    "DELETE FROM timers WHERE (scheduler_id, key, due) IN (SELECT id, key, due FROM {rows(id bigint, key text, due bigint)} AS r)"
    " RETURNING scheduler_id, key"
)
_CANCEL_TIMERS = Statement(
    "DELETE FROM timers WHERE (scheduler_id, key) IN (SELECT id, key FROM {rows(id bigint, key text)} AS r)"
)
_SET_TIMERS = Statement(
    "INSERT INTO timers (scheduler_id, key, due) SELECT id, key, due FROM {rows(id bigint, key text, due bigint)} AS r"
    " WHERE true ON CONFLICT (scheduler_id, key) DO UPDATE SET due = excluded.due"
)
_ANSWER = Statement(
    "UPDATE messages SET answer_json = r.answer, answered_at = {now}"
    " FROM {rows(id bigint, scheduler_id bigint, answer text)} AS r"
    " WHERE messages.id = r.id AND messages.scheduler_id = r.scheduler_id AND messages.answered_at IS NULL RETURNING messages.id"
)
_ROW = Statement(
    "UPDATE schedulers SET change_cursor = coalesce(r.change_to, change_cursor),"
    " finished_cursor = coalesce(r.finished_to, finished_cursor), turns = schedulers.turns + r.new_turns"
    " FROM {rows(id bigint, new_turns bigint, change_from bigint, change_to bigint, finished_from bigint, finished_to bigint)} AS r"
    " WHERE schedulers.id = r.id AND (r.change_from IS NULL OR change_cursor = r.change_from)"
    " AND (r.finished_from IS NULL OR finished_cursor = r.finished_from) RETURNING schedulers.id, schedulers.turns"
)
_BEGIN_FINISHED = Statement(
    "UPDATE schedulers SET finished_cursor = :number, finished_start = :number"
    " WHERE id IN (SELECT id FROM {rows(id bigint)} AS r) AND finished_cursor IS NULL"
)
_LOCK_FINISHED = Statement("SELECT value FROM counters WHERE name = 'finished' {lock}")
_BEGIN_CHANGES = Statement(
    "UPDATE schedulers SET change_cursor = :number, change_start = :number"
    " WHERE id IN (SELECT id FROM {rows(id bigint)} AS r) AND change_cursor IS NULL"
)
_STATE = Statement(
    "INSERT INTO scheduler_state (scheduler_id, key, value_json, term, turn)"
    " SELECT id, key, value, term, turn FROM {rows(id bigint, key text, value text, term bigint, turn bigint)} AS r WHERE true"
    " ON CONFLICT (scheduler_id, key) DO UPDATE SET value_json = excluded.value_json, term = excluded.term,"
    " turn = excluded.turn"
)
_CLASSIFY = Statement(
    "INSERT INTO classifications (scheduler_id, change_number, important)"
    " SELECT id, number, important = 1 FROM {rows(id bigint, number bigint, important bigint)} AS r WHERE true"
    " ON CONFLICT (scheduler_id, change_number) DO UPDATE SET important = excluded.important"
)
_FLUSH = Statement(
    "DELETE FROM classifications WHERE (scheduler_id, change_number) IN (SELECT id, number FROM {rows(id bigint, number bigint)} AS r)"
)
_BUILDSETS = Statement(
    "INSERT INTO buildsets (id, scheduler_id, scheduler, term, turn, incarnation, reason, submitted_at, due_at, cause, external_id,"
    " properties_json, waited_for, parent_json, tasks_left)"
    " SELECT id, scheduler_id, scheduler, term, turn, :incarnation, reason, {now}, due_at, cause, external_id, properties, waited = 1, parent, tasks_left"
    " FROM {rows(id bigint, scheduler_id bigint, scheduler text, term bigint, turn bigint, reason text, due_at bigint, cause text, external_id text,"
    " properties text, waited bigint, parent text, tasks_left bigint)} AS r WHERE true"
)
_BUILDSET_STAMPS = Statement(
    "INSERT INTO buildset_sourcestamps (buildset_id, sourcestamp_id) SELECT r.id, s.id"
    " FROM {rows(id bigint, content text)} AS r JOIN sourcestamps s ON s.content = r.content"
)
_BUILDSET_CHANGES = Statement(
    "INSERT INTO buildset_changes (buildset_id, change_number) SELECT id, number FROM {rows(id bigint, number bigint)} AS r"
)
_TASKS = Statement(
    "INSERT INTO tasks (id, buildset_id, builder_id, state, priority, submitted_at)"
    " SELECT id, buildset_id, builder_id, 'queued', priority, {now}"
    " FROM {rows(id bigint, buildset_id bigint, builder_id bigint, priority bigint)} AS r WHERE true"
)
_SKIPS = Statement(
    "INSERT INTO skips (scheduler_id, what, first, last, count, reason, at, term, turn)"
    " SELECT id, what, first, last, n, reason, {now}, term, turn FROM {rows(id bigint, what text, first bigint,"
    " last bigint, n bigint, reason text, term bigint, turn bigint)} AS r WHERE true"
)
_FAILED = Statement(
    "INSERT INTO failures (scheduler_id, cause, detail_json, attempts, first_at, last_at, retry_at, error)"
    " SELECT id, cause, detail, attempts, {now}, {now}, {now} + retry_us, error"
    " FROM {rows(id bigint, cause text, detail text, attempts bigint, retry_us bigint, error text)} AS r WHERE true"
    " ON CONFLICT (scheduler_id, cause) DO UPDATE SET attempts = excluded.attempts, last_at = excluded.last_at,"
    " retry_at = excluded.retry_at, error = excluded.error, detail_json = excluded.detail_json"
)
_MENDED = Statement(
    "DELETE FROM failures WHERE (scheduler_id, cause) IN (SELECT id, cause FROM {rows(id bigint, cause text)} AS r)"
)
_STAMPS = Statement(
    "INSERT INTO sourcestamps (codebase, repository, branch, revision, project, patch_json, content)"
    " SELECT codebase, repository, branch, revision, project, patch, content FROM {rows(codebase text, repository text,"
    " branch text, revision text, project text, patch text, content text)} AS r WHERE true ON CONFLICT (content) DO NOTHING"
)
_RESERVE = Statement("UPDATE counters SET value = value + :n WHERE name = :name RETURNING value")


def reserve(conn: Connection, counter: str, n: int) -> range:
    """``n`` ids of ``counter`` ('buildsets', 'tasks', 'messages') that nobody else gets. Run it by itself (``single``)."""
    last = int(_RESERVE(conn, name=counter, n=n).scalar_one())
    return range(last - n + 1, last + 1)


def add_stamps(conn: Connection, stamps: Iterable[Stamp]) -> None:
    """Insert the sourcestamps that are not there yet. In a transaction of its own, before the turns that name them."""
    rows = sorted(
        {(s.codebase, s.repository, s.branch, s.revision, s.project, s.patch_json, s.content): None for s in stamps},
        key=lambda row: row[-1] or "",
    )
    if rows:
        _STAMPS.with_rows(conn, rows)


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit did. ``refused``: ids not held under that term. The starts: from where those that began consume."""

    refused: frozenset[int]
    change_start: int | None
    finished_start: int | None
    completed: tuple[int, ...] = ()
    """buildsets whose last tasks were cancelled with this"""


def commit(conn: Connection, incarnation: str, group: Sequence[Effects]) -> Committed:
    """Write the effects of ``group``, one ``Effects`` a scheduler.

    The refused leave nothing behind, the others are all written, with this transaction. CauseGone, StampsGone: see
    there; the transaction must be rolled back.
    """
    held = set(
        _FENCE.with_rows(conn, [(e.scheduler_id, e.term) for e in group], incarnation=incarnation).scalars().all()
    )
    accepted = [e for e in group if e.scheduler_id in held]
    refused = frozenset(e.scheduler_id for e in group) - held
    if not accepted:
        return Committed(refused, None, None)
    emptied = _cancel(conn, accepted)
    turns = _consume(conn, accepted)
    for e in accepted:
        if e.calendar is not None and not schedules.keep(conn, e.calendar):
            raise CauseGone(frozenset({e.scheduler_id}), "a time of a stored schedule")
    _add_buildsets(conn, incarnation, accepted, turns)
    _keep(conn, accepted, turns)
    starts = _in_commit_order(conn, accepted)
    return Committed(refused, *starts, tasks.complete(conn, emptied))


def _cancel(conn: Connection, group: Sequence[Effects]) -> list[int]:
    """The buildsets that have no task left. First of all, as buildsets and tasks are locked before what has no order."""
    by_task = {task: why for e in group for task, why in e.cancel_tasks.items()}
    by_buildset = {buildset: why for e in group for buildset, why in e.cancel_buildsets.items()}
    return cancelling.cancel(conn, by_task, by_buildset) if by_task or by_buildset else []


def _consume(conn: Connection, group: Sequence[Effects]) -> dict[int, int]:
    """Causes, by compare-and-set, and the rows of the schedulers themselves; {scheduler id: the number of its newest turn}."""
    moved: list[tuple[int, str, int, int]] = []
    fired: list[tuple[int, str, int]] = []
    cancelled: list[tuple[int, str]] = []
    to_set: list[tuple[int, str, int]] = []
    for e in group:
        for key, due in e.timers.items():
            old = e.fired.get(key)
            if due is None:
                if old is None:
                    cancelled.append((e.scheduler_id, key))
                else:
                    fired.append((e.scheduler_id, key, old))
            elif old is None:
                to_set.append((e.scheduler_id, key, due))
            else:
                moved.append((e.scheduler_id, key, old, due))
    _expect("a timer", {row[:2] for row in moved}, _MOVE_TIMERS, conn, moved)
    _expect("a timer", {row[:2] for row in fired}, _FIRED_TIMERS, conn, fired)
    if cancelled:
        _CANCEL_TIMERS.with_rows(conn, cancelled)
    if to_set:
        _SET_TIMERS.with_rows(conn, to_set)
    asked = {message: e.scheduler_id for e in group for message, _ in e.answers}
    if asked:
        rows = [(message, e.scheduler_id, answer) for e in group for message, answer in e.answers]
        missing = set(asked) - set(_ANSWER.with_rows(conn, rows).scalars())
        if missing:
            raise CauseGone(frozenset(asked[m] for m in missing), "a message")
    rows_ = [
        (e.scheduler_id, e.turns, *(e.change_cursor or (None, None)), *(e.finished_cursor or (None, None)))
        for e in group
    ]
    turns: dict[int, int] = dict(_ROW.with_rows(conn, rows_).all())
    missing_ids = {e.scheduler_id for e in group} - set(turns)
    if missing_ids:
        raise CauseGone(frozenset(missing_ids), "a change or finished buildset")
    return turns


def _expect(
    what: str, wanted: Set[tuple[Any, ...]], statement: Statement, conn: Connection, rows: Sequence[tuple[Any, ...]]
) -> None:
    if rows:
        missing = wanted - set(map(tuple, statement.with_rows(conn, rows).all()))
        if missing:
            raise CauseGone(frozenset(row[0] for row in missing), what)


def _add_buildsets(conn: Connection, incarnation: str, group: Sequence[Effects], turns: Mapping[int, int]) -> None:
    buildsets, stamps, numbers, new_tasks = [], [], [], []
    for e in group:
        for b in e.buildsets:
            buildsets.append(
                (
                    b.id,
                    e.scheduler_id,
                    b.scheduler,
                    e.term,
                    turns[e.scheduler_id],
                    b.reason,
                    b.due_at,
                    b.cause,
                    b.external_id,
                    b.properties_json,
                    int(b.waited_for),
                    b.parent_json,
                    len(b.tasks),
                )
            )
            stamps += [(b.id, s.content) for s in b.stamps]
            numbers += [(b.id, n) for n in b.changes]
            new_tasks += [(task, b.id, builder, priority) for task, builder, priority in b.tasks]
    if not buildsets:
        return
    _BUILDSETS.with_rows(conn, buildsets, incarnation=incarnation)
    if stamps and _BUILDSET_STAMPS.with_rows(conn, stamps).rowcount != len(stamps):
        raise StampsGone("a sourcestamp is missing")
    if numbers:
        _BUILDSET_CHANGES.with_rows(conn, numbers)
    if new_tasks:
        _TASKS.with_rows(conn, new_tasks)


def _keep(conn: Connection, group: Sequence[Effects], turns: Mapping[int, int]) -> None:
    """State, classifications, skips, descriptions and failures."""
    state = [
        (e.scheduler_id, key, value, e.term, turns[e.scheduler_id]) for e in group for key, value in e.state.items()
    ]
    if state:
        _STATE.with_rows(conn, state)
    classified = [(e.scheduler_id, n, important) for e in group for n, important in e.classified.items()]
    kept = [(i, n, int(important)) for i, n, important in classified if important is not None]
    flushed = [(i, n) for i, n, important in classified if important is None]
    if kept:
        _CLASSIFY.with_rows(conn, kept)
    if flushed:
        _FLUSH.with_rows(conn, flushed)
    skipped = [
        (e.scheduler_id, s.what, s.first, s.last, s.count, s.reason, e.term, turns[e.scheduler_id])
        for e in group
        for s in e.skips
    ]
    if skipped:
        _SKIPS.with_rows(conn, skipped)
    described = [(e.scheduler_id, turns[e.scheduler_id], e.term, *e.about) for e in group if e.about is not None]
    if described:
        descriptions.keep(conn, described)
    failed = [(e.scheduler_id, cause, f) for e in group for cause, f in e.failures.items()]
    rows = [(i, c, f.detail_json, f.attempts, f.retry_us, f.error) for i, c, f in failed if f is not None]
    if rows:
        _FAILED.with_rows(conn, rows)
    mended = [(i, c) for i, c, f in failed if f is None]
    if mended:
        _MENDED.with_rows(conn, mended)


def _in_commit_order(conn: Connection, group: Sequence[Effects]) -> tuple[int | None, int | None]:
    changes.add(conn, [change for e in group for change in e.changes])
    change_start = finished_start = None
    beginning = [(e.scheduler_id,) for e in group if e.begin_changes]
    if beginning:
        change_start = changes.lock_order(conn)
        _BEGIN_CHANGES.with_rows(conn, beginning, number=change_start)
    beginning = [(e.scheduler_id,) for e in group if e.begin_finished]
    if beginning:
        finished_start = int(_LOCK_FINISHED(conn).scalar_one())
        _BEGIN_FINISHED.with_rows(conn, beginning, number=finished_start)
    return change_start, finished_start
