"""P6: every task ends once, in a state that is allowed; a buildset is complete when its tasks are, and not before."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from .checker_rows import Histories, Task
from .invariants import Found, Invariant, us

ENDED = {
    "executed": ("success", "skipped", "warnings"),
    "failed": ("failure", "exception"),
    "cancelled": ("cancelled", "skipped"),
}
"""In which states a task can end, and how. Who may end as cancelled, ``invariants_cancelled`` knows."""
UNDER_WAY = ("queued", "executing")
_WORST_LAST = ("success", "skipped", "warnings", "failure", "exception", "cancelled")
ENDED_WITHIN_S = 15.0
"""Before the end, a task may still run, or wait for its turn."""


def tasks_end_as_allowed(h: Histories) -> Iterator[Found]:
    """Each task has a state of this release, with a result that goes with it and an attempt that made it."""
    for t in h.rows.tasks:
        if t.state in UNDER_WAY:
            if t.result is not None:
                yield Found(f"task {t.id} is {t.state}, and has the result {t.result}", t.submitted_at)
        elif t.state not in ENDED:
            yield Found(f"task {t.id} is {t.state}", t.submitted_at)
        elif t.result not in ENDED[t.state]:
            yield Found(f"task {t.id} is {t.state}, with the result {t.result}", t.finished_at)
        elif t.finished_at is None or (t.attempt < 1 and t.state != "cancelled"):
            yield Found(f"task {t.id} is {t.state}, though it was never tried", t.submitted_at)


def tasks_end_in_time(h: Histories) -> Iterator[Found]:
    """What was asked well before the end has ended."""
    end = h.phase("stopping")
    if end is None:
        return
    for t in h.rows.tasks:
        # One whose runner was told to stop is queued anew: it had its time.
        if t.submitted_at < us(end - ENDED_WITHIN_S) and t.state in UNDER_WAY and not _was_given_back(t):
            late = end - t.submitted_at / 1e6
            yield Found(f"task {t.id} is {t.state}, {late:.0f} s after it was asked", t.submitted_at)


def _was_given_back(t: Task) -> bool:
    return t.state == "queued" and t.attempt > 0


def commands_run_once_for_each_attempt(h: Histories) -> Iterator[Found]:
    """A task's command leaves one line each time that it runs: never more than there were attempts, and one for success."""
    if not h.rows.tasks or not any(h.lines):
        return
    builders = {b.id: b for b in h.rows.builders}
    known = {t.id: t for t in h.rows.tasks}
    ran: Counter[int] = Counter()
    for number, line in enumerate(h.lines, 1):
        fields = line.split()
        if len(fields) != 3 or not fields[0].isdigit():
            yield Found(f"line {number} of the tasks' file is {line!r}")
            continue
        task = known.get(int(fields[0]))
        if task is None:
            yield Found(f"a command ran for task {fields[0]}, which is not there", int(fields[2]) // 1000)
        elif builders[task.builder_id].name != fields[1]:
            yield Found(
                f"task {task.id} of {builders[task.builder_id].name} ran as {fields[1]}", int(fields[2]) // 1000
            )
        ran[int(fields[0])] += 1
    for t in h.rows.tasks:
        if ran[t.id] > t.attempt:
            yield Found(f"the command of task {t.id} ran {ran[t.id]} times in {t.attempt} attempts", t.finished_at)
        if t.result in ("success", "failure") and not ran[t.id]:
            yield Found(f"task {t.id} ended with {t.result}, but its command never ran", t.finished_at)


def a_lost_task_is_repeated_only_if_it_may(h: Histories) -> Iterator[Found]:
    """With ``on_lost: fail`` the commands run once: another attempt is only made if no step of those before has begun (a
    claim whose answer was lost: its runner never knew of it)."""
    once = {b.id for b in h.rows.builders if b.on_lost == "fail"}
    begun: dict[int, set[int]] = defaultdict(set)
    for s in h.rows.steps:
        begun[s.task_id].add(s.attempt)
    ran = Counter(line.split()[0] for line in h.lines)
    for t in h.rows.tasks:
        times = max(len(begun[t.id]), ran[str(t.id)])
        if t.builder_id in once and times > 1:
            yield Found(f"task {t.id} ran {times} times, though its builder says on_lost: fail", t.started_at)
    attempts = {t.id: t.attempt for t in h.rows.tasks}
    for s in h.rows.steps:
        if s.attempt > attempts.get(s.task_id, 0):
            yield Found(
                f"a step of task {s.task_id} is of attempt {s.attempt}, and the task of {attempts.get(s.task_id)}"
            )


def no_more_at_once_than_allowed(h: Histories) -> Iterator[Found]:
    """Of a builder with ``max_parallel`` no more tasks run at once in the whole cluster."""
    if not h.one_clock:
        return
    builder_of = {t.id: t.builder_id for t in h.rows.tasks}
    for b in h.rows.builders:
        if b.max_parallel is None:
            continue
        moments: list[tuple[int, int]] = []
        for s in h.rows.steps:
            if builder_of.get(s.task_id) == b.id and s.started_at is not None and s.finished_at is not None:
                moments += [(s.started_at, 1), (s.finished_at, -1)]
        running = 0
        for at, change in sorted(moments, key=lambda m: (m[0], m[1])):
            running += change
            if running > b.max_parallel:
                yield Found(f"{running} tasks of {b.name} ran at once, and {b.max_parallel} may", at)
                break


def buildsets_complete_with_their_tasks(h: Histories) -> Iterator[Found]:
    """A buildset is complete if and only if all its tasks have ended; its result is the worst of theirs."""
    tasks: dict[int, list[Task]] = defaultdict(list)
    for t in h.rows.tasks:
        if t.buildset_id is not None:
            tasks[t.buildset_id].append(t)
    for b in h.rows.buildsets:
        own = tasks[b.id]
        left = sum(1 for t in own if t.result is None)
        if left != b.tasks_left:
            yield Found(
                f"buildset {b.id} counts {b.tasks_left} tasks that have not ended, there are {left}", b.submitted_at
            )
        if (b.completed_at is None) != (left > 0) or (b.result is None) != (b.completed_at is None):
            yield Found(
                f"buildset {b.id}: {left} tasks left, result {b.result}, completed {b.completed_at}", b.submitted_at
            )
        elif b.result is not None:
            worst = max((t.result or "" for t in own), key=_WORST_LAST.index, default="success")
            if b.result != worst:
                yield Found(f"buildset {b.id} ended with {b.result}, its worst task with {worst}", b.completed_at)


def buildsets_ask_for_their_builders(h: Histories) -> Iterator[Found]:
    """A buildset has one task for each builder that its scheduler names."""
    names = {b.id: b.name for b in h.rows.builders}
    asked: dict[int, list[str]] = defaultdict(list)
    for t in h.rows.tasks:
        if t.buildset_id is not None:
            asked[t.buildset_id].append(names.get(t.builder_id, "?"))
    for scheduler_id, buildsets in h.buildsets.items():
        wanted = [sorted(e.get("builderNames", ())) for e in h.entries.get(h.name(scheduler_id), [])]
        for b in buildsets:
            if wanted and sorted(asked[b.id]) not in wanted:
                yield Found(
                    f"buildset {b.id} of {h.name(scheduler_id)} has tasks of {sorted(asked[b.id])}", b.submitted_at
                )


def finished_buildsets_are_numbered_in_order(h: Histories) -> Iterator[Found]:
    """Completed buildsets have the numbers 1, 2, 3, ... without a gap."""
    numbers = sorted(b.finished_number for b in h.rows.buildsets if b.finished_number is not None)
    if numbers != list(range(1, len(numbers) + 1)):
        wrong = next((n for n, wanted in zip(numbers, range(1, len(numbers) + 1), strict=True) if n != wanted), None)
        yield Found(f"the finished buildsets' numbers have a gap or are there twice, at {wrong}")
    newest = next((c.value for c in h.rows.counters if c.name == "finished"), None)
    if newest is not None and newest != max(numbers, default=0):
        yield Found(f"the newest finished buildset is {max(numbers, default=0)}, its counter says {newest}")
    for b in h.rows.buildsets:
        if (b.finished_number is None) != (b.completed_at is None):
            yield Found(f"buildset {b.id}: completed {b.completed_at}, number {b.finished_number}", b.submitted_at)


ALL: tuple[Invariant, ...] = (
    tasks_end_as_allowed,
    tasks_end_in_time,
    commands_run_once_for_each_attempt,
    a_lost_task_is_repeated_only_if_it_may,
    no_more_at_once_than_allowed,
    buildsets_complete_with_their_tasks,
    buildsets_ask_for_their_builders,
    finished_buildsets_are_numbered_in_order,
)
