"""``locum schedule``, and run-now and backfill of schedulers, on real databases: what they say, and what they refuse."""

import pytest
from locum.db import messages, schedules
from locum.db.builders import register_builders
from locum.master.schedules import Schedules

from ..contract.scene import joined, registered, taken
from .test_commands import locum  # noqa: F401 - a fixture


@pytest.fixture
def cli(locum, db):  # noqa: F811
    """A cluster that has builders, and a calendar that a master holds but never answers."""
    db.write(register_builders, [("unit", None, "fail", "auto"), ("lint", None, "fail", "auto")])
    registered(db, "calendar")
    return locum


def add(cli, *options):
    said = cli("schedule", "add", "--builder", "unit", *options, "--json")
    assert said.code == 0, said
    return said.json()


RULES = {
    ("--cron", "0 3 * * mon-fri", "--timezone", "Europe/Berlin"): "At 03:00, Monday to Friday, Europe/Berlin",
    ("--every", "90m", "--start", "2026-03-01T02:00", "--timezone", "Europe/Berlin"): (
        "Every 90 minutes from 1 March 2026 02:00 Europe/Berlin"
    ),
    ("--every", "3h", "--start", "2026-03-01T02:00", "--end", "2099-01-01T00:00Z"): (
        "Every 3 hours from 1 March 2026 02:00 UTC until 1 January 2099 00:00"
    ),
    ("--weekly", "mon,wed", "--start", "2026-03-01T02:30", "--timezone", "UTC"): (
        "Every Monday and Wednesday at 02:30 from 1 March 2026 UTC"
    ),
    ("--monthly", "31", "--start", "2026-03-01T02:30"): (
        "On day 31 (or the last day) of every month at 02:30 from 1 March 2026 UTC"
    ),
    ("--monthly", "last", "--start", "2026-03-01T02:30"): (
        "On the last day of every month at 02:30 from 1 March 2026 UTC"
    ),
    ("--monthly-nth", "last fri", "--start", "2026-03-01T02:30"): (
        "On the last Friday of every month at 02:30 from 1 March 2026 UTC"
    ),
    ("--once", "2098-03-01T02:30"): "Once, on 1 March 2098 02:30 UTC",
}


@pytest.mark.parametrize("options", RULES, ids=" ".join)
def test_every_kind_of_rule_can_be_written(cli, options):
    made = add(cli, *options)
    assert made["text"] == RULES[options]
    assert cli("schedule", "show", str(made["id"]), "--json").json()["rule"] == made["rule"]
    assert cli("schedule", "next", str(made["id"])).code == 0


def test_a_time_of_day_is_enough_for_weeks_and_months(cli):
    made = add(cli, "--weekly", "sun", "--at", "04:15")
    assert " at 04:15 from " in made["text"] and made["next"][11:16] == "04:15"


def test_everything_that_was_given_is_shown(cli):
    made = add(
        cli, *("--cron", "0 3 * * *", "--name", "backup", "--property", "n:=3", "--branch", "main", "--priority", "2"),
        *("--catch-up", "all", "--catch-up-limit", "7", "--grace", "2h", "--overlap", "queue", "--jitter", "5m"),
        *("--metadata", '{"owner": "ann"}', "--paused"),
    )  # fmt: skip
    assert made["start"] == {
        "buildset": {"builders": ["unit"], "properties": {"n": 3}, "branch": "main", "priority": 2}
    }
    assert (made["name"], made["metadata"], made["paused"], made["next"]) == ("backup", {"owner": "ann"}, True, None)
    assert (made["catch_up"], made["catch_up_limit"], made["grace_s"]) == ("all", 7, 7200)
    assert (made["overlap"], made["jitter_s"]) == ("queue", 300)
    listed = cli("schedule", "list").out
    assert "backup" in listed and "paused" in listed


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "Give one of --cron, --every"),
        (("--cron", "0 3 * * *", "--now"), "not 2"),
        (("--cron", "61 3 * * *"), "cron: minute: 61 is out of range"),
        (("--cron", "0 3 * * *", "--timezone", "Europe/Berln"), "--timezone: unknown time zone 'Europe/Berln'"),
        (("--cron", "0 3 * * *", "--start", "2026-01-01"), "--cron goes without --start"),
        (("--every", "0s"), "--every: expected whole seconds"),
        (("--every", "soon"), "--every: "),
        (("--every", "5m", "--start", "tomorrow"), "--start: expected a time such as"),
        (("--every", "5m", "--end", "2001-01-01"), "end: "),
        (("--weekly", "mon"), "--weekly needs a time of day"),
        (("--weekly", "someday", "--at", "03:00"), "days: expected a weekday's name"),
        (("--weekly", "mon", "--at", "25:00"), "--at: expected a time of day"),
        (("--monthly", "32", "--at", "03:00"), "day: expected a day 1-31"),
        (("--monthly-nth", "6 tue", "--at", "03:00"), "week: expected 1 to 4"),
        (("--once", "2001-01-01T00:00"), "lies in the past"),
        (("--now", "--name", "12"), "name: '12' cannot be told from a number"),
        (("--now", "--metadata", "{"), "--metadata: not JSON"),
        (("--now", "--grace", "-1"), "grace: "),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong_and_stores_nothing(cli, db, options, says):
    said = cli("schedule", "add", "--builder", "unit", *options)
    assert said.code == 2 and says in said.err and said.err.count("\n") == 1
    assert db.read(schedules.listed, 10, ended=True) == []


def test_an_unknown_builder_or_a_taken_name_is_refused(cli):
    said = cli("schedule", "add", "--builder", "unti", "--now")
    assert said.code == 1 and "unknown builder 'unti'; did you mean 'unit'?" in said.err
    add(cli, "--cron", "0 3 * * *", "--name", "backup")
    said = cli("schedule", "add", "--builder", "unit", "--now", "--name", "backup")
    assert said.code == 1 and "named 'backup' already" in said.err


def test_one_is_replaced_with_the_same_stroke(cli):
    old = add(cli, "--cron", "0 3 * * *", "--name", "backup")
    new = add(cli, "--cron", "0 4 * * *", "--name", "backup", "--replace", "backup")
    assert [row["id"] for row in cli("schedule", "list", "--json").json()] == [new["id"]] != [old["id"]]


def test_pause_resume_and_remove(cli):
    made = add(cli, "--cron", "0 3 * * *", "--name", "backup")
    number = str(made["id"])
    assert f"schedule {number} ('backup') is paused" in cli("schedule", "pause", "backup", "--reason", "holidays").out
    assert "already paused" in cli("schedule", "pause", number).out
    assert cli("schedule", "show", number, "--json").json()["paused_why"] == "holidays"
    assert cli("schedule", "next", number).out == f"schedule {number} ('backup') does not fire: paused: holidays\n"
    assert "goes on" in cli("schedule", "resume", number).out
    assert "was not paused" in cli("schedule", "resume", number).out
    assert "is removed" in cli("schedule", "remove", "backup").out
    said = cli("schedule", "remove", "backup")
    assert said.code == 1 and "there is no schedule 'backup'" in said.err
    assert cli("schedule", "list").out == "no schedule is stored\n"


def test_what_comes_next(cli):
    made = add(cli, "--cron", "0 3 * * *", "--timezone", "Europe/Berlin")
    coming = cli("schedule", "next", str(made["id"]), "--limit", "3", "--timezone", "Europe/Berlin", "--json").json()
    assert len(coming) == 3 and all("T03:00:00+0" in one["due"] for one in coming)
    soonest = cli("schedule", "next", "--json").json()
    assert [one["schedule"] for one in soonest] == [made["id"]] and soonest[0]["due"].endswith("+00:00")


def test_immed_waits_and_then_goes_on_without(cli, monkeypatch):
    monkeypatch.setattr("locum.master.commands.schedules.IMMED_WAIT_S", 0.1)
    said = cli("schedule", "add", "--builder", "unit", "--immed")
    assert said.code == 0 and "is unfinished, and goes on" in said.out


def test_what_is_asked_of_the_calendar_is_kept_until_it_is_served(cli, db):
    made = add(cli, "--cron", "0 3 * * *", "--name", "backup")
    said = cli("schedule", "run-now", "backup", "--request-id", "r1")
    assert said.code == 0 and "the request is kept (request id r1)" in said.out + said.err
    said = cli("schedule", "backfill", "backup", "2026-01-01T00:00", "2026-01-02T00:00", "--json")
    assert said.code == 0 and said.json()["answer"] is None
    (calendar,) = registered(db, "calendar")
    first, second = db.read(messages.waiting, [calendar])
    assert (first.kind, first.body) == ("run_now", {"schedule": made["id"]})
    day_us = 86_400 * 10**6
    assert second.kind == "backfill" and second.body["last"] - second.body["first"] == day_us


def test_without_a_calendar_it_says_who_would_serve_it(locum, db):  # noqa: F811
    db.write(register_builders, [("unit", None, "fail", "auto")])
    add(locum, "--cron", "0 3 * * *", "--name", "backup")
    said = locum("schedule", "run-now", "backup")
    assert said.code == 1 and "no master serves stored schedules" in said.err


def test_run_now_and_backfill_of_a_scheduler(cli, db):
    (often,) = registered(db, "often")
    taken(db, joined(db, "m1", lease_s=-1), often)
    said = cli("scheduler", "run-now", "often")
    assert said.code == 0 and "kept" in said.out
    assert cli("scheduler", "backfill", "often", "2026-01-01", "2026-02-01").code == 0
    assert [m.kind for m in db.read(messages.waiting, [often])] == ["run_now", "backfill"]
    said = cli("scheduler", "backfill", "often", "2026-02-01", "2026-01-01")
    assert said.code == 2 and "lies before FROM" in said.err
    said = cli("scheduler", "run-now", "oftn")
    assert said.code == 1 and "did you mean 'often'" in said.err


def test_an_answer_is_told(cli, db, monkeypatch):
    registered(db, "often")
    monkeypatch.setattr(messages, "answer_of", lambda conn, number: {"buildset": 17})
    assert cli("scheduler", "run-now", "often").out == "buildset 17\n"
    monkeypatch.setattr(messages, "answer_of", lambda conn, number: {"error": "no times of its own"})
    said = cli("scheduler", "run-now", "often")
    assert said.code == 1 and "often refused the request: no times of its own" in said.err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("scheduler", "pause", "x"), "did you mean 'locum schedule pause'?"),
        (("scheduler", "add"), "did you mean 'locum schedule add'?"),
        (("schedule", "enable", "x"), "did you mean 'locum scheduler enable'?"),
        (("schedule", "move", "x"), "did you mean 'locum scheduler move'?"),
    ],
)
def test_each_of_the_two_says_so_when_given_the_others_verb(capsys, words, meant):
    from .test_commands import bare

    said = bare(capsys, *words)
    assert said.code == 2 and meant in said.err
    said = bare(capsys, words[0], "frobnicate")
    assert said.code == 2 and "did you mean 'locum sched" not in said.err


def test_a_schedulers_name_given_to_schedule_is_recognised(cli, db):
    registered(db, "nightly")
    said = cli("schedule", "show", "nightly")
    assert said.code == 1 and "a scheduler 'nightly'; did you mean 'locum scheduler'?" in said.err


@pytest.mark.parametrize("words", [("scheduler", "show"), ("scheduler", "run-now"), ("force",)])
def test_a_schedules_name_given_to_scheduler_is_recognised(cli, words):
    add(cli, "--cron", "0 3 * * *", "--name", "backup")
    said = cli(*words, "backup")
    assert said.code == 1 and "'backup', but a stored schedule; did you mean 'locum schedule'?" in said.err
    cli("schedule", "remove", "backup")
    said = cli(*words, "backup")
    assert said.code == 1 and "stored schedule" not in said.err


def test_a_name_that_is_neithers_is_said_to_be(cli):
    said = cli("next", "nosuch")
    assert said.code == 1 and "no scheduler named 'nosuch'" in said.err and "nor is there a stored schedule" in said.err


def test_the_api_keeps_who_did_what(cli, db):
    made = add(cli, "--cron", "0 3 * * *")
    api = Schedules(db, "ann@host")
    assert api.pause(made["id"], "holidays")
    from locum.db import audit

    assert [(e.who, e.action, e.reason) for e in db.read(audit.newest, 1)] == [("ann@host", "pause", "holidays")]


def test_a_list_that_stops_at_its_limit_says_how_to_go_on(cli):
    first, second = add(cli, "--cron", "0 3 * * *"), add(cli, "--cron", "0 4 * * *")
    for more in ((), ("--json",)):
        said = cli("schedule", "list", "--limit", "1", *more)
        assert f"more than the 1 shown: --limit shows more, --after {first['id']} those behind them" in said.err
        assert cli("schedule", "list", "--after", str(first["id"]), "--limit", "1", *more).err == ""
    assert [row["id"] for row in cli("schedule", "list", "--after", str(first["id"]), "--json").json()] == [
        second["id"]
    ]
