"""P5: state goes with the scheduler: what a committed turn has set is what the next one reads, on whatever master."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import checker_expected as expected
from .checker_rows import Histories
from .history import Seen
from .invariants import Found, Invariant, us

_PREFIX = "number "


def counts_have_no_gap(h: Histories) -> Iterator[Found]:
    """A scheduler that counts its buildsets in its state has made each number once, in order, and its state is the last."""
    for name, entries in h.entries.items():
        s = h.by_name.get(name)
        if s is None or not all(e["type"] in expected.NUMBERED for e in entries):
            continue
        numbered = [b for b in h.buildsets.get(s.id, []) if b.reason.startswith(_PREFIX)]
        for wanted, b in enumerate(numbered, 1):
            if b.reason != f"{_PREFIX}{wanted}":
                yield Found(f"{name}: where number {wanted} should be, buildset {b.id} is {b.reason}", b.submitted_at)
                break
        count = h.states.get(s.id, {}).get("count", 0)
        if count != len(numbered):
            yield Found(f"{name}: it has counted {count} in its state, and made {len(numbered)}")


def what_was_seen_never_goes_back(h: Histories) -> Iterator[Found]:
    """Of two looks at the database, one begun when the other was done, the later never shows an older row."""
    newest: dict[str, tuple[float, dict[str, Any]]] = {}
    for e in sorted(h.truth.of(Seen), key=lambda e: e.at):
        for name, now in e.schedulers.items():
            known = newest.get(name)
            if known is not None and known[0] <= e.at:
                for what, before, after in _went_back(known[1], now):
                    yield Found(f"{name}: {what} was {before}, and then {after}", us(e.at))
            if known is None or known[0] <= e.until:
                newest[name] = (e.until, now)


def _went_back(before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for what in ("term", "turns", "change_cursor", "finished_cursor"):
        if (after.get(what) or 0) < (before.get(what) or 0):
            yield what, before[what], after.get(what)
    old, new = before.get("state", {}), after.get("state", {})
    if new.get("count", 0) < old.get("count", 0):
        yield "the count", old["count"], new.get("count")
    if "ticks" in old:
        was, now = old["ticks"], new.get("ticks", {})
        if (now.get("anchor", 0), now.get("examined", 0)) < (was["anchor"], was["examined"]):
            yield "the last look at due times", was["examined"], now.get("examined")
    for key in old:
        if key not in new:
            yield f"state '{key}'", old[key], "nothing"


ALL: tuple[Invariant, ...] = (counts_have_no_gap, what_was_seen_never_goes_back)
