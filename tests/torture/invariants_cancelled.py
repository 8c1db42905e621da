"""Tasks that end because nobody wants them any more: only those, and all of those that somebody was to cancel."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from . import checker_expected as expected
from .checker_rows import Buildset, Histories, Task
from .history import Configured, Seen
from .invariants import Found, Invariant, us
from .invariants_timing import troubled

REPLACED = "overlap replace: "
_COLLAPSED = re.compile(r"collapsed into task (\d+)")
_NEWER = re.compile(r"(\S+): change (\d+) of the same branch is newer")
_USELESS = re.compile(r"(\S+): task (\d+) of (\S+) failed")
SEEN_WITHIN_US = 15_000_000
"""So long a commit may take, with the database slow or its standby away, until others see what it wrote."""
USELESS_WITHIN_S = 3.0


def only_what_may_be_is_cancelled(h: Histories) -> Iterator[Found]:
    """Each cancelled task says why, and it is true: a newer change, a failed task, a newer run, a newer request."""
    tasks = {t.id: t for t in h.rows.tasks}
    buildsets = {b.id: b for b in h.rows.buildsets}
    for t in h.rows.tasks:
        if t.state != "cancelled":
            continue
        b = buildsets.get(t.buildset_id or -1)
        wrong = "it is of no buildset" if b is None else _why_not(h, t, b, tasks, buildsets)
        if wrong:
            yield Found(
                f"task {t.id} of {h.builders[t.builder_id]} was cancelled ({t.status_line}): {wrong}", t.finished_at
            )


def _why_not(h: Histories, t: Task, b: Buildset, tasks: Mapping[int, Task], buildsets: Mapping[int, Buildset]) -> str:
    if (found := _COLLAPSED.fullmatch(t.status_line)) and t.result == "skipped":
        return _not_collapsed(h, t, b, tasks.get(int(found[1])), buildsets)
    if t.result != "cancelled":
        return f"its result is {t.result}"
    if found := _NEWER.fullmatch(t.status_line):
        return _not_older(h, t, b, found[1], int(found[2]))
    if found := _USELESS.fullmatch(t.status_line):
        return _not_useless(h, t, found[1], tasks.get(int(found[2])))
    if t.status_line.startswith(REPLACED):
        return _not_replaced(h, b)
    return "that is no reason known"


def _not_collapsed(h: Histories, t: Task, b: Buildset, newer: Task | None, buildsets: Mapping[int, Buildset]) -> str:
    if not any(e.get("collapse_requests") for e in _builder_entries(h, h.builders[t.builder_id])):
        return "its builder collapses nothing"
    if t.attempt:
        return f"it had begun, {t.attempt} times"
    if newer is None or newer.attempt < 1 or newer.builder_id != t.builder_id:
        return "there is no such task of that builder that has begun"
    other = buildsets[newer.buildset_id or -1]
    mine, its = h.changes_of.get(b.id, []), h.changes_of.get(other.id, [])
    if other.scheduler_id != b.scheduler_id or _branches(h, b) != _branches(h, other) or bool(mine) != bool(its):
        return "that one is of another kind"
    if mine and its[-1] <= mine[-1]:
        return f"that one, of change {its[-1]}, is not newer than its own, {mine[-1]}"
    return ""


def _not_older(h: Histories, t: Task, b: Buildset, canceller: str, number: int) -> str:
    rules = [rule for e in h.entries.get(canceller, []) for rule in e.get("filters", [])]
    if not any(h.builders[t.builder_id] in rule["builders"] for rule in rules):
        return f"{canceller} has nothing to do with that builder"
    newer = h.changes.get(number)
    mine = h.changes_of.get(b.id, [])
    if newer is None:
        return "there is no such change"
    if mine and (mine[-1] >= number or _branches(h, b) != {newer.branch}):
        return f"it builds change {mine[-1]} of {sorted(map(str, _branches(h, b)))}"
    return ""


def _not_useless(h: Histories, t: Task, canceller: str, failed: Task | None) -> str:
    rules = [rule for e in h.entries.get(canceller, []) for rule in e.get("filters", [])]
    if failed is None or failed.buildset_id != t.buildset_id or failed.result not in ("failure", "exception"):
        return "no such task of its buildset failed"
    names = h.builders[failed.builder_id], h.builders[t.builder_id]
    if not any(names[0] in rule["builders"] and names[1] in rule["builders_to_cancel"] for rule in rules):
        return f"{canceller} does not cancel {names[1]} when {names[0]} fails"
    return ""


def _not_replaced(h: Histories, b: Buildset) -> str:
    name = h.name(b.scheduler_id or -1)
    if name == "calendar":
        return ""  # which schedule's it is, and what its policy is, ``invariants_schedules`` looks at
    if not any(expected.policy(e).overlap == "replace" for e in h.entries.get(name, [])):
        return f"{name} replaces nothing"
    return ""


def _branches(h: Histories, b: Buildset) -> set[str | None]:
    return {h.changes[n].branch for n in h.changes_of.get(b.id, [])}


def _builder_entries(h: Histories, name: str) -> list[dict[str, Any]]:
    return [e.builders[name] for e in h.truth.of(Configured) if name in e.builders]


def requests_collapse_into_the_newest(h: Histories) -> Iterator[Found]:
    """A builder that collapses begins no task while a newer one of the same kind, for changes, has long been waiting."""
    buildsets = {b.id: b for b in h.rows.buildsets}
    for builder in h.rows.builders:
        if not h.one_clock or not any(e.get("collapse_requests") for e in _builder_entries(h, builder.name)):
            continue
        kinds: dict[Any, list[Task]] = {}
        for t in h.rows.tasks:
            if t.builder_id == builder.id and t.buildset_id is not None and h.changes_of.get(t.buildset_id):
                b = buildsets[t.buildset_id]
                kinds.setdefault((b.scheduler_id, frozenset(_branches(h, b))), []).append(t)
        for tasks in kinds.values():
            for t in tasks:
                for newer in tasks:
                    waited = (t.started_at or 0) - newer.submitted_at
                    unbegun = newer.started_at is None or newer.started_at > (t.started_at or 0)
                    if t.submitted_at < newer.submitted_at and t.attempt == 1 and unbegun and waited > SEEN_WITHIN_US:
                        what = f"task {t.id} of {builder.name} began, though task {newer.id} had waited for {waited / 1e6:.1f} s"
                        yield Found(what, t.started_at)


def newer_changes_cancel_older_tasks(h: Histories) -> Iterator[Found]:
    """When an OldBuildCanceller's cursor is seen past a change, no task that was there before it builds an older one."""
    for name, entries in h.entries.items():
        if entries[0]["type"] != "OldBuildCanceller" or name not in h.by_name or not h.one_clock:
            continue
        rule = entries[0]["filters"][0]
        own = [
            (t, b)
            for b in h.rows.buildsets
            for t in h.tasks_of[b.id]
            if h.builders[t.builder_id] in rule["builders"] and h.changes_of.get(b.id)
        ]
        looks = [(e, e.schedulers[name].get("change_cursor") or 0) for e in h.truth.of(Seen) if name in e.schedulers]
        for change in h.changes.values():
            if change.branch not in rule["filter"]["branch_eq"]:
                continue
            past = next((e for e, cursor in looks if cursor >= change.number), None)
            start = h.by_name[name].change_start
            if past is None or start is None or change.number <= start:
                continue
            for t, b in own:
                there = t.submitted_at + SEEN_WITHIN_US < change.received_at or (
                    t.started_at is not None and t.attempt == 1 and t.started_at < change.received_at
                )
                older = h.changes_of[b.id][-1] < change.number and _branches(h, b) == {change.branch}
                if older and there and (t.finished_at is None or t.finished_at > us(past.until)):
                    what = f"{name} was past change {change.number}, and task {t.id} of change {h.changes_of[b.id][-1]} went on"
                    yield Found(what, us(past.until))


def failures_cancel_useless_tasks(h: Histories) -> Iterator[Found]:
    """When nothing else is wrong, what a FailingBuildsetCanceller is to cancel does not run on for long."""
    for name, entries in h.entries.items():
        if entries[0]["type"] != "FailingBuildsetCanceller":
            continue
        spans = troubled(h, name)
        for rule in entries[0]["filters"]:
            for b in h.rows.buildsets:
                tasks = h.tasks_of[b.id]
                failed = [
                    t.finished_at or 0
                    for t in tasks
                    if h.builders[t.builder_id] in rule["builders"] and t.result in ("failure", "exception")
                ]
                for t in tasks if failed else ():
                    over = t.finished_at or us(h.phase("stopping") or 0)
                    late = (over - min(failed)) / 1e6
                    when = min(failed) / 1e6
                    calm = not any(begin <= over / 1e6 and when <= end for begin, end in spans)
                    useless = h.builders[t.builder_id] in rule["builders_to_cancel"]
                    if useless and calm and late > USELESS_WITHIN_S:
                        yield Found(f"{name}: task {t.id} went on for {late:.1f} s after another one had failed", over)


ALL: tuple[Invariant, ...] = (
    only_what_may_be_is_cancelled,
    requests_collapse_into_the_newest,
    newer_changes_cancel_older_tasks,
    failures_cancel_useless_tasks,
)
