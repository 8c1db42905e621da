"""Schedulers that fire at times, on the real tenure and committer: grids, calendars, and what nobody could serve."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from locum.schedulers import Nightly, Periodic
from locum.schedulers.catchup import MISSED, NOT_CAUGHT_UP, NOT_NEWEST

CASES = json.loads((Path(__file__).parent / "data/timed_cases.json").read_text())
HOUR, DAY = 3600, 86_400


def periodic(seconds, **arguments):
    return lambda: Periodic("beat", ["unit"], periodicBuildTimer=seconds, **arguments)


def nightly(**arguments):
    return lambda: Nightly("nightly", ["unit"], **arguments)


def dues(b):
    return [built.due.isoformat().removesuffix("+00:00") for built in b.built]


def skipped(b):
    return sum(count for _, _, count, _ in b.skips)


# -- the known cases


@pytest.mark.parametrize(
    "case", [c for c in CASES["periodic_simulations"] if "expected_fire_s" in c], ids=lambda c: c["id"]
)
def test_known_simulations_of_periodic(bench, case):
    b = bench(lambda: Periodic("test", ["unit"], **case["params"]))
    b.advance(case["run_to_s"])
    assert b.fired == case["expected_fire_s"]
    assert [x.at for x in b.built] == case["expected_fire_s"]
    assert {x.stamps[0]["branch"] for x in b.built} == {case["params"]["branch"]}


@pytest.mark.parametrize(
    "case", [c for c in CASES["periodic_simulations"] if "getNextBuildTime" in c], ids=lambda c: c["id"]
)
def test_known_next_times_of_periodic(case):
    asked = case["getNextBuildTime"]
    rule = Periodic("test", ["unit"], **case["params"]).rule(anchor=asked["last"] * 10**6)
    assert rule.after(asked["last"] * 10**6) == asked["expected"] * 10**6


@pytest.mark.parametrize(
    ("params", "last", "following"),
    [
        pytest.param(t["params"], c["last_actuated_local"], c["expected_next_local"], id=f"{t['id']}-{n}")
        for t in CASES["next_fire_tables"]
        for n, c in enumerate(t["cases"])
    ],
)
def test_known_next_times_of_nightly(bench, params, last, following):
    b = bench(lambda: Nightly("test", ["unit"], **params), at=f"{last}+00:00")
    assert b.scheduler.getPendingBuildTimes() == [datetime.fromisoformat(following).replace(tzinfo=UTC)]
    b.to_time(f"{following}+00:00")
    assert dues(b) == [following.replace(" ", "T")]


# -- periodic


def test_periodic_fires_at_once_when_first_active_and_never_again_for_that(bench):
    b = bench(periodic(100))
    assert b.fired == [0]
    b.fail_over()
    b.advance(50)
    b.fail_over()
    assert b.fired == [0]
    b.advance(50)
    assert b.fired == [0, 100]


def test_the_grid_does_not_drift_when_fires_are_late(bench):
    b = bench(periodic(10))
    b.freeze(13)
    b.freeze(9)
    b.advance(18)
    assert b.fired == [0, 10, 20, 30, 40]
    assert [x.at for x in b.built][:3] == [0, 13.0, 22.0]


def test_a_duration_may_be_text(bench):
    b = bench(periodic("1m30s"))
    b.advance(181)
    assert b.fired == [0, 90, 180]


def test_one_failover_after_another_loses_no_tick_and_doubles_none(bench):
    b = bench(periodic(7, catch_up="all"))
    for _ in range(20):
        b.advance(5)
        b.fail_over()
    assert b.fired == list(range(0, 100, 7))
    assert b.skips == []


def test_a_tick_and_its_buildset_are_one_so_a_crash_between_them_loses_neither(bench):
    """Defect 6: a crash between "tick recorded" and "buildset added" lost the tick."""
    b = bench(periodic(10))
    b.database_away()  # the turn's code has run, and cannot be committed
    b.advance(10)
    assert b.fired == [0]
    b.database_back()
    b.fail_over()
    assert b.fired == [0, 10]


def test_a_database_outage_ends_no_timed_scheduler(bench):
    """Defect 5: a 20 s database outage ended all timed schedulers silently."""
    b = bench(periodic(10, catch_up="all"))
    b.advance(5)
    b.database_away(writes_only=False)
    b.advance(22)
    b.database_back()
    b.advance(10)
    assert b.fired == [0, 10, 20, 30]


# -- what nobody could serve


def down(bench, make, seconds=55.0):
    b = bench(make)
    b.advance(5)
    b.die()
    b.advance(seconds)
    b.start()
    return b


def test_after_a_downtime_catch_up_one_serves_the_newest_and_records_the_rest(bench):
    b = down(bench, periodic(10))
    assert b.fired == [0, 60]
    assert b.skips == [(10, 50, 5, NOT_NEWEST)]
    b.advance(10)
    assert b.fired == [0, 60, 70]


def test_after_a_downtime_catch_up_all_serves_each_in_order(bench):
    b = down(bench, periodic(10, catch_up="all"))
    assert b.fired == [0, 10, 20, 30, 40, 50, 60]
    assert b.skips == []


def test_after_a_downtime_catch_up_none_records_them_all_and_goes_on(bench):
    b = down(bench, periodic(10, catch_up="none"), seconds=54.0)
    assert b.fired == [0]
    assert b.skips == [(10, 50, 5, NOT_CAUGHT_UP)]
    b.advance(1)
    assert b.fired == [0, 60]


def test_catch_up_all_is_bounded_and_the_rest_is_recorded(bench):
    b = down(bench, periodic(10, catch_up="all", catch_up_limit=2))
    assert b.fired == [0, 50, 60]
    assert skipped(b) == 4 and "catch_up_limit" in b.skips[0][3]


def test_ticks_older_than_grace_are_recorded_as_missed(bench):
    b = down(bench, periodic(10, catch_up="all", grace="25s"))
    assert b.fired == [0, 40, 50, 60]
    assert b.skips == [(10, 30, 3, MISSED)]


def test_every_due_time_is_served_or_recorded_whatever_the_policy(bench):
    for catch_up in ("none", "one", "all"):
        b = bench(periodic(10, catch_up=catch_up, grace="45s", catch_up_limit=3))
        for up, gone in ((3, 20), (33, 61), (1, 1), (12, 0)):
            b.advance(up)
            b.die()
            b.advance(gone)
            b.start()
        b.to(140)
        assert len(b.fired) + skipped(b) == 15, catch_up
        assert len(set(b.fired)) == len(b.fired)


def test_jitter_moves_the_start_and_not_the_due_time_the_same_on_every_master(bench):
    b = bench(periodic(100, jitter="50s"))
    b.advance(1000)
    assert b.fired == list(range(0, 1000, 100))
    starts = [built.at - due for built, due in zip(b.built, b.fired, strict=True)]
    assert all(0 <= start < 50 for start in starts) and len(set(starts)) > 5
    again = bench(periodic(100, jitter="50s"))
    for _ in range(10):
        again.advance(100)
        again.fail_over()
    assert [x.at for x in again.built][:10] == [x.at for x in b.built]


# -- another rule


def test_a_period_that_changed_is_rearmed_at_once_on_a_new_grid_from_now(bench):
    """Defect 12: a changed period or hour was not re-armed."""
    b = bench(periodic(HOUR))
    b.advance(100)
    b.reconfigure(periodic(10))
    b.advance(25)
    assert b.fired == [0, 110, 120]


def test_an_hour_that_changed_is_rearmed_at_once(bench):
    b = bench(nightly(hour=3))
    assert b.scheduler.getPendingBuildTimes()[0].hour == 3
    b.reconfigure(nightly(hour=5))
    assert b.scheduler.getPendingBuildTimes()[0].hour == 5
    b.advance(DAY)
    assert dues(b) == ["2026-01-05T05:00:00"]


def test_the_same_rule_goes_on_with_its_old_grid(bench):
    b = bench(periodic(10))
    b.advance(5)
    b.reconfigure(periodic(10, reason="because"))
    b.advance(10)
    assert b.fired == [0, 10] and b.built[-1].reason == "because"


def test_ticks_of_the_old_rule_that_nobody_served_are_recorded(bench):
    b = bench(periodic(10))
    b.die()
    b.advance(45)
    b.make = periodic(60)
    b.start()
    assert b.fired == [0]
    assert b.skips == [(10, 40, 4, "the rule was changed before it could be served")]
    b.advance(60)
    assert b.fired == [0, 105]


def test_a_timezone_that_changed_is_another_rule(bench):
    b = bench(nightly(hour=3, timezone="UTC"))
    b.reconfigure(nightly(hour=3, timezone="Asia/Tokyo"))
    assert b.scheduler.getPendingBuildTimes()[0].hour == 18


# -- disabled


def test_ticks_while_disabled_are_recorded_skips_and_the_grid_stays(bench):
    b = bench(periodic(10))
    b.advance(5)
    b.disable()
    b.advance(30)
    assert b.fired == [0]
    b.enable()
    assert b.fired == [0]
    assert b.skips == [(10, 30, 3, "it was disabled")]
    b.advance(10)
    assert b.fired == [0, 40]


def test_a_disabled_scheduler_stays_disabled_through_failovers_and_reconfigurations(bench):
    """Defect 11: a reconfiguration restarted a disabled scheduler."""
    b = bench(periodic(10))
    b.disable()
    b.advance(15)
    b.fail_over()
    b.reconfigure(periodic(20))
    b.advance(100)
    assert b.tenure is None and b.fired == [0]


def test_disabled_twice_each_time_is_recorded_once(bench):
    b = bench(periodic(10))
    for _ in range(2):
        b.disable()
        b.advance(20)
        b.enable()
        b.fail_over()
    assert skipped(b) == 4 and b.fired == [0]


# -- the calendar


def fires_between(bench, start, end, **arguments):
    b = bench(nightly(timezone="Europe/Berlin", **arguments), at=start)
    b.to_time(end)
    assert b.skips == []
    return dues(b)


def test_in_spring_a_time_in_the_gap_fires_once_when_the_gap_ends(bench):
    """Defect 8: daily jobs fired twice in autumn, an hour late in spring."""
    fired = fires_between(bench, "2026-03-28T00:00:00+00:00", "2026-03-31T00:00:00+00:00", hour=2, minute=30)
    assert fired == ["2026-03-28T01:30:00", "2026-03-29T01:00:00", "2026-03-30T00:30:00"]


def test_in_autumn_a_time_that_comes_twice_fires_once(bench):
    fired = fires_between(bench, "2026-10-24T00:00:00+00:00", "2026-10-27T00:00:00+00:00", hour=2, minute=30)
    assert fired == ["2026-10-24T00:30:00", "2026-10-25T00:30:00", "2026-10-26T01:30:00"]


def test_in_autumn_a_failover_in_the_repeated_hour_fires_nothing_again(bench):
    b = bench(nightly(timezone="Europe/Berlin", hour=2, minute=30), at="2026-10-25T00:00:00+00:00")
    b.to_time("2026-10-25T00:45:00+00:00")
    b.fail_over()
    b.to_time("2026-10-25T01:15:00+00:00")
    b.fail_over()
    b.to_time("2026-10-26T00:00:00+00:00")
    assert dues(b) == ["2026-10-25T00:30:00"]


def test_every_hour_fires_through_both_passes_and_not_in_the_gap(bench):
    hours = fires_between(bench, "2026-10-24T23:30:00+00:00", "2026-10-25T03:30:00+00:00", minute=0)
    assert [h[11:13] for h in hours] == ["00", "01", "02", "03"]
    hours = fires_between(bench, "2026-03-28T23:30:00+00:00", "2026-03-29T02:30:00+00:00", minute=0)
    assert [h[11:13] for h in hours] == ["00", "01", "02"]


def test_cron_text_and_fields_mean_the_same(bench):
    by_text = bench(nightly(cron="0 3 * * mon-fri"), at="2026-01-09T00:00:00+00:00")
    by_fields = bench(nightly(hour=3, dayOfWeek="0-4"), at="2026-01-09T00:00:00+00:00")
    for b in (by_text, by_fields):
        b.advance(4 * DAY)
        assert dues(b) == ["2026-01-09T03:00:00", "2026-01-12T03:00:00"]


def test_the_clusters_time_zone_is_the_default(bench):
    b = bench(nightly(hour=3), timezone="America/New_York")
    b.advance(DAY)
    assert dues(b) == ["2026-01-05T08:00:00"]


def test_a_branch_goes_into_every_codebases_stamp(bench):
    b = bench(nightly(hour=3, branch="stable", codebases={"app": {"repository": "r"}, "lib": {}}))
    b.advance(DAY)
    assert [(s["codebase"], s["branch"], s["repository"]) for s in b.built[0].stamps] == [
        ("app", "stable", "r"),
        ("lib", "stable", ""),
    ]


def test_a_callable_priority_works_for_timed_schedulers(bench):
    """Defect 15: a callable priority crashed timed schedulers."""
    b = bench(periodic(10, priority=lambda builders, changes: 7 if (builders, changes) == (["unit"], {"": []}) else 0))
    assert b.built[0].priority == 7 and b.failures == {}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Periodic("p", ["unit"]), "periodicBuildTimer: it is required"),
        (lambda: Periodic("p", ["unit"], periodicBuildTimer=0), "periodicBuildTimer: expected a positive duration"),
        (lambda: Periodic("p", ["unit"], periodicBuildTimer=5, jitter=5), "jitter: it must be shorter"),
        (lambda: Periodic("p", ["unit"], periodicBuildTimer=5, catch_up="some"), "catch_up: expected none, one or all"),
        (lambda: Periodic("p", ["unit"], periodicBuildTimer=5, catch_up_limit=0), "catch_up_limit: expected 1 or more"),
        (lambda: Periodic("p", ["unit"], periodicBuildTimer=5, grace=-1), "grace: a duration cannot be negative"),
        (lambda: Periodic("p", ["unit"], periodicBuildTimer=5, branch=3), "branch: expected a name"),
        (lambda: Nightly("n", ["unit"], hour=25), "hour:"),
        (lambda: Nightly("n", ["unit"], dayOfMonth=31, month=2), "dayOfMonth"),
        (lambda: Nightly("n", ["unit"], cron="0 3 * * *", hour=3), "cron: give either it or hour"),
        (lambda: Nightly("n", ["unit"], cron=5), "cron: expected text"),
        (lambda: Nightly("n", ["unit"], timezone="Mars/Olympus"), "timezone:"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_by_name(make, said):
    with pytest.raises(ValueError) as refused:
        make()
    assert str(refused.value).startswith(said)
