"""Schedulers that react to others, to tasks and to people: each cause makes its buildset, once, and nothing else does."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from .checker_rows import Buildset, Histories, Message, Scheduler
from .history import OrderAnswered, OrderAsked
from .invariants import Found, Invariant, us

GOOD = ("success", "warnings")
_ASKED_ONLY = (
    "SingleBranchScheduler",
    "AnyBranchScheduler",
    "plugin.Important",
    "Periodic",
    "Nightly",
    "Triggerable",
    "ForceScheduler",
    "Try_Userpass",
)
"""Types whose buildsets, but for changes and due times, are all answers to requests."""
_TRIGGER = re.compile(r"trigger:(\d+):(\d+):(\d+)")
TRY_FILE = "try-file-"
TRY_HTTP = "try-http"
NEARLY_S = 5.0
"""How far apart the times of two turns may be that were committed together, so that nobody can tell which came first."""


def dependents_follow_their_upstream(h: Histories) -> Iterator[Found]:
    """A Dependent has one buildset for each good one of its upstream, in the order in which these completed, for the same
    changes."""
    for name, entries in h.entries.items():
        s, up = h.by_name.get(name), h.by_name.get(str(entries[0].get("upstream")))
        if s is None or up is None or entries[0]["type"] != "Dependent":
            continue
        wanted = [
            b for b in sorted(h.buildsets.get(up.id, []), key=lambda b: b.finished_number or 0) if _is_for(h, s, b)
        ]
        forced = {m.answer.get("buildset") for m in h.messages.get(s.id, [])}
        made = [b for b in h.buildsets.get(s.id, []) if b.id not in forced]
        for up_buildset, buildset in zip(wanted, made, strict=False):
            theirs, own = (h.changes_of.get(b.id, []) for b in (up_buildset, buildset))
            if theirs != own:
                what = f"{name}: buildset {up_buildset.id} of {up.name}, of changes {theirs}, should be followed now"
                yield Found(f"{what}, and buildset {buildset.id} is of {own}", buildset.submitted_at)
                break
        for lost in wanted[len(made) :]:
            yield Found(f"{name}: buildset {lost.id} of {up.name} was good, and is not followed", lost.completed_at)
        for more in made[len(wanted) :]:
            yield Found(f"{name}: buildset {more.id} follows nothing", more.submitted_at)


def _is_for(h: Histories, s: Scheduler, b: Buildset) -> bool:
    number = b.finished_number
    if b.result not in GOOD or number is None or s.finished_start is None:
        return False
    failed = any(f.cause == f"finished:{number}" for f in h.failures.get(s.id, []))
    return (
        s.finished_start < number <= (s.finished_cursor or 0)
        and not failed
        and not any(number in k for k in h.skipped(s.id, "finished"))
    )


def every_request_is_answered_with_its_own_buildset(h: Histories) -> Iterator[Found]:
    """What a request was answered with is there, is its scheduler's, and nobody else's answer."""
    buildsets = {b.id: b for b in h.rows.buildsets}
    answered: Counter[int] = Counter()
    for m in h.rows.messages:
        for number in _made(m):
            answered[number] += 1
            b = buildsets.get(number)
            if b is None or b.scheduler_id != m.scheduler_id:
                whose = "is not there" if b is None else f"is {h.name(b.scheduler_id or -1)}'s"
                yield Found(
                    f"{h.name(m.scheduler_id)} answered {m.key} with buildset {number}, which {whose}", m.answered_at
                )
    for number, times in answered.items():
        if times > 1:
            yield Found(f"buildset {number} is the answer to {times} requests")
    over_http = {e.args["key"] for e in h.truth.of(OrderAsked) if e.action == TRY_HTTP}
    for s in h.rows.schedulers:
        entries = h.entries.get(s.name, [])
        if not entries or entries[0]["type"] not in _ASKED_ONLY:
            continue
        for b in h.buildsets.get(s.id, []):
            if b.external_id in over_http:
                continue
            if b.due_at is None and not h.changes_of.get(b.id) and not answered[b.id]:
                yield Found(
                    f"{s.name}: buildset {b.id} ({b.reason}) is no answer, and nobody asked for it", b.submitted_at
                )


def _made(m: Message) -> list[int]:
    one, several = m.answer.get("buildset"), m.answer.get("buildsets", [])
    return [*([one] if isinstance(one, int) else []), *several]


def every_try_job_is_built_once(h: Histories) -> Iterator[Found]:
    """A job, by message, as a file or over HTTP, is one buildset with the job's id, and a file of it is one in any case."""
    ids = Counter(b.external_id for b in h.rows.buildsets if b.external_id and b.external_id.startswith("try-"))
    for job, times in ids.items():
        if times > 1:
            yield Found(f"job {job} made {times} buildsets")
    asked = {e.id: e for e in h.truth.of(OrderAsked) if e.action in ("try", "try-file", TRY_HTTP)}
    keys = {e.args["key"] for e in asked.values()}
    for job in ids:
        if job not in keys:
            yield Found(f"there is a buildset of job {job}, which nobody sent")
    of_buildset = {b.id: b.external_id for b in h.rows.buildsets}
    for a in h.truth.of(OrderAnswered):
        order = asked.get(a.id)
        if order is None or a.outcome != "yes":
            continue
        key = order.args["key"]
        if key not in ids:
            yield Found(f"job {key} was taken by {order.scheduler}, and made no buildset", us(a.at))
        elif order.action == TRY_HTTP and of_buildset.get(a.detail["buildset"]) != key:
            yield Found(f"job {key} was answered with buildset {a.detail['buildset']}, which is another's", us(a.at))


def wishes_are_kept(h: Histories) -> Iterator[Found]:
    """A request that was answered to whoever asked is on record with that answer, once."""
    asked = {e.id: e for e in h.truth.of(OrderAsked) if "key" in e.args and e.action not in ("try-file", TRY_HTTP)}
    keys = {e.args["key"] for e in asked.values()}
    known: dict[str, list[Message]] = {key: [] for key in keys}
    for m in h.rows.messages:
        if m.key in known:
            known[m.key].append(m)
    for key, messages in known.items():
        if len(messages) > 1:
            yield Found(f"request {key} is there {len(messages)} times")
    for a in h.truth.of(OrderAnswered):
        order = asked.get(a.id)
        if order is None or a.outcome != "yes":
            continue
        answers = [m.answer for m in known[order.args["key"]]]
        if a.detail not in answers:
            yield Found(
                f"{order.action} {order.args['key']} was answered {a.detail}, and on record is {answers}", us(a.at)
            )


def every_trigger_once(h: Histories) -> Iterator[Found]:
    """Each attempt of a task triggers each scheduler of its step once; and one that succeeded has done so."""
    tasks = {t.id: t for t in h.rows.tasks}
    asked: dict[tuple[int, int], set[int]] = {}
    for m in h.rows.messages:
        if m.kind != "trigger":
            continue
        found = _TRIGGER.fullmatch(m.key)
        task = tasks.get(int(found[1])) if found else None
        if found is None or task is None or not h.builders[task.builder_id].startswith("trigger"):
            yield Found(f"{h.name(m.scheduler_id)} was triggered as {m.key}: no task does that", m.made_at)
            continue
        attempt = int(found[2])
        if attempt > task.attempt:
            yield Found(
                f"{h.name(m.scheduler_id)} was triggered as {m.key}, and the task had {task.attempt} attempts",
                m.made_at,
            )
        asked.setdefault((task.id, attempt), set()).add(m.scheduler_id)
    completed = {b.id: b for b in h.rows.buildsets}
    for t in h.rows.tasks:
        builder = h.builders[t.builder_id]
        if not builder.startswith("trigger") or t.result != "success":
            continue
        names = ("triggered",) if builder == "trigger-wait" else ("triggered", "nightly-triggered")
        for name in names:
            s = h.by_name.get(name)
            if s is not None and s.id not in asked.get((t.id, t.attempt), set()):
                yield Found(f"task {t.id} of {builder} succeeded, and has not triggered {name}", t.finished_at)
        if builder == "trigger-wait":
            ids = [s.id for name in names if (s := h.by_name.get(name)) is not None]
            key = f"trigger:{t.id}:{t.attempt}:"
            own = [m for i in ids for m in h.messages.get(i, []) if m.key.startswith(key)]
            for m in own:
                b = completed.get(m.answer.get("buildset", -1))
                if b is None or b.result not in (*GOOD, "skipped"):
                    result = "was not made" if b is None else f"ended with {b.result}"
                    yield Found(f"task {t.id} waited for its buildset, which {result}, and succeeded", t.finished_at)
                elif h.one_clock and (b.completed_at or 0) > (t.finished_at or 0):
                    yield Found(f"task {t.id} waited for buildset {b.id}, and ended before it", t.finished_at)


def nightly_triggers_fire_if_something_was_handed_over(h: Histories) -> Iterator[Found]:
    """A NightlyTriggerable's due time is a buildset if it was triggered since the one before, and else a recorded skip."""
    for name, entries in h.entries.items():
        s = h.by_name.get(name)
        if s is None or entries[0]["type"] != "NightlyTriggerable" or not h.one_clock:
            continue
        handed = [m.answered_at / 1e6 for m in h.messages.get(s.id, []) if m.kind == "trigger" and m.answered_at]
        served = [(b.turn or 0, b.due_at, b.submitted_at / 1e6, True) for b in h.buildsets.get(s.id, []) if b.due_at]
        skipped = [
            (k.turn or 0, k.first, k.at / 1e6, False)
            for k in h.skipped(s.id, "ticks")
            if k.reason.startswith("nothing was triggered")
        ]
        before = 0.0
        for _, due, at, made in sorted(served + skipped):
            if made and not any(before - NEARLY_S < one < at + NEARLY_S for one in handed):
                yield Found(f"{name}: a buildset, and nothing was handed over since the time before", due)
            if not made and any(before + NEARLY_S < one < at - NEARLY_S for one in handed):
                yield Found(f"{name}: nothing was made of what was handed over since the time before", due)
            before = at


ALL: tuple[Invariant, ...] = (
    dependents_follow_their_upstream,
    every_request_is_answered_with_its_own_buildset,
    every_try_job_is_built_once,
    wishes_are_kept,
    every_trigger_once,
    nightly_triggers_fire_if_something_was_handed_over,
)
