"""Tasks from queue to result: claimed, recorded while they run, ended, and taken from runners that were lost.

Every write names the runner's incarnation and the attempt, and changes nothing once the task is no longer that runner's
(promise P6). Lock order: builders, buildsets, tasks, each by id; last the counter that numbers finished buildsets,
whose row lock until COMMIT makes the numbers rise in commit order. READ COMMITTED: what a lock protects is read in a
later statement.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

from sqlalchemy.engine import Connection

from .collapsing import newest_of
from .sql import Statement
from .stored import Unreadable, read_object, read_property_values, read_value
from .task_states import RUNNING, Result, State, quoted, worst

_RUNNING = quoted(RUNNING)


class SourceStamp(TypedDict):
    """Which revision of which branch of which repository; None: the newest, the default one. ``patch``: only if it has one."""

    codebase: str
    repository: str
    branch: str | None
    revision: str | None
    project: str
    patch: NotRequired[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ClaimedTask:
    """A task that is now its claimer's, under an attempt that nobody had before; properties are the buildset's, then its own."""

    id: int
    attempt: int
    builder_id: int
    builder: str
    buildset_id: int | None
    scheduler: str | None
    reason: str
    priority: int
    properties: dict[str, Any]
    sourcestamps: tuple[SourceStamp, ...]
    changes: tuple[int, ...]
    fault: str = ""
    """what of it cannot be read: it must fail"""


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step has begun."""

    task: int
    attempt: int
    number: int
    name: str


@dataclass(frozen=True, slots=True)
class StepEnded:
    """A step has ended as ``done`` or ``failed``; ``why`` is a sentence for people."""

    task: int
    attempt: int
    number: int
    state: Literal["done", "failed"]
    exit_code: int | None
    why: str | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a step's output, numbered from 0 within its step. No NUL: PostgreSQL cannot hold it."""

    task: int
    attempt: int
    step: int
    sequence: int
    text: str


@dataclass(frozen=True, slots=True)
class PropertiesSet:
    """Properties that a task found out about itself (``got_revision``), added to its own."""

    task: int
    attempt: int
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """A task has come to rest in ``state``; ``why`` becomes its status line."""

    task: int
    attempt: int
    state: State
    result: Result
    why: str = ""


@dataclass(frozen=True, slots=True)
class TaskRequeued:
    """A task goes back into the queue, without a result; its next claim is a new attempt."""

    task: int
    attempt: int
    why: str = ""


Record = StepStarted | StepEnded | Chunk | PropertiesSet | TaskEnded | TaskRequeued


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of records: ``mine`` are the (task, attempt) that were still the runner's; the others' changed nothing.

    ``alive``: whether the incarnation may still act. ``completed``: the buildsets that ended with this.
    """

    mine: frozenset[tuple[int, int]]
    alive: bool
    completed: tuple[int, ...] = ()
    failed: bool = False
    """whether a task has failed with this"""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a runner may have to do: ``held`` is each (task, attempt) that is its already, ``queued``: there is more."""

    held: frozenset[tuple[int, int]]
    queued: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """What became of a lost runner's tasks; ``more``: not all were done, ask again."""

    failed: tuple[int, ...] = ()
    requeued: tuple[int, ...] = ()
    completed: tuple[int, ...] = ()
    more: bool = False


@dataclass(frozen=True, slots=True)
class Holder:
    """An incarnation that has running tasks. ``silent_us``: since its last beat, by the database's clock."""

    incarnation: str
    name: str
    state: str
    beats: int
    silent_us: int
    host: str
    machine_id: str
    boot_id: str
    pid: int
    pid_started: int


_UP = "EXISTS (SELECT 1 FROM masters WHERE masters.incarnation = :incarnation AND masters.state = 'up')"
_WAITING_BUILDERS = Statement(
    "SELECT b.id, b.name, b.collapses FROM builders b JOIN {rows(id bigint)} AS r ON r.id = b.id"
    " WHERE EXISTS (SELECT 1 FROM tasks t WHERE t.builder_id = b.id AND t.state = 'queued')"
)
# What of ours runs; and a row without an id for each builder that has something queued.
_OUTLOOK = Statement(
    f"SELECT t.id, t.attempt FROM tasks t WHERE t.incarnation = :incarnation AND t.state IN ({_RUNNING})"
    " UNION ALL SELECT NULL, NULL FROM {rows(id bigint)} AS r"
    " WHERE EXISTS (SELECT 1 FROM tasks q WHERE q.builder_id = r.id AND q.state = 'queued')"
)
_LOCK_LIMITED = Statement(
    "SELECT s.id, s.max_parallel FROM builders s JOIN {rows(id bigint)} AS r ON r.id = s.id"
    " WHERE s.max_parallel IS NOT NULL OR s.collapses ORDER BY s.id {lock_s}"
)
_EXECUTING = Statement(
    "SELECT t.builder_id, count(*) FROM tasks t JOIN {rows(id bigint)} AS r ON r.id = t.builder_id"
    f" WHERE t.state IN ({_RUNNING}) GROUP BY t.builder_id"
)
# Of each builder as many as it has room for; a queue of any length costs its first few rows. Ids are handed out in blocks, so
# it is the time that tells who came first.
_CANDIDATES_POSTGRESQL = Statement(
    "SELECT t.id FROM {rows(id bigint, room bigint)} AS r CROSS JOIN LATERAL"
    " (SELECT q.id, q.priority, q.submitted_at FROM tasks q WHERE q.builder_id = r.id AND q.state = 'queued'"
    " ORDER BY q.priority DESC, q.submitted_at, q.id LIMIT r.room) AS t"
    " ORDER BY t.priority DESC, t.submitted_at, t.id LIMIT :most"
)
_CANDIDATES_SQLITE = Statement(
    "SELECT id FROM (SELECT t.id, t.priority, t.submitted_at, r.room, row_number() OVER"
    " (PARTITION BY t.builder_id ORDER BY t.priority DESC, t.submitted_at, t.id) AS place"
    " FROM {rows(id bigint, room bigint)} AS r JOIN tasks t ON t.builder_id = r.id AND t.state = 'queued') AS q"
    " WHERE place <= room ORDER BY priority DESC, submitted_at, id LIMIT :most"
)
_LOCK_QUEUED = Statement(
    "SELECT s.id FROM tasks s JOIN {rows(id bigint)} AS r ON r.id = s.id WHERE s.state = 'queued' ORDER BY s.id {skip_locked_s}"
)
_LOCK_UNSTARTED = Statement(
    "SELECT s.id, s.attempt, s.buildset_id, s.result, s.properties_json FROM tasks s JOIN {rows(id bigint)} AS r ON r.id = s.id"
    " WHERE s.state = 'queued' ORDER BY s.id {lock_s}"
)
_CLAIM = Statement(
    "UPDATE tasks SET state = 'executing', incarnation = :incarnation, attempt = attempt + 1, started_at = {now},"
    " finished_at = NULL, status_line = '' WHERE id IN (SELECT id FROM {rows(id bigint)} AS r) AND state = 'queued'"
    f" AND {_UP} RETURNING id, attempt, builder_id, buildset_id, priority, properties_json"
)
_BUILDSETS = Statement(
    "SELECT b.id, b.scheduler, b.reason, b.properties_json FROM buildsets b JOIN {rows(id bigint)} AS r ON r.id = b.id"
)
_STAMPS = Statement(
    "SELECT bs.buildset_id, s.codebase, s.repository, s.branch, s.revision, s.project, s.patch_json FROM {rows(id bigint)} AS r"
    " JOIN buildset_sourcestamps bs ON bs.buildset_id = r.id JOIN sourcestamps s ON s.id = bs.sourcestamp_id"
    " ORDER BY bs.buildset_id, s.codebase, s.id"
)
_CHANGES = Statement(
    "SELECT c.buildset_id, c.change_number FROM buildset_changes c JOIN {rows(id bigint)} AS r ON r.id = c.buildset_id"
    " ORDER BY c.buildset_id, c.change_number"
)
_ALIVE = Statement(
    "SELECT 1 FROM masters WHERE masters.incarnation = :incarnation AND masters.state IN ('up', 'stopping')"
)
_BUILDSETS_OF = Statement(
    "SELECT DISTINCT t.buildset_id FROM tasks t JOIN {rows(id bigint)} AS r ON r.id = t.id WHERE t.buildset_id IS NOT NULL"
)
_LOCK_BUILDSETS = Statement(
    "SELECT s.id FROM buildsets s JOIN {rows(id bigint)} AS r ON r.id = s.id ORDER BY s.id {lock_s}"
)
_LOCK_MINE = Statement(
    "SELECT s.id, s.attempt, s.buildset_id, s.result, s.properties_json"
    " FROM tasks s JOIN {rows(id bigint, attempt bigint)} AS r ON r.id = s.id AND r.attempt = s.attempt"
    f" WHERE s.incarnation = :incarnation AND s.state IN ({_RUNNING}) ORDER BY s.id {{lock_s}}"
)
# Repeated after an answer that was lost, an insert finds its own row.
_START_STEPS = Statement(
    "INSERT INTO steps (task_id, attempt, number, name, state, started_at) SELECT task, attempt, number, name, 'executing', {now}"
    " FROM {rows(task bigint, attempt bigint, number bigint, name text)} AS r WHERE true"
    " ON CONFLICT (task_id, attempt, number) DO NOTHING"
)
_ADD_CHUNKS = Statement(
    "INSERT INTO log_chunks (task_id, attempt, step, sequence, at, text) SELECT task, attempt, step, sequence, {now}, words"
    " FROM {rows(task bigint, attempt bigint, step bigint, sequence bigint, words text)} AS r WHERE true"
    " ON CONFLICT (task_id, attempt, step, sequence) DO NOTHING"
)
_END_STEPS = Statement(
    "UPDATE steps SET state = r.new_state, exit_code = r.code, why = r.reason, finished_at = {now}"
    " FROM {rows(task bigint, attempt bigint, number bigint, new_state text, code bigint, reason text)} AS r"
    " WHERE steps.task_id = r.task AND steps.attempt = r.attempt AND steps.number = r.number"
)
_SET_PROPERTIES = Statement(
    "UPDATE tasks SET properties_json = r.words FROM {rows(id bigint, words text)} AS r WHERE tasks.id = r.id"
)
_BREAK_OFF_STEPS = Statement(
    "UPDATE steps SET state = 'failed', why = r.reason, finished_at = {now}"
    " FROM {rows(task bigint, attempt bigint, reason text)} AS r"
    " WHERE steps.task_id = r.task AND steps.attempt = r.attempt AND steps.state = 'executing'"
)
_END_TASKS = Statement(
    "UPDATE tasks SET state = r.new_state, result = r.new_result, status_line = r.reason, finished_at = {now}"
    " FROM {rows(id bigint, new_state text, new_result text, reason text)} AS r WHERE tasks.id = r.id"
)
_REQUEUE_TASKS = Statement(
    "UPDATE tasks SET state = 'queued', incarnation = NULL, started_at = NULL, status_line = r.reason"
    " FROM {rows(id bigint, reason text)} AS r WHERE tasks.id = r.id"
)
_COUNT_DOWN = Statement(
    "UPDATE buildsets SET tasks_left = tasks_left - r.ended FROM {rows(id bigint, ended bigint)} AS r"
    " WHERE buildsets.id = r.id AND tasks_left >= r.ended RETURNING buildsets.id, tasks_left"
)
_RESULTS = Statement("SELECT t.buildset_id, t.result FROM tasks t JOIN {rows(id bigint)} AS r ON r.id = t.buildset_id")
_NUMBER = Statement("UPDATE counters SET value = value + :n WHERE name = 'finished' RETURNING value")
_COMPLETE = Statement(
    "UPDATE buildsets SET result = r.new_result, completed_at = {now}, finished_number = r.number"
    " FROM {rows(id bigint, new_result text, number bigint)} AS r WHERE buildsets.id = r.id"
)
_HELD = Statement(
    f"SELECT id, attempt FROM tasks WHERE incarnation = :incarnation AND state IN ({_RUNNING}) ORDER BY id"
)
_LOST_TASKS = Statement(
    "SELECT t.id, t.attempt, coalesce(b.on_lost, 'fail') AS on_lost FROM tasks t LEFT JOIN builders b ON b.id = t.builder_id"
    f" WHERE t.incarnation = :incarnation AND t.state IN ({_RUNNING}) AND EXISTS (SELECT 1 FROM masters m"
    " WHERE m.incarnation = :incarnation AND m.beats = :beats) ORDER BY t.id LIMIT :most"
)
_HOLDERS = Statement(
    "SELECT m.incarnation, m.name, m.state, m.beats, {now} - m.last_beat_at AS silent_us, m.host, m.machine_id, m.boot_id,"
    " m.pid, m.pid_started FROM masters m WHERE EXISTS"
    f" (SELECT 1 FROM tasks t WHERE t.incarnation = m.incarnation AND t.state IN ({_RUNNING}))"
)


def outlook(conn: Connection, incarnation: str, builder_ids: Iterable[int]) -> Outlook:
    """What ``incarnation`` is to be running, and whether these builders have more: one statement, no lock."""
    rows = _OUTLOOK.with_rows(conn, [(i,) for i in sorted(builder_ids)], incarnation=incarnation).all()
    held = frozenset((row.id, row.attempt) for row in rows if row.id is not None)
    return Outlook(held, len(rows) > len(held))


def claim(conn: Connection, incarnation: str, builder_ids: Iterable[int], most: int) -> list[ClaimedTask]:
    """Give ``incarnation`` up to ``most`` queued tasks of these builders, the highest priority first, then the oldest.

    None unless the incarnation is ``up``. Of a builder with ``max_parallel`` no more than that run in the whole
    cluster; of a builder that collapses, the newest of each kind, and the older ones end as skipped.
    Atomic: of two that claim together each task goes to one; tasks that somebody has locked are passed over.
    """
    ids = [(i,) for i in sorted(builder_ids)]
    if most < 1 or not ids:
        return []
    waiting_builders = _WAITING_BUILDERS.with_rows(conn, ids).all()
    names = {row.id: row.name for row in waiting_builders}
    collapsing = {row.id for row in waiting_builders if row.collapses}
    rooms = _rooms(conn, names, most)
    if not rooms:
        return []
    candidates = _CANDIDATES_SQLITE if conn.dialect.name == "sqlite" else _CANDIDATES_POSTGRESQL
    chosen = list(candidates.with_rows(conn, rooms, most=most).scalars())
    if not chosen:
        return []
    if collapsing:
        return _claim_newest(conn, incarnation, chosen, collapsing, names)
    locked = [(i,) for i in _LOCK_QUEUED.with_rows(conn, [(i,) for i in chosen]).scalars()]
    if not locked:
        return []
    return _described(conn, _CLAIM.with_rows(conn, locked, incarnation=incarnation).all(), names)


def claim_these(conn: Connection, incarnation: str, task_ids: Iterable[int]) -> list[tuple[int, int]]:
    """Give ``incarnation`` those of these tasks that are queued, whatever else waits: (task, attempt) of each."""
    rows = [(i,) for i in sorted(task_ids)]
    locked = [(i,) for i in _LOCK_QUEUED.with_rows(conn, rows).scalars()] if rows else []
    claimed = _CLAIM.with_rows(conn, locked, incarnation=incarnation) if locked else []
    return sorted((row.id, row.attempt) for row in claimed)


def _claim_newest(
    conn: Connection, incarnation: str, candidates: Sequence[int], collapsing: set[int], names: dict[int, str]
) -> list[ClaimedTask]:
    """Claim the newest task of each candidate's kind; those that it stands for end as skipped. Their builders are locked."""
    newest = newest_of(conn, collapsing, candidates)
    covered = {task for task, older in newest.items() for task in (task, *older)}
    wanted = [*newest, *(task for task in candidates if task not in covered)]
    old = {task: into for into, older in newest.items() for task in older}
    _lock_buildsets_of(conn, sorted(old))
    locked = set(_LOCK_QUEUED.with_rows(conn, [(i,) for i in sorted({*wanted, *old})]).scalars())
    mine = [(i,) for i in wanted if i in locked]
    claimed = _CLAIM.with_rows(conn, mine, incarnation=incarnation).all() if mine else []
    running = {row.id for row in claimed}
    rows = _LOCK_UNSTARTED.with_rows(conn, [(i,) for i in sorted(old) if i in locked and old[i] in running]).all()
    ended = [
        TaskEnded(r.id, r.attempt, State.CANCELLED, Result.SKIPPED, f"collapsed into task {old[r.id]}") for r in rows
    ]
    gone = {(r.id, r.attempt): Mine(r.buildset_id, r.result, r.properties_json) for r in rows}
    found = _described(conn, claimed, names)
    complete(conn, end_tasks(conn, ended, gone))
    return found


def _rooms(conn: Connection, names: Iterable[int], most: int) -> list[tuple[int, int]]:
    """(builder id, how many more of its tasks may start); locks the builders that have a limit."""
    rooms = dict.fromkeys(names, most)
    if rooms:
        locked = _LOCK_LIMITED.with_rows(conn, [(i,) for i in rooms])
        limits = {row.id: row.max_parallel for row in locked if row.max_parallel is not None}
        if limits:
            busy = {row[0]: row[1] for row in _EXECUTING.with_rows(conn, [(i,) for i in limits])}
            rooms |= {i: min(most, limit - busy.get(i, 0)) for i, limit in limits.items()}
    return [(i, room) for i, room in rooms.items() if room > 0]


def _described(conn: Connection, rows: Sequence[Any], names: dict[int, str]) -> list[ClaimedTask]:
    ids = [(i,) for i in {row.buildset_id for row in rows} - {None}]
    buildsets = {row.id: row for row in _BUILDSETS.with_rows(conn, ids)} if ids else {}
    stamps: dict[int, list[SourceStamp]] = {}
    changes: dict[int, list[int]] = {}
    faults: dict[int, str] = {}
    if ids:
        for buildset, codebase, repository, branch, revision, project, patch in _STAMPS.with_rows(conn, ids):
            stamp = SourceStamp(
                codebase=codebase, repository=repository, branch=branch, revision=revision, project=project
            )
            if patch is not None:
                try:
                    stamp["patch"] = read_value(patch, f"patch_json of a sourcestamp of buildset {buildset}")
                except Unreadable as error:
                    faults[buildset] = str(error)
            stamps.setdefault(buildset, []).append(stamp)
        for buildset, number in _CHANGES.with_rows(conn, ids):
            changes.setdefault(buildset, []).append(number)
    claimed = []
    for row in sorted(rows, key=lambda row: (-row.priority, row.id)):
        buildset = buildsets.get(row.buildset_id)
        fault = faults.get(row.buildset_id, "")
        properties: dict[str, Any] = {}
        try:
            if buildset:
                place = f"properties_json of buildset {row.buildset_id}"
                properties |= read_property_values(buildset.properties_json, place)
            properties |= read_object(row.properties_json, f"properties_json of task {row.id}")
        except Unreadable as error:  # the others are claimed all the same
            fault = str(error)
        claimed.append(
            ClaimedTask(
                id=row.id,
                attempt=row.attempt,
                builder_id=row.builder_id,
                builder=names[row.builder_id],
                buildset_id=row.buildset_id,
                scheduler=buildset.scheduler if buildset else None,
                reason=buildset.reason if buildset else "",
                priority=row.priority,
                properties=properties,
                sourcestamps=tuple(stamps.get(row.buildset_id, ())),
                changes=tuple(changes.get(row.buildset_id, ())),
                fault=fault,
            )
        )
    return claimed


@dataclass(slots=True)
class Mine:
    """What is needed of a locked row."""

    buildset_id: int | None
    result: str | None
    properties_json: str


def record(conn: Connection, incarnation: str, records: Sequence[Record]) -> Recorded:
    """Write what a runner has to tell of its tasks, however many, in a few statements.

    A task that is no longer this incarnation's under that attempt is left alone, as a whole. Safe to repeat after an
    answer that was lost: what was written is found, and an ended task is not ``mine`` any more. Atomic.
    """
    keys = sorted({(r.task, r.attempt) for r in records})
    ending = sorted({r.task for r in records if isinstance(r, TaskEnded)})
    _lock_buildsets_of(conn, ending)
    mine = _lock_mine(conn, incarnation, keys)
    alive = _ALIVE(conn, incarnation=incarnation).scalar() is not None
    kept = [r for r in records if (r.task, r.attempt) in mine]
    _write_progress(conn, kept)
    _write_properties(conn, [r for r in kept if isinstance(r, PropertiesSet)], mine)
    ended = [r for r in kept if isinstance(r, TaskEnded)]
    completed = complete(conn, end_tasks(conn, ended, mine))
    _requeue(conn, [r for r in kept if isinstance(r, TaskRequeued)])
    failed = any(r.result in (Result.FAILURE, Result.EXCEPTION) for r in ended)
    return Recorded(frozenset(mine), alive, completed, failed)


def held(conn: Connection, incarnation: str) -> list[tuple[int, int]]:
    """(task, attempt) of all that ``incarnation`` is to be running."""
    return [(row.id, row.attempt) for row in _HELD(conn, incarnation=incarnation)]


def held_alive(conn: Connection, incarnation: str) -> list[tuple[int, int]] | None:
    """The same; None: the incarnation may not act any more, so it says nothing (its tasks may have moved to the next one)."""
    found = held(
        conn, incarnation
    )  # before the other question: a process that joins anew moves them and ends the old at once
    return found if _ALIVE(conn, incarnation=incarnation).scalar() is not None else None


def requeue_forgotten(conn: Connection, incarnation: str, forgotten: Iterable[tuple[int, int]]) -> int:
    """Put back what ``incarnation`` claimed without hearing of it (a lost answer): each (task, attempt). How many were.

    They are named by whoever claims, never worked out here: what this did late, or again, could then take away a task
    that was claimed meanwhile and runs.
    """
    records = [TaskRequeued(task, attempt) for task, attempt in sorted(forgotten)]
    return len(record(conn, incarnation, records).mine)


def holders(conn: Connection) -> list[Holder]:
    """The incarnations, whatever their state, that have running tasks."""
    return [Holder(*row) for row in _HOLDERS(conn)]


def lost(conn: Connection, incarnation: str, beats: int, why: str, most: int = 100) -> Lost:
    """End or requeue up to ``most`` running tasks of an incarnation that is gone, as their builders' ``on_lost`` says.

    Nothing happens if it has beaten since ``beats`` were seen. Atomic, and exactly once when several do it at once.
    """
    rows = _LOST_TASKS(conn, incarnation=incarnation, beats=beats, most=most + 1).all()
    chosen = rows[:most]
    failing = {
        r.id: TaskEnded(r.id, r.attempt, State.FAILED, Result.EXCEPTION, why) for r in chosen if r.on_lost != "requeue"
    }
    waiting = {r.id: TaskRequeued(r.id, r.attempt, why) for r in chosen if r.on_lost == "requeue"}
    _lock_buildsets_of(conn, sorted(failing))
    mine = _lock_mine(conn, incarnation, [(r.id, r.attempt) for r in chosen])
    ended = [failing[task] for task, _ in mine if task in failing]
    requeued = [waiting[task] for task, _ in mine if task in waiting]
    completed = complete(conn, end_tasks(conn, ended, mine))
    _requeue(conn, requeued)
    return Lost(tuple(r.task for r in ended), tuple(r.task for r in requeued), completed, len(rows) > most)


def _lock_buildsets_of(conn: Connection, task_ids: Sequence[int]) -> None:
    buildsets = _BUILDSETS_OF.with_rows(conn, [(i,) for i in task_ids]).scalars().all() if task_ids else []
    if buildsets:
        _LOCK_BUILDSETS.with_rows(conn, [(i,) for i in sorted(buildsets)]).all()


def _lock_mine(conn: Connection, incarnation: str, keys: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Mine]:
    if not keys:
        return {}
    rows = _LOCK_MINE.with_rows(conn, keys, incarnation=incarnation)
    return {(row.id, row.attempt): Mine(row.buildset_id, row.result, row.properties_json) for row in rows}


def _write_progress(conn: Connection, records: Sequence[Record]) -> None:
    started = [(r.task, r.attempt, r.number, r.name) for r in records if isinstance(r, StepStarted)]
    chunks = [(r.task, r.attempt, r.step, r.sequence, r.text) for r in records if isinstance(r, Chunk)]
    ended = [(r.task, r.attempt, r.number, r.state, r.exit_code, r.why) for r in records if isinstance(r, StepEnded)]
    if started:
        _START_STEPS.with_rows(conn, started)
    if chunks:
        _ADD_CHUNKS.with_rows(conn, chunks)
    if ended:
        _END_STEPS.with_rows(conn, ended)


def _write_properties(conn: Connection, records: Sequence[PropertiesSet], mine: dict[tuple[int, int], Mine]) -> None:
    values: dict[int, dict[str, Any]] = {}
    for r in records:
        if r.task not in values:
            try:
                values[r.task] = read_object(
                    mine[r.task, r.attempt].properties_json, f"properties_json of task {r.task}"
                )
            except Unreadable:  # its claimer has been told, and what others record must not wait for it
                values[r.task] = {}
        values[r.task].update(r.values)
    if values:
        _SET_PROPERTIES.with_rows(conn, [(task, json.dumps(own)) for task, own in values.items()])


def end_tasks(conn: Connection, ended: Sequence[TaskEnded], mine: dict[tuple[int, int], Mine]) -> list[int]:
    """The buildsets that have no task left, to be completed. Their rows and the tasks' are locked already."""
    if not ended:
        return []
    _END_TASKS.with_rows(conn, [(r.task, r.state, r.result, r.why) for r in ended])
    _BREAK_OFF_STEPS.with_rows(conn, [(r.task, r.attempt, r.why) for r in ended])
    first: dict[int, int] = {}
    for r in ended:
        row = mine[r.task, r.attempt]
        if row.buildset_id is not None and row.result is None:  # run again, a task gives its buildset no new result
            first[row.buildset_id] = first.get(row.buildset_id, 0) + 1
    left = _COUNT_DOWN.with_rows(conn, sorted(first.items())).all() if first else []
    return sorted(row.id for row in left if row.tasks_left == 0)


def complete(conn: Connection, buildsets: Sequence[int]) -> tuple[int, ...]:
    """Give these buildsets, whose rows are locked, their results and numbers; holds the commit-order lock from here on."""
    if not buildsets:
        return ()
    results: dict[int, list[str | None]] = {i: [] for i in buildsets}
    for buildset, result in _RESULTS.with_rows(conn, [(i,) for i in buildsets]):
        results[buildset].append(result)
    last = _NUMBER(conn, n=len(buildsets)).scalar_one()
    first = last - len(buildsets) + 1
    _COMPLETE.with_rows(conn, [(i, worst(results[i]), first + place) for place, i in enumerate(buildsets)])
    return tuple(buildsets)


def _requeue(conn: Connection, records: Sequence[TaskRequeued]) -> None:
    if records:
        _REQUEUE_TASKS.with_rows(conn, [(r.task, r.why) for r in records])
        _BREAK_OFF_STEPS.with_rows(conn, [(r.task, r.attempt, r.why) for r in records])
