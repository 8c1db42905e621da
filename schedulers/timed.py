"""Schedulers that fire at times: every so often, or by the calendar. A tick is a value: what matters is which due times
lie in (last examined, now], and what came of them is committed together with that window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from .arguments import to_json
from .base import answered, to_datetime
from .basic import duration_argument, reason_argument
from .catchup import Policy, Skip, decide, skipped, start_of
from .cron import CronRule
from .cron_fields import CronError
from .grid import PeriodicRule, TimeRule, due_times
from .hooks import hook
from .only_if_changed import OnlyIfChanged
from .overlap import MOST_AT_ONCE
from .overlapping import RUNS, Overlapping

TICK = "tick"
STATE = "ticks"
FORMER = "former_rules"
_FORMER_KEPT = 100


class Timed(Overlapping):
    """One buildset for each due time of a rule, or a recorded skip, as ``catch_up``, ``grace``, ``jitter`` and ``overlap`` say.

    Subclasses give ``rule(anchor)`` and ``fingerprint()``, a JSON value that changes when the rule does.
    """

    compare_attrs: ClassVar[Sequence[str]] = ("reason", "policy")

    def __init__(
        self,
        name: str,
        builderNames: Any,
        reason: str | None = None,
        catch_up: Any = "one",
        catch_up_limit: int = 100,
        grace: Any = None,
        jitter: Any = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, builderNames, **kwargs)
        self.reason = reason_argument(reason, self)
        grace_s = duration_argument("grace", grace)
        jitter_s = duration_argument("jitter", jitter) if jitter != 0 else 0.0
        if isinstance(catch_up_limit, bool) or not isinstance(catch_up_limit, int):
            raise ValueError(f"catch_up_limit: expected a whole number, got {catch_up_limit!r}")
        self._anchor = self._examined = 0
        self._state_text = ""
        """the JSON of its state, but for what every tick changes"""
        self._next_due: int | None = None
        self.policy = Policy(
            "none" if catch_up is None else catch_up,
            catch_up_limit,
            None if grace_s is None else int(grace_s * 1e6),
            int((jitter_s or 0) * 1e6),
        )

    def rule(self, anchor: int) -> TimeRule:
        """When it fires; ``anchor`` is where a new grid began, in microseconds."""
        raise NotImplementedError

    def fingerprint(self) -> Any:
        """What makes the rule: another one starts a new grid from now."""
        raise NotImplementedError

    def firstWindow(self, now: int) -> tuple[int, int]:
        """(anchor, last examined) of the first activation ever."""
        return now, now

    @hook
    async def activate(self) -> None:
        await super().activate()
        now = self.master.now()
        print_ = self.fingerprint()
        state = await self.getState(STATE, None)
        if state is None:
            anchor, examined = self.firstWindow(now)
            state = {"rule": print_, "anchor": anchor, "examined": examined}
            await self.setState(STATE, state)
        elif state["rule"] != print_:
            await self._record_cut_off(state, now)
            await self._keep_former(state, now)
            state = {"rule": print_, "anchor": now, "examined": now}
            await self.setState(STATE, state)
        else:
            enabled_at = self.master.enabled_at
            if enabled_at is not None and enabled_at > state["examined"]:
                skip = skipped(self.rule(state["anchor"]), state["examined"], enabled_at, "it was disabled")
                if skip is not None:
                    await self.master.record_skips([skip])
                state["examined"] = enabled_at
                await self.setState(STATE, state)
        self._anchor, self._examined = state["anchor"], state["examined"]
        self._state_text = to_json({"rule": print_, "anchor": self._anchor}, STATE).removesuffix("}")
        await self._wake_for(self.rule(self._anchor), self._examined)

    async def _record_cut_off(self, state: Mapping[str, Any], now: int) -> None:
        """Times of the old rule that nobody served before the new one came."""
        why = "the rule was changed before it could be served"
        old = rule_of(state["rule"], state["anchor"])
        if old is not None:
            skip = skipped(old, state["examined"], now, why)
        else:  # a rule of a class that is gone: at least the time that it was waiting for
            due = self.master.timers().get(TICK)
            skip = None if due is None or due > now else Skip(due, due, 1, why, exact=False)
        if skip is not None:
            await self.master.record_skips([skip])

    async def _keep_former(self, state: Mapping[str, Any], now: int) -> None:
        """By which rule it fired until now, so that every due time can be accounted for afterwards."""
        former = await self.getState(FORMER, [])
        former.append({"rule": state["rule"], "anchor": state["anchor"], "until": now})
        await self.setState(FORMER, former[-_FORMER_KEPT:])

    async def _wake_for(self, rule: TimeRule, examined: int) -> None:
        nominal = self._next_due = rule.after(examined)
        wake_at = None if nominal is None else start_of(rule, self.policy, self.name, nominal)
        if self.master.timers().get(TICK) != wake_at:
            await self.master.set_timer(TICK, wake_at)

    @hook
    async def gotTimer(self, key: str, due: datetime) -> None:
        if key == RUNS:
            await self.look_again()
            return
        if key != TICK:
            await answered(super().gotTimer(key, due))
            return
        # The instance is a fresh one after anything that did not commit, so what it remembers is what the database has.
        decision = decide(
            self.rule(self._anchor),
            self.policy,
            self._examined,
            self.master.now(),
            self.master.active_since,
            self.name,
            self._next_due,
        )
        for nominal in decision.serve:
            await self.serve(nominal)
        if decision.skips:
            await self.master.record_skips(decision.skips)
        self._examined = decision.examined
        self._next_due = decision.next_due
        await self.master.set_state(STATE, f'{self._state_text}, "examined": {decision.examined}}}')
        await self.master.set_timer(TICK, decision.wake_at)

    @hook
    async def fire(self, nominal: int | None) -> None:
        await self.addBuildsetForSourceStampsWithDefaults(reason=self.reason, due_at=nominal)

    @hook
    async def backfill(self, first: int, last: int) -> Mapping[str, Any]:
        """A buildset for each time of its rule at ``first <= t <= last`` that has none; the grid does not move.

        They run one after another, or all at once if ``overlap`` is ``allow``.
        """
        last = min(last, self._examined)  # what comes later is served when it is due
        times = due_times(self.rule(self._anchor), first - 1, last, MOST_AT_ONCE + 1)
        if len(times) > MOST_AT_ONCE:
            return {"error": f"that is more than {MOST_AT_ONCE} times; backfill a shorter time"}
        served = {*await self.master.ticks_served(first, last), *(t for t in self._waiting if first <= t <= last)}

        async def serve_all() -> None:
            for nominal in times:
                if nominal not in served:
                    await self.serve(nominal, in_line=True)

        waiting = len(self._waiting)
        added = await self._asked(serve_all)
        return {"buildsets": added, "waiting": len(self._waiting) - waiting, "served_before": len(served)}

    def getPendingBuildTimes(self) -> list[datetime]:
        due = self.master.timers().get(TICK) if self.active else None
        return [] if due is None else [to_datetime(due)]


class Periodic(OnlyIfChanged, Timed):
    """Every ``periodicBuildTimer`` (seconds, or text such as 90s): at once when it is first active, then on an even grid."""

    compare_attrs: ClassVar[Sequence[str]] = ("periodicBuildTimer",)

    def __init__(self, name: str, builderNames: Any, periodicBuildTimer: Any = None, **kwargs: Any) -> None:
        super().__init__(name, builderNames, **kwargs)
        if periodicBuildTimer is None:
            raise ValueError("periodicBuildTimer: it is required; give a duration such as 90s or 5m")
        seconds = duration_argument("periodicBuildTimer", periodicBuildTimer)
        assert seconds is not None
        self.periodicBuildTimer: float = seconds
        if self.policy.jitter_us >= self._period_us:
            raise ValueError("jitter: it must be shorter than periodicBuildTimer")

    @property
    def _period_us(self) -> int:
        return max(1, round(self.periodicBuildTimer * 1e6))

    def rule(self, anchor: int) -> TimeRule:
        return PeriodicRule(self._period_us, anchor)

    def fingerprint(self) -> Any:
        return ["periodic", self._period_us]

    def firstWindow(self, now: int) -> tuple[int, int]:
        return now, now - 1


class CalendarTimed(Timed):
    """By the calendar: ``minute``, ``hour``, ``dayOfMonth``, ``month``, ``dayOfWeek``, or ``cron`` text, in ``timezone``."""

    compare_attrs: ClassVar[Sequence[str]] = ("calendar", "timezone")

    def __init__(
        self,
        name: str,
        builderNames: Any,
        minute: Any = None,
        hour: Any = None,
        dayOfMonth: Any = None,
        month: Any = None,
        dayOfWeek: Any = None,
        cron: str | None = None,
        timezone: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, builderNames, **kwargs)
        fields = {"minute": minute, "hour": hour, "dayOfMonth": dayOfMonth, "month": month, "dayOfWeek": dayOfWeek}
        given = {field: value for field, value in fields.items() if value is not None}
        if cron is not None and given:
            raise ValueError(f"cron: give either it or {', '.join(given)}, not both")
        if cron is not None and not isinstance(cron, str):
            raise ValueError(f"cron: expected text such as '0 3 * * mon-fri', got {cron!r}")
        if timezone is not None and (not isinstance(timezone, str) or not timezone):
            raise ValueError(f"timezone: expected a time zone such as Europe/Berlin, got {timezone!r}")
        self.timezone = timezone
        self.calendar: Any = cron if cron is not None else {k: _plain(v) for k, v in given.items()}
        self._rules: dict[str, CronRule] = {}
        self._rule_in(timezone or "UTC")

    def _rule_in(self, timezone: str) -> CronRule:
        rule = self._rules.get(timezone)
        if rule is None:
            if isinstance(self.calendar, str):
                rule = _parsed(self.calendar, timezone)
            else:
                rule = CronRule.from_nightly(**self.calendar, timezone=timezone)
            self._rules[timezone] = rule
        return rule

    @property
    def zone(self) -> str:
        """Its own time zone, or the cluster's."""
        return self.timezone or self.master.timezone

    def rule(self, anchor: int) -> TimeRule:
        return self._rule_in(self.zone)

    def fingerprint(self) -> Any:
        return ["nightly", self.calendar, self.zone]


class Nightly(OnlyIfChanged, CalendarTimed):
    """By the calendar, with what Periodic has for changes; the ``force_at_*`` fields are times that fire whether or not
    anything has changed: those of its due times that also match all of them."""

    compare_attrs: ClassVar[Sequence[str]] = ("force_at",)

    def __init__(
        self,
        name: str,
        builderNames: Any,
        force_at_minute: Any = None,
        force_at_hour: Any = None,
        force_at_day_of_month: Any = None,
        force_at_month: Any = None,
        force_at_day_of_week: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, builderNames, **kwargs)
        given = (force_at_minute, force_at_hour, force_at_day_of_month, force_at_month, force_at_day_of_week)
        self.force_at: dict[str, Any] | None = None
        if any(value is not None for value in given):
            self.force_at = {
                field: _plain(value) for field, value in zip(_FORCE_AT, given, strict=True) if value is not None
            }
            self._forced_in(self.timezone or "UTC")

    def _forced_in(self, timezone: str) -> CronRule | None:
        if self.force_at is None:
            return None
        try:
            return CronRule.from_nightly(**self.force_at, timezone=timezone)
        except CronError as error:
            raise CronError((_FORCE_AT.get(field, field), what) for field, what in error.faults) from None

    def forced_at(self, nominal: int) -> bool:
        rule = self._forced_in(self.zone)
        return rule is not None and rule.after(nominal - 1) == nominal


_FORCE_AT = {
    "minute": "force_at_minute",
    "hour": "force_at_hour",
    "dayOfMonth": "force_at_day_of_month",
    "month": "force_at_month",
    "dayOfWeek": "force_at_day_of_week",
}


def _parsed(cron: str, timezone: str) -> CronRule:
    try:
        return CronRule.parse(cron, timezone)
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith("timezone:") else f"cron: {text}") from None


def rule_of(fingerprint: Any, anchor: int) -> TimeRule | None:
    """The rule that a standard scheduler's fingerprint stands for; None for another's."""
    try:
        match fingerprint:
            case ["periodic", period_us]:
                return PeriodicRule(period_us, anchor)
            case ["nightly", str(cron), timezone]:
                return CronRule.parse(cron, timezone)
            case ["nightly", calendar, timezone]:
                return CronRule.from_nightly(**calendar, timezone=timezone)
    except (TypeError, ValueError):  # an older release wrote what this one cannot read
        pass
    return None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, set, frozenset)) else value
