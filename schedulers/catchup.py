"""What becomes of the times that came due since somebody last looked: which are served, which are recorded skips.

One pure decision for every time rule. The window is of nominal times: ``last_examined < t <= now``. A window with several
times, or with one from before the present activation, is catch-up, whatever its cause; ``catch_up`` then tells which of its
times are served. Every other one is in a ``Skip``, so that nothing is lost in silence.

Jitter delays a *start*: nominal + a hash of (identity, nominal), the same on every master. It never moves a nominal time,
and never delays a start up to the next nominal time (a jitter longer than the gap that follows is taken modulo the gap), so
fires start in their order and at most one at a time waits for its start. Lateness is measured from the start.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal

from .cron import Instant
from .grid import TimeRule, count_due, newest_due_times

CatchUp = Literal["none", "one", "all"]

MISSED: Final = "missed: older than grace"
NOT_NEWEST: Final = "catch_up one: only the newest of the times that came due together is served"
NOT_CAUGHT_UP: Final = "catch_up none: it came due while nobody could act"
PAST_LIMIT: Final = "catch_up_limit: only the newest {limit} of the times that came due together are served"


@dataclass(frozen=True, slots=True)
class Policy:
    """What to do with times that nobody could serve when they came due. ValueError if it makes no sense."""

    catch_up: CatchUp = "one"
    catch_up_limit: int = 100
    grace_us: int | None = None
    jitter_us: int = 0

    def __post_init__(self) -> None:
        if self.catch_up not in ("none", "one", "all"):
            raise ValueError(f"catch_up: expected none, one or all, got {self.catch_up!r}")
        if self.catch_up_limit < 1:
            raise ValueError(f"catch_up_limit: expected 1 or more, got {self.catch_up_limit}")
        if self.grace_us is not None and self.grace_us < 0:
            raise ValueError(f"grace: expected a duration of 0 or more, got {self.grace_us} microseconds")
        if self.jitter_us < 0:
            raise ValueError(f"jitter: expected a duration of 0 or more, got {self.jitter_us} microseconds")


@dataclass(frozen=True, slots=True)
class Skip:
    """A run of nominal times that were not served: ``count`` of them (at least, if not ``exact``) and one reason."""

    first: Instant
    last: Instant
    count: int
    reason: str
    exact: bool = True


@dataclass(slots=True)
class Decision:
    """``serve`` and ``skips`` hold nominal times, oldest first. Commit ``examined`` with what comes of them.

    ``examined`` is the next call's ``last_examined``: ``now``, or just before a nominal time whose jitter has not run out.
    ``next_due`` is the first nominal time after it and ``wake_at`` when that starts: set the timer to ``wake_at``.
    """

    serve: tuple[Instant, ...]
    skips: tuple[Skip, ...]
    next_due: Instant | None
    wake_at: Instant | None
    examined: Instant


def jittered(identity: str, nominal: Instant, jitter_us: int) -> Instant:
    """The nominal time plus 0 to ``jitter_us`` - 1 microseconds, the same for one identity and time everywhere."""
    if jitter_us <= 0:
        return nominal
    digest = sha256(f"{identity}\n{nominal}".encode("utf-8", "surrogatepass")).digest()
    return nominal + int.from_bytes(digest[:16], "big") % jitter_us


def start_of(rule: TimeRule, policy: Policy, identity: str, nominal: Instant) -> Instant:
    """When the fire of that nominal time starts: delayed by the jitter, but before the next nominal time."""
    if not policy.jitter_us:
        return nominal
    following = rule.after(nominal)
    room = policy.jitter_us if following is None else min(policy.jitter_us, following - nominal)
    return jittered(identity, nominal, room)


def decide(
    rule: TimeRule,
    policy: Policy,
    last_examined: Instant,
    now: Instant,
    active_since: Instant,
    identity: str = "",
    next_due: Instant | None = None,
) -> Decision:
    """What becomes of the times at ``last_examined < t <= now``, for an owner that is active since ``active_since``.

    ``next_due`` is the ``next_due`` that the last decision gave, if the caller still has it: it saves a question to the rule.
    ``identity`` names the scheduler or stored schedule: its jitter depends on it. Nothing is due when ``now`` has not passed
    ``last_examined`` (a clock that went back): the window stays closed until it has.
    """
    return (
        _one_on_time(rule, policy, last_examined, now, active_since, next_due)
        or _Window(rule, policy, last_examined, now, active_since, identity).decision()
    )


def _one_on_time(
    rule: TimeRule,
    policy: Policy,
    last_examined: Instant,
    now: Instant,
    active_since: Instant,
    known_due: Instant | None,
) -> Decision | None:
    """The common case, worked out with two questions to the rule: exactly one time is due, and it came while active."""
    if policy.jitter_us or policy.grace_us is not None:
        return None
    due = rule.after(last_examined) if known_due is None else known_due
    if due is None or due > now or due < active_since:
        return None
    following = rule.after(due)
    if following is not None and following <= now:
        return None
    return Decision((due,), (), following, following, now)


def skipped(rule: TimeRule, after: Instant, until: Instant, reason: str) -> Skip | None:
    """One record of all the times at ``after < t <= until``; None if there are none."""
    first, last = rule.after(after), rule.before(until + 1)
    if first is None or last is None or first > until or last < first:
        return None
    count, exact = count_due(rule, after, until)
    return Skip(first, last, count, reason, exact)


@dataclass(frozen=True, slots=True)
class _Window:
    rule: TimeRule
    policy: Policy
    last_examined: Instant
    now: Instant
    active_since: Instant
    identity: str

    def decision(self) -> Decision:
        examined = self._examined()
        fresh_from = self._fresh_from(examined)
        serve, reason = self._served(fresh_from, examined)
        skips = (
            skipped(self.rule, self.last_examined, fresh_from, MISSED),
            skipped(self.rule, fresh_from, serve[0] - 1 if serve else examined, reason),
        )
        next_due = self.rule.after(examined)
        wake_at = None if next_due is None else self._start(next_due)
        return Decision(serve, tuple(skip for skip in skips if skip is not None), next_due, wake_at, examined)

    def _start(self, nominal: Instant) -> Instant:
        return start_of(self.rule, self.policy, self.identity, nominal)

    def _examined(self) -> Instant:
        """Up to when every nominal time has started. Only the newest can still wait: starts never pass the next time."""
        if self.now <= self.last_examined:
            return self.last_examined
        newest = self.rule.before(self.now + 1)
        if newest is not None and newest > self.last_examined and self._start(newest) > self.now:
            return newest - 1
        return self.now

    def _fresh_from(self, examined: Instant) -> Instant:
        """The instant up to which (inclusive) nominal times are older than grace."""
        if self.policy.grace_us is None:
            return self.last_examined
        oldest_start = self.now - self.policy.grace_us
        late = self.rule.before(oldest_start)  # it may have started later, within grace
        cut = late - 1 if late is not None and self._start(late) >= oldest_start else oldest_start - 1
        return min(max(cut, self.last_examined), examined)

    def _served(self, fresh_from: Instant, examined: Instant) -> tuple[tuple[Instant, ...], str]:
        """The times to serve, and why the others that are fresh are not."""
        if self.policy.catch_up == "all":
            limit = self.policy.catch_up_limit
            newest = newest_due_times(self.rule, fresh_from, examined, limit)
            return tuple(newest), PAST_LIMIT.format(limit=limit)
        newest = newest_due_times(self.rule, fresh_from, examined, 1)
        if self.policy.catch_up == "one":
            return tuple(newest), NOT_NEWEST
        return tuple(t for t in newest if self._start(t) >= self.active_since), NOT_CAUGHT_UP
