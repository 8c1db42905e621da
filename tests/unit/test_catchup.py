"""The even grid, and what becomes of times that nobody served when they came due."""

from dataclasses import dataclass
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from locum.schedulers.catchup import (
    MISSED,
    NOT_CAUGHT_UP,
    NOT_NEWEST,
    PAST_LIMIT,
    Policy,
    Skip,
    decide,
    jittered,
    skipped,
    start_of,
)
from locum.schedulers.cron import CronRule
from locum.schedulers.grid import COUNT_LIMIT, PeriodicRule, count_due, due_times, newest_due_times

MINUTE = 60_000_000
HOUR = 60 * MINUTE
T = 1_767_225_600_000_000  # 2026-01-01 00:00 UTC
HOURLY = PeriodicRule(HOUR, T)
POLICIES = st.builds(
    Policy,
    catch_up=st.sampled_from(["none", "one", "all"]),
    catch_up_limit=st.integers(1, 5),
    grace_us=st.none() | st.integers(0, 50),
    jitter_us=st.integers(0, 30),
)


@dataclass(frozen=True)
class Listed:
    """A rule that cannot count: the times of a list."""

    times: tuple[int, ...]

    def after(self, t):
        return next((one for one in self.times if one > t), None)

    def before(self, t):
        return next((one for one in reversed(self.times) if one < t), None)


@dataclass(frozen=True)
class EveryMicrosecond:
    """A rule that cannot count and never ends."""

    def after(self, t):
        return t + 1

    def before(self, t):
        return t - 1


RULES = st.one_of(
    st.builds(PeriodicRule, period_us=st.integers(1, 40), anchor=st.integers(-100, 100)),
    st.sets(st.integers(-200, 500), max_size=20).map(lambda times: Listed(tuple(sorted(times)))),
)


def test_a_grid_begins_at_its_anchor():
    assert HOURLY.after(T - 5 * HOUR) == T
    assert HOURLY.after(T) == T + HOUR
    assert HOURLY.before(T) is None
    assert HOURLY.before(T + 1) == T
    assert HOURLY.before(T + HOUR) == T


@pytest.mark.parametrize("period", [0, -1])
def test_a_grid_without_a_period_is_refused(period):
    with pytest.raises(ValueError, match="longer than 0"):
        PeriodicRule(period, T)


@given(RULES, st.integers(-300, 600), st.integers(0, 400), st.integers(1, 30))
def test_due_times_are_the_fires_of_the_half_open_window(rule, start, length, limit):
    every = [t for t in range(start + 1, start + length + 1) if rule.after(t - 1) == t]
    assert due_times(rule, start, start + length, limit) == every[:limit]
    assert newest_due_times(rule, start, start + length, limit) == every[-limit:]
    assert count_due(rule, start, start + length) == (len(every), True)


def test_a_count_that_was_given_up_says_that_it_is_a_lower_bound():
    assert count_due(EveryMicrosecond(), 0, COUNT_LIMIT + 1) == (COUNT_LIMIT, False)
    assert count_due(EveryMicrosecond(), 0, COUNT_LIMIT) == (COUNT_LIMIT, True)


def test_a_single_time_since_activation_is_served_whatever_catch_up_says():
    for catch_up in ("none", "one", "all"):
        decision = decide(HOURLY, Policy(catch_up), T + 1, T + HOUR + 3, T + 1)
        assert decision.serve == (T + HOUR,)
        assert decision.skips == ()
        assert decision.examined == T + HOUR + 3
        assert decision.next_due == decision.wake_at == T + 2 * HOUR


def test_nothing_due_moves_only_the_window():
    decision = decide(HOURLY, Policy(), T + 1, T + 2, T)
    assert (decision.serve, decision.skips, decision.examined) == ((), (), T + 2)


def test_one_serves_the_newest_and_records_the_others_as_one_run():
    decision = decide(HOURLY, Policy("one"), T, T + 5 * HOUR, T + 5 * HOUR - 1)
    assert decision.serve == (T + 5 * HOUR,)
    assert decision.skips == (Skip(T + HOUR, T + 4 * HOUR, 4, NOT_NEWEST),)


def test_one_serves_a_single_time_from_before_the_activation():
    assert decide(HOURLY, Policy("one"), T, T + HOUR + 9, T + HOUR + 5).serve == (T + HOUR,)


def test_none_drops_a_single_time_from_before_the_activation():
    decision = decide(HOURLY, Policy("none"), T, T + HOUR + 9, T + HOUR + 5)
    assert decision.serve == ()
    assert decision.skips == (Skip(T + HOUR, T + HOUR, 1, NOT_CAUGHT_UP),)


def test_none_serves_the_newest_of_several_if_it_came_due_since_the_activation():
    decision = decide(HOURLY, Policy("none"), T, T + 3 * HOUR, T + 3 * HOUR)
    assert decision.serve == (T + 3 * HOUR,)
    assert decision.skips == (Skip(T + HOUR, T + 2 * HOUR, 2, NOT_CAUGHT_UP),)


def test_all_serves_each_in_order_up_to_its_limit():
    decision = decide(HOURLY, Policy("all", catch_up_limit=2), T, T + 5 * HOUR, T)
    assert decision.serve == (T + 4 * HOUR, T + 5 * HOUR)
    assert decision.skips == (Skip(T + HOUR, T + 3 * HOUR, 3, PAST_LIMIT.format(limit=2)),)
    assert decide(HOURLY, Policy("all"), T, T + 2 * HOUR, T).skips == ()


def test_what_is_older_than_grace_is_missed():
    policy = Policy("all", grace_us=HOUR)
    decision = decide(HOURLY, policy, T, T + 4 * HOUR, T)
    assert decision.serve == (T + 3 * HOUR, T + 4 * HOUR)  # exactly an hour is not older than it
    assert decision.skips == (Skip(T + HOUR, T + 2 * HOUR, 2, MISSED),)


def test_grace_holds_for_a_single_time_that_came_due_since_the_activation():
    decision = decide(HOURLY, Policy(grace_us=5), T, T + HOUR + 6, T)
    assert decision.serve == ()
    assert decision.skips == (Skip(T + HOUR, T + HOUR, 1, MISSED),)


def test_two_reasons_are_two_runs():
    decision = decide(HOURLY, Policy("one", grace_us=2 * HOUR), T, T + 5 * HOUR, T)
    assert decision.skips == (Skip(T + HOUR, T + 2 * HOUR, 2, MISSED), Skip(T + 3 * HOUR, T + 4 * HOUR, 2, NOT_NEWEST))


def test_a_clock_that_went_back_finds_nothing_due_and_keeps_the_window_closed():
    decision = decide(HOURLY, Policy("all"), T + 5 * HOUR, T + HOUR, T)
    assert (decision.serve, decision.skips, decision.examined) == ((), (), T + 5 * HOUR)
    assert decision.next_due == T + 6 * HOUR


def test_a_rule_that_ended_has_no_next_due():
    decision = decide(Listed((5,)), Policy(), 0, 9, 0)
    assert (decision.serve, decision.next_due, decision.wake_at) == ((5,), None, None)


@pytest.mark.parametrize(
    "rule", [PeriodicRule(MINUTE, T - 11 * 8766 * HOUR), CronRule.parse("* * * * *", "Europe/Berlin")]
)
def test_ten_years_of_minutes_are_counted_exactly_and_at_once(rule):
    begun = perf_counter()
    decision = decide(rule, Policy("all", grace_us=24 * HOUR), T - 10 * 8766 * HOUR, T, T)
    assert perf_counter() - begun < 1
    assert sum(skip.count for skip in decision.skips) + len(decision.serve) == 10 * 8766 * 60
    assert all(skip.exact for skip in decision.skips)


@given(RULES, POLICIES, st.integers(-150, 400), st.lists(st.integers(0, 120), min_size=1, max_size=12), st.data())
def test_every_time_is_served_once_or_skipped_once_however_the_windows_fall(rule, policy, start, steps, data):
    now = examined = start
    accounted, served = [], []
    for step in steps:
        now += step
        active_since = data.draw(st.integers(start, now))
        decision = decide(rule, policy, examined, now, active_since, "nightly")
        skips = [t for skip in decision.skips for t in due_times(rule, skip.first - 1, skip.last, 10_000)]
        assert len(skips) == sum(skip.count for skip in decision.skips)
        assert sorted({*skips, *decision.serve}) == due_times(rule, examined, decision.examined, 10_000)
        assert all(start_of(rule, policy, "nightly", t) <= now for t in decision.serve)
        assert decision.wake_at is None or now <= examined or decision.wake_at > now
        accounted += sorted([*skips, *decision.serve])
        served += decision.serve
        examined = decision.examined
    assert accounted == due_times(rule, start, examined, 10_000)
    assert served == sorted(set(served))


@given(RULES, st.integers(0, 60), st.integers(-100, 300))
def test_jitter_keeps_the_order_and_stays_before_the_next_time(rule, jitter, start):
    policy = Policy(jitter_us=jitter)
    times = due_times(rule, start, start + 300, 50)
    starts = [start_of(rule, policy, "x", t) for t in times]
    assert starts == sorted(starts)
    for nominal, started in zip(times, starts, strict=True):
        following = rule.after(nominal)
        assert nominal <= started and (following is None or started < following)
        assert started <= nominal + max(0, jitter - 1)


def test_a_fire_waits_for_its_jitter_and_the_window_waits_with_it():
    policy = Policy(jitter_us=10 * MINUTE)
    due = T + HOUR
    start = start_of(HOURLY, policy, "nightly", due)
    assert due < start < due + 10 * MINUTE
    early = decide(HOURLY, policy, T, start - 1, T, "nightly")
    assert (early.serve, early.next_due, early.wake_at) == ((), due, start)
    late = decide(HOURLY, policy, early.examined, start, T, "nightly")
    assert (late.serve, late.examined) == ((due,), start)


def test_lateness_is_counted_from_the_jittered_start():
    policy = Policy("none", grace_us=0, jitter_us=10 * MINUTE)
    start = start_of(HOURLY, policy, "nightly", T + HOUR)
    assert decide(HOURLY, policy, T, start, active_since=start, identity="nightly").serve == (T + HOUR,)
    assert decide(HOURLY, policy, T, start + 1, active_since=T, identity="nightly").skips[0].reason == MISSED


def test_jitter_is_the_same_on_every_master_and_differs_between_schedules():
    assert jittered("nightly", T, HOUR) == T + 561_757_267
    assert len({jittered(f"s{n}", T, HOUR) for n in range(100)}) == 100
    assert jittered("nightly", T, 0) == T


def test_a_run_of_skips_is_one_record():
    assert skipped(HOURLY, T, T + 3 * HOUR, "disabled") == Skip(T + HOUR, T + 3 * HOUR, 3, "disabled")
    assert skipped(HOURLY, T, T + 1, "disabled") is None


@pytest.mark.parametrize(
    "wrong",
    [{"catch_up": "some"}, {"catch_up_limit": 0}, {"grace_us": -1}, {"jitter_us": -1}],
    ids=lambda one: next(iter(one)),
)
def test_a_policy_without_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).removesuffix("_us")):
        Policy(**wrong)
