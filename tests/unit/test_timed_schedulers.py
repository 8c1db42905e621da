"""Schedulers that fire at times, on the real tenure and committer: grids, calendars, and what nobody could serve."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from locum.schedulers import Nightly, NightlyTriggerable, Periodic
from locum.schedulers.catchup import MISSED, NOT_CAUGHT_UP, NOT_NEWEST
from locum.schedulers.only_if_changed import NOTHING_CHANGED

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


@pytest.mark.parametrize(
    ("field", "following"),
    [
        ({"minute": 30}, "2026-01-05T00:30:00"),
        ({"hour": 7}, "2026-01-05T07:00:00"),
        ({"hour": [7, 9], "minute": "*/20"}, "2026-01-05T07:00:00"),
        ({"dayOfMonth": 9}, "2026-01-09T00:00:00"),
        ({"month": 3}, "2026-03-01T00:00:00"),
        ({"dayOfWeek": 3}, "2026-01-08T00:00:00"),  # the 5th is a Monday, day 0
        ({"cron": "15 4 * * wed"}, "2026-01-07T04:15:00"),
        ({"hour": 7, "timezone": "Asia/Tokyo"}, "2026-01-05T22:00:00"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [Nightly, NightlyTriggerable])
def test_each_field_of_the_calendar_says_when_both_kinds_fire(bench, kind, field, following):
    b = bench(lambda: kind("test", ["unit"], **field))
    assert [due.isoformat().removesuffix("+00:00") for due in b.scheduler.getPendingBuildTimes()] == [following]


@pytest.mark.parametrize(
    ("force_at", "forced"),
    [
        ({"force_at_minute": 0}, "2026-01-05T06:00:00"),
        ({"force_at_hour": 12}, "2026-01-05T12:00:00"),
        ({"force_at_day_of_month": 7}, "2026-01-07T00:00:00"),
        ({"force_at_month": 2}, "2026-02-01T00:00:00"),
        ({"force_at_day_of_week": 2}, "2026-01-07T00:00:00"),  # Wednesday
    ],
    ids=str,
)
def test_each_force_at_field_says_which_due_times_need_no_change(bench, force_at, forced):
    b = bench(nightly(hour="*/6", minute=[0, 30], onlyIfChanged=True, **force_at), at="2026-01-05T01:00:00+00:00")
    b.advance(28 * DAY)
    first, following = dues(b)[:2]
    assert first == "2026-01-05T06:00:00", "the first one always"
    assert following == (forced if forced > first else "2026-01-05T12:00:00")


@pytest.mark.parametrize("case", CASES["nightly_simulations"], ids=lambda c: c["id"])
def test_known_simulations_of_nightly(bench, case):
    importance = {s["gotChange"]["number"]: s["important"] for s in case["stimuli"]}
    params = dict(case["params"])

    def make():
        important = lambda change: importance[change.number]  # noqa: E731
        return Nightly("test", ["unit"], fileIsImportant=important, **params)

    # The scheduler has fired before (the cases' "last_build"): once, a quarter of an hour before they begin.
    b = bench(make, at="1970-01-10T23:30:00+00:00")
    b.to_time("1970-01-11T00:00:00+00:00")
    before, began = len(b.built), b.clock.seconds()
    assert before == 1
    for stimulus in case["stimuli"]:
        b.to(began + stimulus["at"])
        b.change(**stimulus["gotChange"])
    b.to(began + 1800)
    asserted, built = case["asserted"], b.built[before:]
    assert [due - began for due in b.fired[before:]] == case["observed_fire_offsets_s"]
    assert [(x.changes, x.reason) for x in built] == [
        (call["changeids"], call["reason"]) for call in asserted["buildset_calls"]
    ]
    assert b.classified == ({} if built else importance)
    assert len(built) + skipped(b) == 2, "every due time is served or a recorded skip"


@pytest.mark.parametrize("row", CASES["onlyIfChanged_decision_table"]["rows"], ids=str)
def test_the_decision_table_of_only_if_changed(bench, row):
    only, known, last_only, important, force_at, builds, _ = row
    for fired_before in (True, False) if known == "any" else (known,):
        for was_on in (True, False) if last_only == "any" else (last_only,):
            for has_important in (True, False) if important == "any" else (important,):
                for forced in (True, False) if force_at == "any" else (force_at,):
                    for unimportant in (True, False):
                        kinds = [True] * has_important + [False] * unimportant
                        found = decided(bench, only, fired_before, was_on, kinds, forced)
                        assert found == builds, (fired_before, was_on, kinds, forced)


def decided(bench, only, fired_before, was_on, kinds, forced):
    """Whether the due time of one hour from now makes a buildset, of all the changes that were collected for it."""
    importance = {}

    def make(option):
        return lambda: Nightly(
            *("n", ["unit"]), minute=0, onlyIfChanged=option, createAbsoluteSourceStamps=True,
            fileIsImportant=lambda change: importance[change.number], force_at_minute=0 if forced else 30
        )  # fmt: skip

    b = bench(make(was_on), at="2026-01-05T00:30:00+00:00" if fired_before else "2026-01-05T01:30:00+00:00")
    b.to_time("2026-01-05T01:30:00+00:00")
    if was_on is not only:
        b.reconfigure(make(only))
    before = len(b.built)
    assert before == fired_before
    for important in kinds:
        importance[len(importance) + 1] = important
        b.change()
    b.to_time("2026-01-05T02:00:00+00:00")
    built = b.built[before:]
    if built:
        assert [x.changes for x in built] == [list(importance)] and b.classified == {}
    else:
        assert skipped(b) == 1 and b.classified == importance, "the unimportant ones wait for the next"
    return bool(built)


# -- changes


def test_only_the_branch_s_changes_count_and_it_goes_into_every_stamp(bench):
    b = bench(nightly(hour=3, branch="stable", onlyIfChanged=True, codebases={"app": {"repository": "r"}, "lib": {}}))
    b.advance(DAY)
    b.change(branch="main", codebase="app")
    number = b.change(branch="stable", codebase="app", revision="s1", repository="r")
    b.advance(DAY)
    assert b.built[1].changes == [number]
    assert [(s["codebase"], s["branch"], s["revision"]) for s in b.built[1].stamps] == [
        ("app", "stable", "s1"),
        ("lib", "stable", None),
    ]
    b.change(branch="main", codebase="app")
    b.advance(DAY)
    assert len(b.built) == 2 and b.skips[-1][3] == NOTHING_CHANGED


def test_a_branch_that_is_not_given_is_any_branch_and_null_the_default_one(bench):
    for branch, wanted in (({}, [2, 3]), ({"branch": None}, [2])):
        b = bench(periodic(DAY, onlyIfChanged=True, **branch))
        b.advance(1)
        b.change(branch=None, number=2)
        b.change(branch="main", number=3)
        b.advance(DAY)
        assert b.built[-1].changes == wanted


def test_a_change_filter_and_importance_choose_the_changes_of_a_timed_scheduler(bench):
    b = bench(
        periodic(
            DAY,
            onlyIfChanged=True,
            branch="main",
            onlyImportant=True,
            change_filter={"project": "p"},
            fileIsImportant=lambda change: "docs" not in change.files,
        )
    )
    b.advance(1)
    b.change(branch="main", project="q")
    b.change(branch="other", project="p")
    b.change(branch="main", project="p", files=["docs"])
    wanted = b.change(branch="main", project="p")
    b.advance(DAY)
    assert [x.changes for x in b.built] == [[], [wanted]] and b.classified == {}


def test_what_was_classified_survives_failovers_and_is_built_once(bench):
    b = bench(periodic(100, onlyIfChanged=True))
    b.advance(1)
    numbers = [b.change(), b.change()]
    b.fail_over()
    b.advance(100)
    b.fail_over()
    b.advance(100)
    assert [x.changes for x in b.built] == [[], numbers]
    assert skipped(b) == 1


def test_of_several_times_caught_up_together_the_first_has_the_changes_and_the_others_are_skips(bench):
    b = bench(periodic(10, onlyIfChanged=True, catch_up="all"))
    b.advance(5)
    number = b.change()
    b.die()
    b.advance(30)
    b.start()
    assert [(x.changes, due) for x, due in zip(b.built, b.fired, strict=True)] == [([], 0), ([number], 10)]
    assert skipped(b) == 2


def test_with_absolute_stamps_a_timed_scheduler_knows_the_last_revisions(bench):
    codebases = {"app": {"branch": "main"}, "lib": {"branch": "main"}}
    b = bench(periodic(100, codebases=codebases, createAbsoluteSourceStamps=True))
    b.advance(1)
    b.change(codebase="lib", revision="l1", branch="main")
    b.advance(100)
    b.change(codebase="app", revision="a1", branch="main")
    b.fail_over()
    b.advance(100)
    assert [(s["codebase"], s["revision"]) for s in b.built[2].stamps] == [("app", "a1"), ("lib", "l1")]
    b.advance(100)  # nothing new: the same revisions again
    assert [s["revision"] for s in b.built[3].stamps] == ["a1", "l1"]


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


def test_by_which_rules_it_fired_before_stays_on_record(bench):
    b = bench(periodic(10))
    start = b.now_us()
    b.advance(5)
    b.reconfigure(periodic(60))
    b.advance(7)
    b.reconfigure(lambda: Nightly("beat", ["unit"], hour=3))
    assert b.state["former_rules"] == [
        {"rule": ["periodic", 10_000_000], "anchor": start, "until": start + 5_000_000},
        {"rule": ["periodic", 60_000_000], "anchor": start + 5_000_000, "until": start + 12_000_000},
    ]


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


def test_what_a_tick_added_is_not_kept_for_ever(bench):
    b = bench(periodic(1))
    b.advance(3)

    def kept():
        return {name: len(value) for name, value in vars(b.tenure.scheduler).items() if isinstance(value, (list, dict))}

    before = kept()
    b.advance(50)
    assert len(b.built) > 50
    assert kept() == before


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
        (lambda: Periodic("p", ["unit"], periodicBuildTimer=5, onlyIfChanged="yes"), "onlyIfChanged: expected true"),
        (lambda: Periodic("p", ["unit"], periodicBuildTimer=5, change_filter=5), "change_filter: expected a mapping"),
        (lambda: Nightly("n", ["unit"], force_at_hour=24), "force_at_hour:"),
        (lambda: Nightly("n", ["unit"], force_at_day_of_month=31, force_at_month=2), "force_at_day_of_month"),
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
