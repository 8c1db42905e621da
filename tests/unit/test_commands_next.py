"""``locum next``: what fires when, worked out from rules that real schedulers have left in a real database."""

import itertools
import json
from datetime import UTC, datetime, timedelta

import pytest
from locum.db.builders import register_builders
from locum.master.coming import Source, coming, days
from locum.master.commands.main import run
from locum.master.schedules import Plan, Schedules, StartBuildset
from locum.schedulers import AnyBranchScheduler, Nightly, Periodic, SingleBranchScheduler, zones
from locum.schedulers.catchup import Policy
from locum.schedulers.cron import CronRule
from locum.schedulers.grid import PeriodicRule, due_times
from locum.schedulers.recurrence import ScheduleCron, ScheduleInterval
from locum.schedulers.recurrence_rules import OnceRule

from ..conftest import fresh_database
from ..contract.scene import registered
from ..support.schedulers import Bench
from .test_commands import Said

on_both = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
"""Where a statement is tried for the first time; the other tests would say the same there."""


@pytest.fixture
def database_url(request, tmp_path):
    """A fresh database: SQLite, unless the test says ``on_both``."""
    yield from fresh_database(getattr(request, "param", "sqlite"), request, tmp_path)


@pytest.fixture
def cluster(database_url, tmp_path):
    """``cluster(make)``: a master with that scheduler on either database, at the real time: PostgreSQL's clock is its own."""
    benches = []

    def made(make, **options):
        options.setdefault("at", datetime.now(UTC).isoformat())
        benches.append(Bench(tmp_path / "locum.sqlite", make, url=database_url, **options))
        first = 10 * len(benches) - 9
        benches[-1]._incarnations = itertools.count(first)  # several share the database
        benches[-1]._requests = itertools.count(first)
        return benches[-1].start()

    yield made
    for one in benches:
        one.close()


@pytest.fixture
def told(database_url, capsys):
    """``told(words...)``: a command line on that database."""

    def call(*words):
        capsys.readouterr()
        code = run([*words, "--database", database_url])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return call


def nightly(**arguments):
    return lambda: Nightly("nightly", ["unit"], **({"cron": "30 2 * * *", "timezone": "Europe/Berlin"} | arguments))


def instant(text):
    return round(datetime.fromisoformat(text).timestamp() * 1e6)


def in_days(n):
    return (datetime.now(UTC) + timedelta(days=n)).isoformat()


@on_both
def test_the_times_of_a_rule_are_told_over_the_asked_span_in_the_readers_zone(cluster, told):
    cluster(nightly())
    (one,) = told("next", "--json").json()["fires"]
    assert (one["kind"], one["name"], one["text"]) == ("scheduler", "nightly", "At 02:30 every day, Europe/Berlin")
    rule = CronRule.parse("30 2 * * *", "Europe/Berlin")
    found = told("next", "nightly", "--until", in_days(9), "--json").json()["fires"]
    expected = due_times(rule, instant(in_days(0)), instant(in_days(9)), 99)
    assert [instant(fire["due"]) for fire in found] == expected and len(expected) in (8, 9, 10)
    assert len(told("next", "nightly", "--json").json()["fires"]) == 10
    said = told("next", "nightly", "--limit", "1", "--timezone", "Asia/Tokyo").out
    assert "+09:00" in said and ("10:30:00" in said or "09:30:00" in said)
    assert told("next", "nightly", "--timezone", "Europe/Berln").code == 2


@on_both
def test_stored_schedules_and_schedulers_are_told_together_soonest_first(cluster, told, database_url):
    cluster(lambda: Periodic("often", ["unit"], periodicBuildTimer="1h"))
    api = Schedules.connect(database_url, "ann")
    hourly = api.schedule(ScheduleCron("*/20 * * * *"), ["unit"], name="third")
    api.close()
    fires = told("next", "--until", in_days(1), "--json").json()["fires"]
    assert {fire["name"] for fire in fires} == {"often", "third"} and len(fires) in (95, 96, 97)
    assert [fire["starts"] for fire in fires] == sorted(fire["starts"] for fire in fires)
    assert {fire["name"]: fire["note"] for fire in fires} == {
        "often": None,
        "third": "no master serves stored schedules yet",
    }
    assert {fire["id"] for fire in told("next", "third", "--json").json()["fires"]} == {hourly}
    assert {fire["name"] for fire in told("next", str(hourly), "--json").json()["fires"]} == {"third"}
    assert {fire["name"] for fire in told("next", "--kind", "schedule", "--json").json()["fires"]} == {"third"}
    said = told("next", "thrid")
    assert said.code == 1 and "there is no" in said.err


@on_both
def test_what_is_paused_or_disabled_is_shown_as_such(cluster, told, database_url):
    b = cluster(nightly())
    api = Schedules.connect(database_url, "ann")
    stored = api.schedule(ScheduleCron("0 4 * * *"), ["unit"], name="backup")
    api.pause(stored, "holidays")
    api.close()
    b.disable("too noisy")
    found = told("next", "--json").json()
    assert found["fires"] == []
    assert {one["name"]: one["why"] for one in found["idle"]} == {
        "nightly": "disabled: too noisy",
        "backup": "paused: holidays",
    }
    said = told("next").out
    assert "scheduler nightly (At 02:30 every day, Europe/Berlin) does not fire: disabled: too noisy" in said
    assert "schedule backup (At 04:00 every day, UTC) does not fire: paused: holidays" in said


def test_what_is_overdue_as_nobody_holds_it_says_so(cluster, told):
    b = cluster(lambda: Periodic("often", ["unit"], periodicBuildTimer="1h"))
    b.die()
    b.sql(
        "UPDATE scheduler_state SET value_json = :v WHERE key = 'ticks'",
        v=json.dumps(
            {"rule": ["periodic", 3600_000_000], "anchor": 0, "examined": instant(in_days(0)) - 10_800_000_000}
        ),
    )
    late, *coming = told("next", "often", "--json").json()["fires"]
    assert late["overdue"] == 3 and not any(fire["overdue"] for fire in coming) and len(coming) == 9
    assert late["note"] == "nobody holds it now"
    assert "overdue: 3 times wait for a master" in told("next").out


def test_other_timers_are_listed_with_what_they_are(cluster, told):
    b = cluster(lambda: SingleBranchScheduler("quick", ["unit"], branch="main", treeStableTimer=600))
    b.change(branch="main")
    (alarm,) = told("next", "--json").json()["fires"]
    assert (alarm["key"], alarm["text"]) == ("stable", "tree-stable timer; changes on its list: 1")
    b.die()
    assert "nobody holds it now" in told("next").out


def test_each_branchs_timer_names_its_branch(cluster, told):
    b = cluster(lambda: AnyBranchScheduler("each", ["unit"], treeStableTimer=600))
    b.change(branch="main")
    b.change(branch=None)
    found = {alarm["text"] for alarm in told("next", "each", "--json").json()["fires"]}
    assert found == {
        "tree-stable timer of branch 'main'; changes on its list, of all branches: 2",
        "tree-stable timer of the default branch; changes on its list, of all branches: 2",
    }


def test_a_rule_of_every_second_is_bounded_and_says_what_is_left_out(cluster, told):
    cluster(lambda: Periodic("often", ["unit"], periodicBuildTimer=1))
    found = told("next", "--until", in_days(300), "--json").json()
    assert len(found["fires"]) == 1000
    (said,) = found["left_out"]
    count = int(said.split(" later times")[0])
    assert abs(count - (300 * 86_400 - 1000)) < 10
    assert len(told("next", "often", "--json", "--limit", "3").json()["fires"]) == 3
    days = told("next", "--calendar", "--json").json()["days"]
    assert len(days) in (7, 8) and sum(day["entries"][0]["count"] for day in days) in range(
        7 * 86_400 - 5, 7 * 86_400 + 1
    )
    assert "86400 times, 00:00 to 23:59:59" in told("next", "--calendar").out


def test_the_calendar_is_by_day_in_the_readers_zone(cluster, told):
    cluster(nightly(cron="30 2 * * mon,thu"))
    found = told("next", "--calendar", "--timezone", "Europe/Berlin", "--json").json()
    assert [datetime.fromisoformat(day["day"]).weekday() in (0, 3) for day in found["days"]] == [True] * len(
        found["days"]
    )
    assert len(found["days"]) == 2 and all(day["entries"][0]["count"] == 1 for day in found["days"])
    said = told("next", "--calendar", "--timezone", "Europe/Berlin", "--limit", "1")
    assert "02:30" in said.out and "left out: whatever comes after" in said.out


def test_a_rule_that_only_its_code_knows_is_not_made_up(cluster, told):
    class Own(Nightly):
        def rule(self, anchor):
            return PeriodicRule(3_600_000_000, anchor)

    cluster(lambda: Own("own", ["unit"], hour=3))
    (alarm,) = told("next", "--json").json()["fires"]
    assert alarm["text"] == "the next time of a rule that only the code of Own knows"
    assert told("scheduler", "show", "own", "--json").json()["text"] == "by code of Own"


def test_one_that_never_was_active_says_so(told, db):
    registered(db, "fresh")
    assert "scheduler fresh (-) does not fire: it has never been active" in told("next").out


def test_a_jittered_fire_tells_its_time_and_its_start(cluster, told):
    cluster(nightly(jitter="20m"))
    (fire,) = told("next", "--json").json()["fires"]
    assert fire["due"] < fire["starts"] and "delayed by its jitter" in told("next").out


def test_a_rule_is_a_sentence_in_what_is_shown_of_its_scheduler(cluster, told):
    cluster(nightly())
    shown = told("scheduler", "show", "nightly").out
    assert "At 02:30 every day, Europe/Berlin" in shown and "when the clocks go forward (next on " in shown
    assert told("scheduler", "show", "nightly", "--json").json()["text"] == "At 02:30 every day, Europe/Berlin"


def test_a_rule_is_a_sentence_in_what_is_shown_of_its_schedule(told, db, database_url):
    db.write(register_builders, [("unit", None, "fail", "auto")])
    api = Schedules.connect(database_url, "ann")
    api.schedule(ScheduleCron("*/5 * * * *", "Europe/Berlin"), ["unit"], name="often")
    api.close()
    assert "it fires in both passes" in told("schedule", "show", "often").out
    assert "no times in the gap" in told("schedule", "show", "often", "--json").json()["clock_changes"]


@on_both
def test_a_thousand_times_a_thousand_schedules_cost_what_is_shown(told, db, database_url):
    db.write(register_builders, [("unit", None, "fail", "auto")])
    api = Schedules.connect(database_url, "ann")
    start = StartBuildset(("unit",))
    since = datetime.now(UTC) + timedelta(hours=1)
    api.replace(
        [], [Plan(ScheduleInterval(since + timedelta(seconds=n), None, 1, "seconds"), start) for n in range(1200)]
    )
    api.close()
    found = told("next", "--json").json()
    assert len(found["fires"]) == 50 and found["left_out"] == ["1150 stored schedules that fire later than these"]
    found = told("next", "--calendar", "--json").json()
    assert len(found["days"][0]["entries"]) == 1000 and "200 stored schedules" in found["left_out"][0]


# -- working it out ---------------------------------------------------------------------------------------------------


def source(rule, *, examined=0, jitter_us=0):
    return Source("scheduler", 1, "s", "", rule, Policy(jitter_us=jitter_us), "s", examined)


def test_fires_are_those_of_the_rule_and_what_came_due_is_one_line():
    minute = PeriodicRule(60_000_000, 0)
    fires, more = coming([source(minute, examined=0)], 200_000_000, 400_000_000, 99)
    assert [(f.due // 60_000_000, f.late) for f in fires] == [(1, 3), (4, 0), (5, 0), (6, 0)] and not more
    fires, more = coming([source(minute, examined=200_000_000)], 200_000_000, None, 2)
    assert [f.due // 60_000_000 for f in fires] == [4, 5] and more
    assert coming([source(OnceRule(5), examined=5)], 10, None, 2) == ([], False)


def test_a_time_whose_jitter_has_not_run_out_is_still_to_come():
    hour = PeriodicRule(3_600_000_000, 0)
    late = source(hour, examined=3_600_000_000 - 1, jitter_us=3_599_000_000)
    start = late.start(3_600_000_000)
    fires, _ = coming([late], start - 1, None, 1)
    assert (fires[0].due, fires[0].starts, fires[0].late) == (3_600_000_000, start, 0)
    fires, _ = coming([late], start, None, 1)
    assert fires[0].late == 1


def test_days_begin_where_the_zones_midnight_is_also_where_there_is_none():
    zone = zones.zone("America/Asuncion")  # on 3 October 2010 the clock went from 00:00 to 01:00
    found, _ = days([source(PeriodicRule(3_600_000_000, 0), examined=instant("2010-10-02T12:00+00:00"))],
                    instant("2010-10-02T12:00+00:00"), instant("2010-10-05T12:00+00:00"), zone, 99)  # fmt: skip
    assert [(day.day.isoformat(), day.entries[0].count) for day in found] == [
        *(("2010-10-02", 15), ("2010-10-03", 23), ("2010-10-04", 24), ("2010-10-05", 10)),
    ]


def test_a_grid_is_told_in_the_zone_in_which_its_times_are(cluster, told):
    cluster(lambda: Periodic("often", ["unit"], periodicBuildTimer=20), at="2026-11-22T17:04:42+00:00")
    (line,) = [line for line in told("next", "--timezone", "Asia/Tokyo").out.splitlines() if "often" in line]
    assert "Every 20 seconds from 23 November 2026 02:04:42 Asia/Tokyo" in line and "UTC" not in line
    assert "from 22 November 2026 17:04:42 UTC" in told("next", "--timezone", "UTC").out


def test_a_time_that_is_over_is_refused_instead_of_being_found_empty(cluster, told):
    cluster(nightly())
    for more in ((), ("--calendar",)):
        said = told("next", "nightly", "--until", "2020-01-01", "--timezone", "UTC", *more)
        assert (said.code, said.out) == (2, "") and "--until: 2020-01-01 is over, it is 20" in said.err
        assert "give a later time" in said.err
