"""Nightly's arguments: numbers, lists and texts, with the days of the week as its users count them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from locum.schedulers.cron import CronError, CronRule

TABLES = json.loads((Path(__file__).parent / "data" / "timed_cases.json").read_text())["next_fire_tables"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def instant(text):
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


def same(nightly, cron):
    return CronRule.from_nightly(0, 3, **nightly) == CronRule.parse(f"0 3 {cron}")


@pytest.mark.parametrize(
    ("arguments", "case"),
    [pytest.param(table["params"], case, id=table["id"]) for table in TABLES for case in table["cases"]],
)
def test_the_known_tables_hold(arguments, case):
    rule = CronRule.from_nightly(**arguments)
    assert rule.after(instant(case["last_actuated_local"])) == instant(case["expected_next_local"])


@pytest.mark.parametrize(
    ("day_of_week", "cron"),
    [
        (0, "mon"),
        (6, "sun"),
        ("0", "mon"),
        ([0, 6], "mon,sun"),
        ([0, "sun"], "mon,sun"),
        (["mon", "wed-fri"], "1,3-5"),
        ("0-4", "mon-fri"),
        ("0-6", "0-6"),
        ("5,6", "0,6"),
        ("1-5/2", "tue,thu,sat"),
        ("2/2", "wed,fri,sun"),
        ("mon-fri", "mon-fri"),
        ("MON-Fri", "mon-fri"),
        ("fri-sun", "5-7"),
        ("sun-thu", "0-4"),
        ("1#1", "mon#1"),
        ("7#1", "sun#1"),
        ("mon#1,3#3", "1#1,3#3"),
        ("L1", "monL"),
        ("Lmon", "1L"),
        ("Lsun,0", "sunL,mon"),
    ],
    ids=str,
)
def test_the_week_begins_on_monday_which_is_0_and_1_in_counted_days(day_of_week, cron):
    assert same({"dayOfWeek": day_of_week}, f"* * {cron}")


def test_a_step_over_the_whole_week_counts_from_monday_and_still_asks_for_both_days():
    rule = CronRule.from_nightly(0, 3, dayOfMonth="1-7", dayOfWeek="*/2")
    assert rule.wall.days.both
    assert rule.wall.days.of_week.days == {0, 1, 3, 5}


@pytest.mark.parametrize(
    ("arguments", "cron"),
    [
        ({}, "* * *"),
        ({"dayOfMonth": "L"}, "L * *"),
        ({"dayOfMonth": [1, "L"]}, "1,L * *"),
        ({"dayOfMonth": (1, 15)}, "1,15 * *"),
        ({"month": "jan,mar"}, "* 1,3 *"),
        ({"month": [1, "mar-may"]}, "* 1,3-5 *"),
        ({"dayOfMonth": 13, "dayOfWeek": 4}, "13 * fri"),  # either suffices
        ({"dayOfMonth": "*/2", "dayOfWeek": 4}, "*/2 * fri"),  # both must match
    ],
    ids=str,
)
def test_the_other_arguments_read_as_in_cron(arguments, cron):
    assert same(arguments, cron)


def test_the_defaults_are_every_hour_and_follow_the_clock():
    assert CronRule.from_nightly() == CronRule.parse("0 * * * *")
    assert not CronRule.from_nightly().fixed
    assert CronRule.from_nightly(hour=3).fixed
    assert not CronRule.from_nightly(minute="*/5", hour=3).fixed
    assert CronRule.from_nightly([5, 25, 45], [1, "3-4"]) == CronRule.parse("5,25,45 1,3,4 * * *")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hour": 25}, "hour: 25 is out of range 0-23"),
        ({"minute": [0, 60]}, "minute: 60 is out of range 0-59"),
        ({"minute": -1}, "minute: "),
        ({"dayOfWeek": 7}, r"dayOfWeek: 7 is out of range 0-6 \(Monday is 0\)"),
        ({"dayOfWeek": "fri-mon"}, "dayOfWeek: the range 'fri-mon' is reversed"),
        ({"dayOfWeek": "6-0"}, "dayOfWeek: the range '6-0' is reversed"),
        ({"dayOfWeek": "1#6"}, "dayOfWeek: '#6' is not"),
        ({"dayOfWeek": "L"}, "dayOfWeek: a number is missing"),
        ({"dayOfWeek": "L8"}, "dayOfWeek: 8 is out of range 0-7"),
        ({"month": 13, "hour": "x"}, "(?=.*month: 13)(?=.*hour: 'x')"),
        ({"dayOfMonth": 31, "month": 2}, "dayOfMonth: such a day never comes in February"),
        ({"dayOfMonth": 0}, "dayOfMonth: 0 is out of range 1-31"),
        ({"minute": []}, "minute: the list is empty"),
        ({"minute": True}, "minute: expected a whole number"),
        ({"hour": 3.5}, "hour: expected a whole number"),
        ({"hour": None}, "hour: expected a whole number"),
        ({"hour": [None]}, "hour: expected a whole number"),
        ({"hour": ""}, "hour: a number is missing"),
        ({"timezone": "Mars"}, "timezone: unknown time zone 'Mars'"),
    ],
    ids=str,
)
def test_a_fault_is_named_by_its_argument(arguments, message):
    with pytest.raises(CronError, match=message):
        CronRule.from_nightly(**arguments)


def test_the_text_is_what_the_user_wrote():
    rule = CronRule.from_nightly(hour=[3, 4], dayOfWeek="mon-fri")
    assert rule.text == "minute=0 hour=3,4 dayOfWeek=mon-fri"
    assert rule.sentence() == "At 03:00 and 04:00, Monday to Friday, UTC"


@given(st.sets(st.integers(0, 6), min_size=1), st.integers(0, 4_000_000_000))
def test_it_fires_on_the_days_that_were_named(days, second):
    rule = CronRule.from_nightly(0, 3, dayOfWeek=sorted(days))
    assert rule == CronRule.from_nightly(0, 3, dayOfWeek=",".join(NAMES[day] for day in days))
    fire = EPOCH + timedelta(microseconds=rule.after(second * 1_000_000))
    assert (fire.weekday() in days, fire.hour, fire.minute) == (True, 3, 0)
