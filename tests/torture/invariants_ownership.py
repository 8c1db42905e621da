"""P1 and P2: one owner at any instant, terms that only rise, and nothing by anybody else, ever.

A scheduler's turns are numbered in the order in which they commit, each commit locks its row, and every change of hands
notes how many there were: so it can be told whose term it was when something was written, whatever clocks said.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from locum.db.crash_hint import LET_GO

from .checker_rows import Histories, Ownership
from .history import MasterEnded, OrderAnswered, OrderAsked, Seen
from .invariants import Found, Invariant, us

_TICK_US = 1000
"""How far apart two readings of one clock may seem, as commits are not instants."""
_BY_ORDER = ("moved by", "rebalanced by")
_NOTICED_S = 3.0
"""How long it takes the torture to notice that a process has ended."""
_WOKEN_S = 0.5
"""How long after it has let a process go on it may write that down."""


def terms_only_rise_by_one(h: Histories) -> Iterator[Found]:
    """Each change of hands raises the term by one and is on record; the last one on record is the row's."""
    for s in h.rows.schedulers:
        owners = h.owners.get(s.id, [])
        for o, wanted in zip(owners, itertools.count(1), strict=False):
            if o.term != wanted:
                yield Found(f"{s.name}: term {wanted} is not on record, {o.term} is", o.since)
                break
        if owners and (owners[-1].term, owners[-1].incarnation) != (s.term, s.incarnation):
            last = owners[-1]
            yield Found(
                f"{s.name}: {s.incarnation} has it under term {s.term}, on record is {last.incarnation}, term {last.term}"
            )
        if not owners and s.term:
            yield Found(f"{s.name}: nothing is on record of its terms up to {s.term}")


def history_goes_forward(h: Histories) -> Iterator[Found]:
    """A later term began later, and after at least as many turns."""
    for scheduler_id, owners in h.owners.items():
        name = h.name(scheduler_id)
        for before, after in itertools.pairwise(owners):
            if after.turns < before.turns:
                yield Found(
                    f"{name}: {before.turns} turns before term {before.term}, {after.turns} before {after.term}"
                )
            if h.one_clock and after.since < before.since - _TICK_US:
                early = (before.since - after.since) / 1e6
                yield Found(f"{name}: term {after.term} began {early:.3f} s before term {before.term}", after.since)
        s = h.schedulers.get(scheduler_id)
        if s is not None and owners[-1].turns > s.turns:
            yield Found(f"{name}: {owners[-1].turns} turns before term {owners[-1].term}, but only {s.turns} in all")


def only_what_is_free_is_taken(h: Histories) -> Iterator[Found]:
    """From one master to another only by a person's order, or when the former one is over; and only to one that is there."""
    for scheduler_id, owners in h.owners.items():
        for before, after in itertools.pairwise([None, *owners]):
            if after is None or after.incarnation is None:
                continue
            what = f"{h.name(scheduler_id)}: {after.incarnation} has it under term {after.term} ({after.why})"
            master = h.masters.get(after.incarnation)
            if master is None:
                yield Found(f"{what}, and is no known incarnation", after.since)
                continue
            if h.one_clock and after.since < master.started_at - _TICK_US:
                yield Found(f"{what}, before it had joined", after.since)
            if h.one_clock and master.ended_at is not None and after.since > master.ended_at + _TICK_US:
                yield Found(f"{what}, {(after.since - master.ended_at) / 1e6:.3f} s after its own end", after.since)
            if before is not None:
                yield from _from_one_to_another(h, what, before, after)


def _from_one_to_another(h: Histories, what: str, before: Ownership, after: Ownership) -> Iterator[Found]:
    if before.incarnation in (None, after.incarnation) or after.why.startswith(_BY_ORDER):
        return
    former = h.masters.get(before.incarnation or "")
    if former is None or former.ended_at is None:
        yield Found(f"{what}, though {before.incarnation} had it and was not over", after.since)
    elif h.one_clock and former.ended_at > after.since + _TICK_US:
        early = (former.ended_at - after.since) / 1e6
        yield Found(f"{what}, {early:.3f} s before {before.incarnation}, who had it, was over", after.since)


def nobody_is_buried_alive(h: Histories) -> Iterator[Found]:
    """A lease is not taken before its end, and who is said to have ended by the crash hint has: outside of faults that cut
    sessions, by which a living process loses its lock."""
    ended = {e.pid: e.at for e in h.truth.of(MasterEnded)}
    for m in h.rows.masters:
        if m.state != "lost" or m.ended_at is None:
            continue
        why = m.ended_why or ""
        if h.dialect == "postgresql" and why.startswith("no heartbeat") and m.lease_until > m.ended_at:
            left = (m.lease_until - m.ended_at) / 1e6
            # By its own clock a watcher may be certain after lease + margin; more than a moment can then not be left.
            if left > 1.0:
                yield Found(
                    f"{m.name} ({m.incarnation}) was lost {left:.3f} s before its lease ended: {why}", m.ended_at
                )
        if why == LET_GO and m.pid in ended and not _sessions_were_cut(h, m.ended_at):
            late = ended[m.pid] - m.ended_at / 1e6
            if h.one_clock and late > _NOTICED_S and not _woke_up(h, m.name, m.ended_at):
                yield Found(f"{m.name} ({m.incarnation}) was said to have ended {late:.1f} s before it did", m.ended_at)


def _woke_up(h: Histories, master: str, at_us: int) -> bool:
    """Whether that one had been frozen, and was so no more: it may have found its lease doubtful then, and given it up."""
    from .invariants_timing import windows

    frozen = (w for w in windows(h) if w.fault.startswith("freeze") and w.target == master)
    return any(w.covers(at_us / 1e6) and at_us / 1e6 >= w.end - _WOKEN_S for w in frozen)


def _sessions_were_cut(h: Histories, at_us: int) -> bool:
    from .invariants_timing import windows  # not at the top: that module looks at owners, too

    return any(
        w.covers(at_us / 1e6, before_s=5.0) for w in windows(h) if not w.fault.startswith(("kill", "term", "freeze"))
    )


def effects_carry_the_current_term(h: Histories) -> Iterator[Found]:
    """What a turn wrote, it wrote under the term that was the scheduler's then, by the incarnation that had that term."""
    for b in h.rows.buildsets:
        if b.scheduler_id is not None:
            what = f"buildset {b.id} ({b.reason})"
            yield from _under_its_term(h, b.scheduler_id, what, b.term, b.turn, b.submitted_at, b.incarnation)
    for k in h.rows.skips:
        if k.turn is not None:
            yield from _under_its_term(h, k.scheduler_id, f"skip {k.id} ({k.reason})", k.term, k.turn, k.at)
    for t in h.rows.scheduler_state:
        yield from _under_its_term(h, t.scheduler_id, f"state '{t.key}'", t.term, t.turn, None)


def _under_its_term(
    h: Histories,
    scheduler_id: int,
    what: str,
    term: int | None,
    turn: int | None,
    at: int | None,
    by: str | None = None,
) -> Iterator[Found]:
    what = f"{h.name(scheduler_id)}: {what}, turn {turn} under term {term}"
    if term is None or turn is None:
        yield Found(f"{what}: it does not say under which term it was written", at)
        return
    owners = {o.term: o for o in h.owners.get(scheduler_id, [])}
    own = owners.get(term)
    if own is None:
        yield Found(f"{what}: there was no such term", at)
        return
    if own.incarnation is None or (by is not None and own.incarnation != by):
        yield Found(f"{what}: the term was {own.incarnation or 'nobody'}'s, not {by or 'a master'}'s", at)
    if turn <= own.turns:
        yield Found(f"{what}: the term began only after turn {own.turns}", at)
    following = owners.get(term + 1)
    if following is not None and turn > following.turns:
        yield Found(f"{what}: the term had ended after turn {following.turns} ({following.why})", at)


def nothing_while_nobody_holds_it(h: Histories) -> Iterator[Found]:
    """While nobody has a scheduler (released, disabled) no turn of it commits."""
    for scheduler_id, owners in h.owners.items():
        s = h.schedulers.get(scheduler_id)
        ends = [*(o.turns for o in owners[1:]), s.turns if s is not None else owners[-1].turns]
        for o, turns in zip(owners, ends, strict=True):
            if o.incarnation is None and turns > o.turns:
                yield Found(
                    f"{h.name(scheduler_id)}: {turns - o.turns} turns committed under term {o.term}, when nobody had it"
                    f" ({o.why})",
                    o.since,
                )


def disabled_is_disabled(h: Histories) -> Iterator[Found]:
    """From disabling to enabling nobody gets the scheduler; from a disable's answer on nothing of it is committed."""
    for scheduler_id, owners in h.owners.items():
        for before, after in itertools.pairwise(owners):
            if before.why.startswith("disabled by") and not after.why.startswith("enabled by"):
                yield Found(f"{h.name(scheduler_id)}: {before.why}, and then: {after.why}", after.since)
            if before.why.startswith("disabled by") and before.incarnation is not None:
                yield Found(f"{h.name(scheduler_id)}: {before.incarnation} has it, although {before.why}", before.since)
    for name, acknowledged, ended in _disabled_spans(h):
        s = h.by_name.get(name)
        if s is None:
            continue
        if h.one_clock:
            for b in h.buildsets.get(s.id, []):
                if us(acknowledged) < b.submitted_at < us(ended):
                    late = b.submitted_at / 1e6 - acknowledged
                    yield Found(
                        f"{name}: buildset {b.id} {late:.3f} s after disabling it was acknowledged", b.submitted_at
                    )
        seen = [e for e in h.truth.of(Seen) if e.at > acknowledged and e.until < ended and name in e.schedulers]
        for e in seen:
            now = e.schedulers[name]
            if now["enabled"] or now["incarnation"] is not None:
                yield Found(
                    f"{name} was seen enabled or held, {e.at - acknowledged:.3f} s after it was disabled", us(e.at)
                )
            elif now["turns"] != seen[0].schedulers[name]["turns"]:
                yield Found(f"{name}: a turn was committed while it was disabled", us(e.at))


def _disabled_spans(h: Histories) -> Iterator[tuple[str, float, float]]:
    """(scheduler, when its disabling was acknowledged, when anybody next asked to enable it)."""
    asked = {e.id: e for e in h.truth.of(OrderAsked)}
    enables = [e for e in asked.values() if e.action == "enable"]
    for answer in h.truth.of(OrderAnswered):
        order = asked.get(answer.id)
        if order is None or order.action != "disable" or answer.outcome != "yes":
            continue
        # An enabling that is not answered yet may come at any time.
        open_ = [e for e in enables if e.scheduler == order.scheduler and _unanswered(h, e.id, order.at)]
        if any(e.at < answer.at for e in open_):
            continue
        later = (e.at for e in enables if e.scheduler == order.scheduler and e.at >= answer.at)
        yield order.scheduler, answer.at, min(later, default=float("inf"))


def _unanswered(h: Histories, order: str, since: float) -> bool:
    """Whether an order had no clear answer before ``since``."""
    found = next((a for a in h.truth.of(OrderAnswered) if a.id == order), None)
    return found is None or found.outcome == "unknown" or found.at > since


def what_was_seen_is_on_record(h: Histories) -> Iterator[Found]:
    """Every look at the database shows a holder, a term and a number of turns that the history has at that place."""
    for e in h.truth.of(Seen):
        for name, now in e.schedulers.items():
            s = h.by_name.get(name)
            if s is None or not now["term"]:
                continue
            owners = {o.term: o for o in h.owners.get(s.id, [])}
            own, following = owners.get(now["term"]), owners.get(now["term"] + 1)
            if own is None:
                yield Found(f"{name}: term {now['term']} was seen, and is not on record", us(e.at))
            elif own.incarnation != now["incarnation"]:
                yield Found(
                    f"{name}: {now['incarnation']} was seen to have it under term {own.term}, which is {own.incarnation}'s",
                    us(e.at),
                )
            elif now["turns"] < own.turns or (following is not None and now["turns"] > following.turns):
                yield Found(
                    f"{name}: {now['turns']} turns were seen under term {own.term}, which is not when they were",
                    us(e.at),
                )


ALL: tuple[Invariant, ...] = (
    terms_only_rise_by_one,
    history_goes_forward,
    only_what_is_free_is_taken,
    nobody_is_buried_alive,
    effects_carry_the_current_term,
    nothing_while_nobody_holds_it,
    disabled_is_disabled,
    what_was_seen_is_on_record,
)
