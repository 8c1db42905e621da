"""P3: every change is numbered, kept and answered exactly once, in order, and what is not served is on record."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator

from . import checker_expected as expected
from .checker_rows import Histories, Scheduler
from .history import ChangeAnswered, ChangeAsked, OrderAnswered, OrderAsked
from .invariants import Found, Invariant, us

RELAY = "relay-"
"""what the request ids of changes begin with that a scheduler makes"""
SERVED_WITHIN_S = 5.0
"""Before the end, a change is not missed yet: its scheduler may be about to get it (and a treeStableTimer may run)."""


def every_change_is_kept_once(h: Histories) -> Iterator[Found]:
    """What was acknowledged is there under the number that was told, once; nothing is there that nobody asked for."""
    asked = {e.request_id: e for e in h.truth.of(ChangeAsked)}
    kept = {c.request_id: c for c in h.rows.changes}
    for answer in h.truth.of(ChangeAnswered):
        found = kept.get(answer.request_id)
        if answer.outcome == "yes" and found is None:
            yield Found(f"change {answer.request_id} was acknowledged, and is lost", us(answer.at))
        elif found is not None and answer.number not in (None, found.number):
            yield Found(
                f"change {answer.request_id} was told to be number {answer.number}, and is {found.number}",
                us(answer.at),
            )
    for request, number in Counter(c.request_id for c in h.rows.changes).items():
        if number > 1:
            yield Found(f"change {request} is there {number} times")
    for change in h.rows.changes if asked else ():
        event = asked.get(change.request_id)
        if event is None and not change.request_id.startswith(RELAY):
            yield Found(f"change {change.number} ({change.request_id}): nobody asked for it", change.received_at)
        elif event is not None:
            for what in ("branch", "category", "files", "revision"):
                wanted, is_ = event.fields.get(what), getattr(change, what)
                if what in event.fields and wanted != is_:
                    yield Found(
                        f"change {change.request_id} was asked with {what} {wanted}, and has {is_}", us(event.at)
                    )


def every_relayed_change_is_made_once(h: Histories) -> Iterator[Found]:
    """A scheduler that makes a change in each turn with a buildset has made one for each of those, in their order."""
    for name, entries in h.entries.items():
        s = h.by_name.get(name)
        if s is None or entries[0]["type"] != "plugin.Relaying":
            continue
        wanted = [f"{RELAY}{n}" for b in h.buildsets.get(s.id, []) for n in h.changes_of.get(b.id, [])]
        made = [c.request_id for c in h.changes.values() if c.request_id.startswith(RELAY)]
        for one in sorted(set(wanted) - set(made)):
            yield Found(f"{name}: the change {one} of its turn is lost")
        for one in sorted(set(made) - set(wanted)):
            yield Found(f"{name}: the change {one} is there, and the turn that made it is not")
        if sorted(wanted) == sorted(made) and wanted != made:
            yield Found(f"{name}: its turns made {wanted[:10]}, and these came as {made[:10]}")


def changes_are_numbered_in_order(h: Histories) -> Iterator[Found]:
    """Numbers follow one another without a gap, and for each writer in the order in which it asked."""
    numbers = sorted(c.number for c in h.rows.changes)
    for before, after in itertools.pairwise([0, *numbers]):
        if after != before + 1:
            yield Found(f"after change {before} comes {after}")
    newest = next((c.value for c in h.rows.counters if c.name == "changes"), None)
    if newest is not None and numbers and newest != numbers[-1]:
        yield Found(f"the newest change is {numbers[-1]}, its counter says {newest}")
    kept = {c.request_id: c.number for c in h.rows.changes}
    last: dict[str, int] = {}
    for e in h.truth.of(ChangeAsked):
        number = kept.get(e.request_id)
        if number is None:
            continue
        if number < last.get(e.writer, 0):
            yield Found(
                f"change {e.request_id} is number {number}, though {e.writer} had {last[e.writer]} before", us(e.at)
            )
        last[e.writer] = number


def every_change_makes_its_buildset_once(h: Histories) -> Iterator[Found]:
    """Each change that a scheduler consumes is in exactly one buildset of it, or on record as not being for it."""
    for s in h.rows.schedulers:
        entries = h.entries.get(s.name, [])
        if s.kind == "scheduler" and entries and all(map(expected.consumes, entries)):
            yield from _of_one(h, s, entries)


def _of_one(h: Histories, s: Scheduler, entries: list[dict[str, object]]) -> Iterator[Found]:
    made = _made(h, s)
    waiting = _waiting(h, s)
    end = h.phase("stopping")
    for change in h.changes.values():
        answers = {expected.wants(entry, change) for entry in entries}
        buildsets = made.get(change.number, [])
        what = f"{s.name}: change {change.number} ({change.request_id}, branch {change.branch})"
        if len(buildsets) > 1:
            yield Found(f"{what} is in {len(buildsets)} buildsets: {buildsets}", change.received_at)
        skip = next((k for k in h.skipped(s.id, "changes") if change.number in k), None)
        before = s.change_start is None or change.number <= s.change_start
        if buildsets and answers == {None}:
            yield Found(f"{what} is not for it, and is in buildset {buildsets[0]}", change.received_at)
        if buildsets and before:
            yield Found(
                f"{what} came before it began to consume, and is in buildset {buildsets[0]}", change.received_at
            )
        if buildsets and skip is not None:
            yield Found(f"{what} is in buildset {buildsets[0]}, and on record as skipped", change.received_at)
        must = answers == {True}
        if buildsets or before or skip is not None or not must or change.number in waiting:
            continue
        late = end is None or change.received_at < us(end - SERVED_WITHIN_S)
        cursor = s.change_cursor or 0
        if change.number <= cursor:
            yield Found(
                f"{what} is lost: its cursor is past it, at {cursor}, and there is no buildset", change.received_at
            )
        elif s.enabled and late:
            yield Found(f"{what} was not served until the end; its cursor is at {cursor}", change.received_at)


def _made(h: Histories, s: Scheduler) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for b in h.rows.buildsets:
        if b.scheduler_id == s.id:
            for number in h.changes_of.get(b.id, ()):
                found[number].append(b.id)
    return found


def _waiting(h: Histories, s: Scheduler) -> Collection[int]:
    """Changes that have been answered and wait for their buildset, or failed and are listed."""
    found = {row.change_number for row in h.rows.classifications if row.scheduler_id == s.id}
    found.update(h.states.get(s.id, {}).get("waiting", []))
    found.update(
        int(f.cause.removeprefix("change:")) for f in h.failures.get(s.id, []) if f.cause.startswith("change:")
    )
    return found


def buildsets_follow_the_order_of_changes(h: Histories) -> Iterator[Found]:
    """A scheduler's buildsets have the changes in their order: each begins after the one before has ended.

    But for AnyBranchScheduler with a treeStableTimer, where each branch waits by itself, and Dependent, which goes by the order
    in which buildsets complete.
    """
    for s in h.rows.schedulers:
        entries = h.entries.get(s.name, [])
        if any(
            e["type"] == "Dependent" or (e["type"] == "AnyBranchScheduler" and not expected.at_once(e)) for e in entries
        ):
            continue
        last, by = 0, 0
        for b in h.buildsets.get(s.id, []):
            numbers = h.changes_of.get(b.id, [])
            if numbers:
                if numbers[0] <= last:
                    yield Found(
                        f"{s.name}: buildset {b.id} has change {numbers[0]}, {last} was in {by} before", b.submitted_at
                    )
                last, by = max(last, numbers[-1]), b.id


def at_once_means_one_change_each(h: Histories) -> Iterator[Found]:
    """Without a treeStableTimer each buildset has one change."""
    for name, entries in h.entries.items():
        s = h.by_name.get(name)
        if s is not None and all(expected.consumes(e) and expected.at_once(e) for e in entries):
            for b in h.buildsets.get(s.id, []):
                if len(h.changes_of.get(b.id, [])) > 1:
                    yield Found(f"{name}: buildset {b.id} has changes {h.changes_of[b.id]}", b.submitted_at)


def what_waits_has_an_alarm(h: Histories) -> Iterator[Found]:
    """Changes that wait for the tree to be stable have a timer, if one of them is important."""
    for s in h.rows.schedulers:
        important = [r.change_number for r in h.rows.classifications if r.scheduler_id == s.id and r.important]
        if important and not h.timers.get(s.id):
            yield Found(f"{s.name}: changes {important[:10]} wait, and no timer is set")
        if h.states.get(s.id, {}).get("waiting") and not h.timers.get(s.id):
            yield Found(f"{s.name}: changes {h.states[s.id]['waiting'][:10]} wait in its state, and no timer is set")


def skipped_ranges_are_of_a_disabling(h: Histories) -> Iterator[Found]:
    """Changes and finished buildsets are skipped by enabling alone; ranges do not overlap, and count what is in them."""
    for scheduler_id, skips in h.skips.items():
        enabled = [o.since for o in h.owners.get(scheduler_id, []) if o.why.startswith("enabled by")]
        for what in ("changes", "finished"):
            last = 0
            for k in sorted((k for k in skips if k.what == what), key=lambda k: k.first):
                label = f"{h.name(scheduler_id)}: {what} {k.first}-{k.last} skipped ({k.reason})"
                if k.first <= last:
                    yield Found(f"{label}: {last} was on record before", k.at)
                last = max(last, k.last)
                if what == "changes" and k.count != sum(1 for n in h.changes if n in k):
                    yield Found(f"{label}: {k.count} are counted, but there are others", k.at)
                if not any(abs(k.at - at) < 5_000_000 for at in enabled):
                    yield Found(f"{label}: nobody enabled it then", k.at)


def every_finished_buildset_is_followed_once(h: Histories) -> Iterator[Found]:
    """A scheduler that follows another makes one buildset for each of that one's that has completed, in their order."""
    for name, entries in h.entries.items():
        s = h.by_name.get(name)
        upstream = {e.get("upstream") for e in entries}
        if s is None or len(upstream) != 1 or entries[0]["type"] != "plugin.Following":
            continue
        up = h.by_name.get(str(upstream.pop()))
        completed = [b for b in h.rows.buildsets if up is not None and b.scheduler_id == up.id and b.finished_number]
        place = {f"after-{b.id}": b for b in completed}
        made = [b for b in h.buildsets.get(s.id, []) if b.external_id is not None]
        counted = Counter(b.external_id for b in made)
        for external, number in counted.items():
            if number > 1:
                yield Found(f"{name}: {number} buildsets {external}")
            if external not in place:
                yield Found(f"{name}: a buildset {external}, which has not completed")
        order = [place[b.external_id].finished_number for b in made if b.external_id in place]
        for before, after in itertools.pairwise(n or 0 for n in order):
            if after <= before:
                yield Found(f"{name}: it got the buildset that finished as number {after} after number {before}")
        for external, b in place.items():
            number = b.finished_number or 0
            inside = s.finished_start is not None and s.finished_start < number <= (s.finished_cursor or 0)
            skipped = any(number in k for k in h.skipped(s.id, "finished"))
            failed = any(f.cause == f"finished:{number}" for f in h.failures.get(s.id, []))
            if inside and not skipped and not failed and external not in counted:
                yield Found(f"{name}: buildset {b.id}, which finished as number {number}, is lost", b.completed_at)


def every_force_once(h: Histories) -> Iterator[Found]:
    """A forced buildset is made once, however often it was asked for; what was answered is there."""
    asked = {e.id: e for e in h.truth.of(OrderAsked) if e.action == "force"}
    made: dict[str, list[int]] = defaultdict(list)
    for b in h.rows.buildsets:
        made[b.reason].append(b.id)
    for key in {e.args.get("key") for e in asked.values()}:
        if key and len(made[key]) > 1:
            yield Found(f"force {key} made the buildsets {made[key]}")
    for answer in h.truth.of(OrderAnswered):
        order = asked.get(answer.id)
        if order is None or answer.outcome != "yes":
            continue
        key, buildset = order.args.get("key", ""), answer.detail.get("buildset")
        if buildset not in made[key]:
            yield Found(
                f"force {key} of {order.scheduler} was answered with buildset {buildset}, made was {made[key]}",
                us(answer.at),
            )
    for m in h.rows.messages:
        answered = json.loads(m.answer_json) if m.answer_json else None
        if answered and answered.get("buildset") and answered["buildset"] not in {b.id for b in h.rows.buildsets}:
            yield Found(
                f"message {m.key} was answered with buildset {answered['buildset']}, which is not there", m.answered_at
            )


ALL: tuple[Invariant, ...] = (
    every_change_is_kept_once,
    every_relayed_change_is_made_once,
    changes_are_numbered_in_order,
    every_change_makes_its_buildset_once,
    buildsets_follow_the_order_of_changes,
    at_once_means_one_change_each,
    what_waits_has_an_alarm,
    skipped_ranges_are_of_a_disabling,
    every_finished_buildset_is_followed_once,
    every_force_once,
)
