"""P4: every due time is one buildset, or a recorded skip, as its policy says."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from . import checker_expected as expected
from .checker_expected import Rule
from .checker_rows import Buildset, Histories, Scheduler, Skip
from .history import Seen
from .invariants import Found, Invariant, us

FORMER_KEPT = 100
NEARLY_US = 1_000_000
"""How far the times of two masters may be apart when one of them begins another rule."""
NEARLY_TOGETHER_US = 1000
"""How far apart two readings of one clock may seem, as commits are not instants."""
OVERDUE_S = 5.0


@dataclass(frozen=True, slots=True)
class Reign:
    """By which rule a scheduler fired at ``after < t <= until``."""

    rule: Rule
    after: int
    until: int


def reigns(state: dict[str, Any]) -> list[Reign]:
    """A scheduler's rules one after the other, as its state has them."""
    if "ticks" not in state:
        return []
    former, now = state.get("former_rules", []), state["ticks"]
    found: list[Reign] = []
    for one in (*former, {**now, "until": now["examined"]}):
        rule = Rule(one["rule"], one["anchor"])
        first = rule.anchor if len(former) >= FORMER_KEPT else rule.first_from
        found.append(Reign(rule, found[-1].until if found else first, one["until"]))
    return found


def _timed(h: Histories) -> Iterator[tuple[Scheduler, list[Reign]]]:
    for s in h.rows.schedulers:
        found = reigns(h.states.get(s.id, {}))
        if found:
            yield s, found


def every_tick_is_accounted_for(h: Histories) -> Iterator[Found]:
    """Each due time up to the last look is one buildset or in one recorded skip; nothing else is."""
    for s, past in _timed(h):
        served: dict[int, list[Buildset]] = defaultdict(list)
        for b in h.rows.buildsets:
            if b.scheduler_id == s.id and b.due_at is not None:
                served[b.due_at].append(b)
        skips = h.skipped(s.id, "ticks")
        due = {t for reign in past for t in reign.rule.due(reign.after, reign.until)}
        waiting = Counter(h.states.get(s.id, {}).get("runs", {}).get("waiting", ()))
        for t in sorted(due):
            records = [k for k in skips if t in k and _is_of(k, t, past)]
            made = len(served.get(t, ())) + waiting[t]
            times = made + len(records)
            if times > 1 and _was_asked_for_again(h, s, t, made, records):
                continue
            if times == 0:
                yield Found(f"{s.name}: {_at(t)} was due, and there is neither a buildset nor a recorded skip", t)
            elif times > 1:
                yield Found(f"{s.name}: {_at(t)} has {len(served.get(t, ()))} buildsets, and {times} records in all", t)
        nearly = {t for reign in past for t in reign.rule.due(reign.until, reign.until + NEARLY_US)}
        if past[0].rule.first_from != past[0].after:
            continue  # it had more rules than are kept: what came before is not known
        for t in sorted(set(served) - due):
            if len(past) == 1 or t not in nearly:
                yield Found(f"{s.name}: buildset {served[t][0].id} is for {_at(t)}, which was never due", t)


def _was_asked_for_again(h: Histories, s: Scheduler, t: int, made: int, records: list[Skip]) -> bool:
    """Whether people's backfills account for more than one record: each may have served what was skipped, once in all, or a
    newer time has replaced it while it waited for its turn."""
    asked = sum(order["first"] <= t <= order["last"] for order in h.backfills.get(s.name, ()))
    first = sum(not k.reason.startswith("overlap replace") for k in records)
    return made <= 1 and first <= 1 and made + len(records) <= 1 + asked


def _is_of(skip: Skip, t: int, past: list[Reign]) -> bool:
    """Whether a skip counts ``t``: it lies on the grid of the skip's own rule, not only between its ends."""
    return any(
        reign.after < skip.first and skip.last <= reign.until + NEARLY_US and _on(reign, skip.first) and _on(reign, t)
        for reign in past
    )


def _on(reign: Reign, t: int) -> bool:
    return bool(reign.rule.due(t - 1, t))


def skips_count_what_they_skip(h: Histories) -> Iterator[Found]:
    """A skip begins and ends with a due time, and says how many there are."""
    for s, past in _timed(h):
        for k in h.skipped(s.id, "ticks"):
            own = [r for r in past if r.after < k.first and k.last <= r.until + NEARLY_US and _on(r, k.first)]
            if not own:
                if past[0].rule.first_from == past[0].after:
                    yield Found(
                        f"{s.name}: skipped {_at(k.first)} to {_at(k.last)}, which was never due ({k.reason})", k.at
                    )
                continue
            times = own[0].rule.due(k.first - 1, k.last)
            if not times or times[-1] != k.last or len(times) != k.count:
                yield Found(
                    f"{s.name}: {k.count} times skipped, {_at(k.first)} to {_at(k.last)}, but there are {len(times)}",
                    k.at,
                )


def skips_are_as_the_policy_says(h: Histories) -> Iterator[Found]:
    """Every reason for a skip is one that the scheduler's policy, its disabling or its new rule can give."""
    for s, past in _timed(h):
        policies = [expected.policy(e) for e in h.entries.get(s.name, []) if e["type"] in expected.TIMED]
        served = {b.due_at: b for b in h.rows.buildsets if b.scheduler_id == s.id and b.due_at is not None}
        for k in h.skipped(s.id, "ticks"):
            for wrong in _wrong(h, s, past, policies, served, k):
                yield Found(f"{s.name}: skipped {_at(k.first)} to {_at(k.last)} ({k.reason}): {wrong}", k.at)


def _wrong(
    h: Histories,
    s: Scheduler,
    past: list[Reign],
    policies: list[expected.TickPolicy],
    served: dict[int, Buildset],
    k: Skip,
) -> Iterator[str]:
    owners = h.owners.get(s.id, [])
    following = next((b for t, b in sorted(served.items()) if t > k.last), None)
    together = following is not None and following.turn == k.turn
    # The newest may have been looked at in that turn without a buildset: it is on record for a reason of its own, or waits.
    together = together or any(o.turn == k.turn and o.first > k.last for o in h.skipped(s.id, "ticks"))
    together = together or any(p.overlap in ("queue", "replace") for p in policies)
    if k.reason == "it was disabled":
        if not any(o.why.startswith("enabled by") and o.since >= k.last for o in owners):
            yield "nobody enabled it after that"
    elif k.reason.startswith("the rule was changed"):
        if len(past) < 2:
            yield "its rule never changed"
    elif k.reason.startswith("catch_up one"):
        if policies and not any(p.catch_up == "one" for p in policies):
            yield "its policy is another"
        if not together:
            yield "but no newer one was served with that"
    elif k.reason.startswith("catch_up none"):
        if policies and not any(p.catch_up == "none" for p in policies):
            yield "its policy is another"
        own = next((o for o in owners if o.term == k.term), None)
        if own is not None and own.since < k.last and not together and h.one_clock:
            yield f"it came due when {own.incarnation} had it, since {_at(own.since)}"
    elif k.reason.startswith("catch_up_limit"):
        limits = {p.limit for p in policies if p.catch_up == "all"}
        if policies and not limits:
            yield "its policy is another"
        if not together:
            yield "but none was served with that"
        served_then = sum(1 for b in served.values() if b.turn == k.turn and b.due_at and b.due_at > k.last)
        if limits and served_then < min(limits):
            yield f"only {served_then} were served with that, and the limit is {sorted(limits)}"
    elif k.reason.startswith("missed: older than grace"):
        graces = [p.grace_us for p in policies if p.grace_us is not None]
        if policies and not graces:
            yield "its policy has no grace"
        elif graces and k.at - k.last < min(graces) - NEARLY_US:
            yield "it was not older than that"
    elif k.reason.startswith("onlyIfChanged"):
        yield from _had_changed(h, s, k)
    elif k.reason.startswith("overlap"):
        yield from _did_not_overlap(h, s, policies, k)
    elif not k.reason.startswith("nothing was triggered"):  # what was, ``invariants_family`` looks at
        yield "that is no reason known"


def _had_changed(h: Histories, s: Scheduler, k: Skip) -> Iterator[str]:
    """A change that it was seen to have taken in before, and whose buildset came later."""
    entries = h.entries.get(s.name, [])
    if not any(e.get("onlyIfChanged") for e in entries):
        yield "its policy is another"
        return
    if all(expected.forced_at(e, k.first) for e in entries):
        yield "at that time it was to ask for work even so"
    cursor = _seen_before(h, s, k, "change_cursor")
    made = {n: b for b in h.buildsets.get(s.id, []) for n in h.changes_of.get(b.id, [])}
    for change in h.changes.values():
        if (s.change_start or 0) < change.number <= cursor and all(expected.wants(e, change) for e in entries):
            skipped = any(change.number in one for one in h.skipped(s.id, "changes"))
            if not skipped and (change.number not in made or (made[change.number].turn or 0) > (k.turn or 0)):
                yield f"it had taken in change {change.number}"
                return


def _did_not_overlap(h: Histories, s: Scheduler, policies: list[expected.TickPolicy], k: Skip) -> Iterator[str]:
    """Its policy is another; or no run can have been unfinished as far as it had been seen to know; or none waited.

    Turns that were committed together have one number: what has the skip's may have come before it, or after.
    """
    policy = {"overlap skip": "skip", "overlap queue": "queue", "overlap replace": "replace"}[
        k.reason.partition(":")[0]
    ]
    if policies and not any(p.overlap == policy for p in policies):
        yield "its policy is another"
        return
    heard = _seen_before(h, s, k, "finished_cursor")
    own = h.buildsets.get(s.id, [])
    if policy == "skip" and not any(
        (b.turn or 0) <= (k.turn or 0) and (b.finished_number is None or b.finished_number > heard) for b in own
    ):
        yield "no run before it was unfinished"
    waiting = h.states.get(s.id, {}).get("runs", {}).get("waiting", ())
    starts = [b.due_at for b in own if b.due_at is not None and (b.turn or 0) >= (k.turn or 0)]
    if policy == "queue" and not any(t < k.first for t in (*starts, *waiting)):
        yield "none waited"
    if policy == "replace":
        later = [b for b in own if b.due_at is not None and b.due_at > k.last]
        more = [o for o in h.skipped(s.id, "ticks") if o.first > k.last]
        if not later and not more and not any(t > k.last for t in waiting):
            yield "no newer one came"


def _seen_before(h: Histories, s: Scheduler, k: Skip, cursor: str) -> int:
    """How far it was seen to have come before that turn."""
    found = 0
    for e in h.truth.of(Seen):
        now = e.schedulers.get(s.name)
        if now is not None and now["turns"] < (k.turn or 0):
            found = max(found, now.get(cursor) or 0)
    return found


def due_times_do_not_overlap(h: Histories) -> Iterator[Found]:
    """Unless ``overlap`` is ``allow``, what came due starts when every run before it has ended."""
    for name, entries in h.entries.items():
        s = h.by_name.get(name)
        if (
            s is None
            or not h.one_clock
            or any(expected.policy(e).overlap == "allow" for e in entries if e["type"] in expected.TIMED)
        ):
            continue
        if not any(e["type"] in expected.TIMED for e in entries):
            continue
        last, end = None, 0
        for b in h.buildsets.get(s.id, []):
            if b.due_at is not None and last is not None and b.submitted_at < end - NEARLY_TOGETHER_US:
                early = (end - b.submitted_at) / 1e6
                yield Found(
                    f"{name}: buildset {b.id} for {_at(b.due_at)} came {early:.3f} s before {last} had ended",
                    b.submitted_at,
                )
            over = b.completed_at if b.completed_at is not None else 1 << 62
            if over > end:
                last, end = b.id, over


def own_timers_fire_once_each(h: Histories) -> Iterator[Found]:
    """A scheduler that sets its next alarm when one fires makes an unbroken chain: each due time once, none left out."""
    for name, entries in h.entries.items():
        s = h.by_name.get(name)
        if s is None or entries[0]["type"] != "plugin.Ticking":
            continue
        steps = {round(e["seconds"] * 1e6) for e in entries}
        due = [_time_of(name, b.external_id) for b in h.buildsets.get(s.id, []) if b.external_id is not None]
        for before, after in itertools.pairwise(due):
            if after - before not in steps:
                yield Found(f"{name}: after {_at(before)} it fired at {_at(after)}", after)
        end = h.phase("stopping")
        if end is not None and s.enabled and due and due[-1] + max(steps) < us(end - OVERDUE_S):
            yield Found(f"{name}: it fired at {_at(due[-1])}, and then never again", due[-1])


def _time_of(name: str, external_id: str) -> int:
    return round(datetime.fromisoformat(external_id.removeprefix(f"{name}-")).timestamp() * 1e6)


def all_rules_go_on_to_the_end(h: Histories) -> Iterator[Found]:
    """Up to the end of the quiet time every due time has been looked at."""
    end = h.phase("stopping")
    if end is None:
        return
    for s, past in _timed(h):
        entries = h.entries.get(s.name, [])
        jitter = max((expected.policy(e).jitter_us for e in entries if e["type"] in expected.TIMED), default=0)
        missed = past[-1].rule.due(past[-1].until, us(end - OVERDUE_S) - jitter)
        if s.enabled and missed and h.is_configured(s.name):
            yield Found(f"{s.name}: {len(missed)} times came due, and nobody looked at them until the end", missed[0])


def _at(t: int) -> str:
    return f"{datetime.fromtimestamp(t / 1e6).strftime('%H:%M:%S')}.{t % 1_000_000:06}"


ALL: tuple[Invariant, ...] = (
    every_tick_is_accounted_for,
    skips_count_what_they_skip,
    skips_are_as_the_policy_says,
    due_times_do_not_overlap,
    own_timers_fire_once_each,
    all_rules_go_on_to_the_end,
)
