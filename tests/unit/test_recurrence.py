"""Recurrences made at run time: what each kind means, changes of the clock, text, JSON, and what is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from locum.schedulers.recurrence import (
    RecurrenceError,
    ScheduleCron,
    ScheduleImmed,
    ScheduleInterval,
    ScheduleMonthlyAbsolute,
    ScheduleMonthlyRelative,
    ScheduleNow,
    ScheduleOnce,
    ScheduleWeekly,
    recurrence_from_json,
)
from locum.schedulers.zones import zone as zone_of

BERLIN = ZoneInfo("Europe/Berlin")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def us(moment: datetime) -> int:
    return (moment.astimezone(UTC) - EPOCH) // timedelta(microseconds=1)


def local(rule, begin: datetime, n: int) -> list[str]:
    found = rule.between(begin - timedelta(microseconds=1), begin + timedelta(days=4000), n)
    return [t.isoformat() for t in found]


# -- what each kind means -----------------------------------------------------------------------------------------------


def test_an_interval_is_a_grid_of_instants_that_no_change_of_the_clock_moves():
    rule = ScheduleInterval(datetime(2026, 3, 29, 0, tzinfo=BERLIN), None, 1, "days")
    assert local(rule, datetime(2026, 3, 28, tzinfo=BERLIN), 2) == [
        "2026-03-29T00:00:00+01:00",
        "2026-03-30T01:00:00+02:00",
    ]


def test_the_end_of_an_interval_is_included_and_nothing_lies_beyond():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rule = ScheduleInterval(start, start + timedelta(minutes=10), 5, "minutes")
    assert [t.minute for t in rule.between(start - timedelta(days=1), start + timedelta(days=1))] == [0, 5, 10]
    assert rule.after(start + timedelta(minutes=10)) is None
    assert rule.before(start) is None
    assert rule.count(us(start) - 1, us(start) + 10**12) == 3


@pytest.mark.parametrize(
    ("unit", "seconds"), [("seconds", 1), ("minutes", 60), ("hours", 3600), ("days", 86_400)], ids=str
)
def test_an_interval_has_a_unit(unit, seconds):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert ScheduleInterval(start, None, 3, unit).after(us(start)) == us(start) + 3 * seconds * 10**6


@pytest.mark.parametrize(
    "make",
    [
        lambda start, end: ScheduleInterval(start, end, 1, "days"),
        lambda start, end: ScheduleWeekly(start, end, days=127),
        lambda start, end: ScheduleMonthlyAbsolute(start, end, day=5),
        lambda start, end: ScheduleMonthlyRelative(start, end, week=1, day="mon"),
    ],
    ids=["interval", "weekly", "monthly absolute", "monthly relative"],
)
def test_nothing_lies_before_the_start_and_nothing_after_the_end(make):
    start, end = (
        datetime(2026, 1, 5, 3, tzinfo=UTC),
        datetime(2026, 4, 6, 3, tzinfo=UTC),
    )  # Mondays, the first of two months
    found = make(start, end).between(start - timedelta(days=400), end + timedelta(days=400))
    assert found[0] == start and end - timedelta(days=30) < found[-1] <= end
    assert found == [
        t for t in make(start, None).between(start - timedelta(days=400), end + timedelta(days=40)) if t <= end
    ]
    assert make(start, None).after(end) is not None


def test_weekly_keeps_the_local_time_of_its_start_through_the_year():
    rule = ScheduleWeekly(datetime(2026, 3, 23, 7, 15, tzinfo=BERLIN), days={"mon", "thu"})
    assert local(rule, datetime(2026, 3, 23, tzinfo=BERLIN), 3) == [
        "2026-03-23T07:15:00+01:00",
        "2026-03-26T07:15:00+01:00",
        "2026-03-30T07:15:00+02:00",
    ]


@pytest.mark.parametrize("days", [0b0001001, {"Monday", "thu"}, [0, 3], ("THURSDAY", 0)])
def test_weekdays_are_names_numbers_or_bits(days):
    assert ScheduleWeekly(datetime(2026, 1, 1, tzinfo=UTC), days=days).days == (0, 3)


def test_a_month_without_the_day_has_its_last_one():
    rule = ScheduleMonthlyAbsolute(datetime(2027, 1, 30, 12, tzinfo=BERLIN), day=30)
    assert [t[:10] for t in local(rule, datetime(2027, 1, 1, tzinfo=BERLIN), 3)] == [
        "2027-01-30",
        "2027-02-28",
        "2027-03-30",
    ]
    last = ScheduleMonthlyAbsolute(datetime(2028, 1, 1, tzinfo=BERLIN), day=-1)
    assert [t[:10] for t in local(last, datetime(2028, 1, 1, tzinfo=BERLIN), 3)] == [
        "2028-01-31",
        "2028-02-29",
        "2028-03-31",
    ]


def test_the_nth_weekday_of_the_month():
    start = datetime(2026, 1, 1, 9, tzinfo=BERLIN)
    second = ScheduleMonthlyRelative(start, week=2, day="tue")
    assert [t[:10] for t in local(second, start, 2)] == ["2026-01-13", "2026-02-10"]
    last = ScheduleMonthlyRelative(start, week="last", day=4)
    assert [t[:10] for t in local(last, start, 2)] == ["2026-01-30", "2026-02-27"]


def test_a_local_time_in_a_gap_fires_when_the_gap_ends_and_a_repeated_one_once():
    gap = ScheduleWeekly(datetime(2026, 3, 22, 2, 30, 15, tzinfo=BERLIN), days={"sun"})
    assert local(gap, datetime(2026, 3, 23, tzinfo=BERLIN), 2) == [
        "2026-03-29T03:00:00+02:00",
        "2026-04-05T02:30:15+02:00",
    ]
    repeat = ScheduleWeekly(datetime(2026, 10, 18, 2, 30, 15, tzinfo=BERLIN), days={"sun"})
    assert local(repeat, datetime(2026, 10, 19, tzinfo=BERLIN), 2) == [
        "2026-10-25T02:30:15+02:00",
        "2026-11-01T02:30:15+01:00",
    ]


def test_a_shift_of_half_an_hour_and_one_across_the_date_line():
    lord_howe = ZoneInfo("Australia/Lord_Howe")
    rule = ScheduleWeekly(datetime(2026, 9, 27, 2, 10, tzinfo=lord_howe), days={"sun"})
    assert local(rule, datetime(2026, 10, 1, tzinfo=lord_howe), 1) == ["2026-10-04T02:30:00+11:00"]
    apia = ZoneInfo("Pacific/Apia")  # 30 December 2011 was left out
    rule = ScheduleMonthlyAbsolute(datetime(2011, 10, 30, 9, tzinfo=apia), day=30)
    assert [t[:10] for t in local(rule, datetime(2011, 11, 1, tzinfo=apia), 2)] == ["2011-11-30", "2012-01-30"]


def test_once_now_and_immed_get_their_time_when_they_are_stored():
    now = us(datetime(2026, 5, 1, tzinfo=UTC))
    for made in (ScheduleOnce(), ScheduleNow(), ScheduleImmed()):
        assert made.after(0) is None
        bound = made.bound(now)
        assert (bound.after(now - 1), bound.after(now), bound.before(now + 1)) == (now, None, now)
        assert type(bound) is type(made)


@pytest.mark.parametrize("cls", [ScheduleOnce, ScheduleNow, ScheduleImmed])
def test_what_has_a_time_fires_then_and_never_again(cls):
    when = datetime(2026, 5, 2, 3, tzinfo=BERLIN)
    made = cls(when).bound(us(when) - 1)
    assert made.between(0, us(when) + 10**15) == [us(when)]
    assert made.after(when - timedelta(days=1)).isoformat() == "2026-05-02T03:00:00+02:00"


@pytest.mark.parametrize(("zone", "hour"), [("UTC", 3), ("Europe/Berlin", 1), ("Asia/Tokyo", 18)])
def test_cron_text_is_told_in_its_zone(zone, hour):
    begin = us(datetime(2026, 7, 1, tzinfo=UTC))
    rule = ScheduleCron("30 3 * * *", zone)
    assert rule.after(begin) == begin + (hour * 60 + 30) * 60 * 10**6
    assert (ScheduleCron("30 3 * * *").timezone, rule.timezone) == ("UTC", zone)


def test_a_past_time_and_a_rule_that_is_over_are_refused_when_they_are_stored():
    now = us(datetime(2026, 5, 1, tzinfo=UTC))
    past = datetime(2026, 4, 30, tzinfo=UTC)
    with pytest.raises(RecurrenceError, match=r"when: 30 April 2026 00:00 UTC lies in the past"):
        ScheduleOnce(past).bound(now)
    with pytest.raises(RecurrenceError, match="end: it has no fire time left"):
        ScheduleInterval(past - timedelta(days=1), past, 1, "hours").bound(now)


# -- properties ---------------------------------------------------------------------------------------------------------

ZONES = st.sampled_from(
    [
        *("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"),
        *("Pacific/Apia", "America/St_Johns", "America/Sao_Paulo", "Europe/Dublin", "Antarctica/Troll"),
    ]
)
INSTANTS = st.integers(us(datetime(1995, 1, 1, tzinfo=UTC)), us(datetime(2035, 1, 1, tzinfo=UTC)))
SPANS = st.none() | st.integers(0, 3 * 366 * 86_400 * 10**6)


@st.composite
def rules(draw):
    zone = ZoneInfo(draw(ZONES))
    begin = draw(INSTANTS)
    span = draw(SPANS)
    start = (EPOCH + timedelta(microseconds=begin)).astimezone(zone)
    end = None if span is None else (EPOCH + timedelta(microseconds=begin + span)).astimezone(zone)
    match draw(st.integers(0, 4)):
        case 0:
            unit = draw(st.sampled_from(["seconds", "minutes", "hours", "days"]))
            return ScheduleInterval(start, end, draw(st.integers(1, 1000)), unit)
        case 1:
            return ScheduleWeekly(start, end, draw(st.integers(1, 127)))
        case 2:
            return ScheduleMonthlyAbsolute(start, end, draw(st.sampled_from([*range(1, 32), -1])))
        case 3:
            return ScheduleMonthlyRelative(
                start, end, draw(st.sampled_from([1, 2, 3, 4, "last"])), draw(st.integers(0, 6))
            )
        case _:
            cron = draw(st.sampled_from(["*/7 * * * *", "30 2 * * *", "0 0 31 * *", "15 1-3 * * sun", "0 12 L * *"]))
            return ScheduleCron(cron, zone.key)


@settings(max_examples=150, deadline=None)
@given(rules(), INSTANTS, st.integers(1, 12))
def test_walking_forward_and_back_gives_the_same_strictly_increasing_list(rule, begin, n):
    forward = rule.between(begin, 2**53, n)
    assert forward == sorted(set(forward)) and all(t > begin for t in forward)
    if not forward:
        return
    back, t = [], forward[-1] + 1
    while (t := rule.before(t)) is not None and t > begin:
        back.append(t)
    assert back[::-1] == forward
    assert rule.count(begin, forward[-1]) == len(forward)
    for one, following in pairwise(forward):
        between = (one + following) // 2
        assert rule.after(between) == following
        assert rule.after(one) == following and rule.before(following) == one


@settings(max_examples=150, deadline=None)
@given(rules())
def test_json_and_back_is_the_same_rule(rule):
    again = recurrence_from_json(rule.to_json())
    assert again == rule and again.text() == rule.text() and again.timezone == rule.timezone
    assert again.after(0) == rule.after(0)


def by_hand(zone: ZoneInfo, day: date, at: time) -> datetime | None:
    """When that local time first comes on that day; at the end of the gap that swallows it; None: a day left out."""
    naive = datetime.combine(day, at)
    first = naive.replace(tzinfo=zone)
    if first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == naive:
        return first.astimezone(UTC)
    low, high = us(naive.replace(tzinfo=zone, fold=1)), us(first)  # the gap ends in between
    if high - low >= 3 * 3600 * 10**6:
        return None
    before = (EPOCH + timedelta(microseconds=low)).astimezone(zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        same = (EPOCH + timedelta(microseconds=middle)).astimezone(zone).utcoffset() == before
        low, high = (middle, high) if same else (low, middle)
    return EPOCH + timedelta(microseconds=high)


@settings(max_examples=120, deadline=None)
@given(
    ZONES,
    st.dates(date(1996, 1, 1), date(2034, 1, 1)),
    st.times().map(lambda t: t.replace(microsecond=0, fold=0)),
    st.data(),
)
def test_local_times_are_those_that_a_walk_over_the_days_finds(name, day, at, data):
    zone = zone_of(name)  # as the rules do: the host's own may be of another year
    naive = datetime.combine(day, at)
    start = naive.replace(tzinfo=zone)
    if start.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != naive:
        with pytest.raises(RecurrenceError, match=r"start: .* does not exist"):
            ScheduleWeekly(start, days=127)
        return
    weekdays = data.draw(st.sets(st.integers(0, 6), min_size=1))
    rule = ScheduleWeekly(start, days=weekdays)
    expected = []
    for n in range(-2, 420):
        one = day + timedelta(days=n)
        if one.weekday() in weekdays and (moment := by_hand(zone, one, at)) is not None and us(moment) >= us(start):
            expected.append(us(moment))
    assert rule.between(us(start) - 1, expected[-1], 1000) == sorted(set(expected))


# -- text, and what is refused -----------------------------------------------------------------------------------------


def test_each_rule_reads_as_a_sentence():
    start = datetime(2026, 3, 1, 2, tzinfo=BERLIN)
    end = datetime(2026, 6, 1, tzinfo=BERLIN)
    texts = {
        ScheduleInterval(start, None, 3, "hours"): "Every 3 hours from 1 March 2026 02:00 Europe/Berlin",
        ScheduleInterval(
            start, end, 1, "days"
        ): "Every day from 1 March 2026 02:00 Europe/Berlin until 1 June 2026 00:00",
        ScheduleWeekly(start, days={"mon", 2, "sun"}): (
            "Every Monday, Wednesday and Sunday at 02:00 from 1 March 2026 Europe/Berlin"
        ),
        ScheduleWeekly(start, days=127): "Every day at 02:00 from 1 March 2026 Europe/Berlin",
        ScheduleMonthlyAbsolute(start, day=31): (
            "On day 31 (or the last day) of every month at 02:00 from 1 March 2026 Europe/Berlin"
        ),
        ScheduleMonthlyAbsolute(
            start, day=-1
        ): "On the last day of every month at 02:00 from 1 March 2026 Europe/Berlin",
        ScheduleMonthlyRelative(start, week=2, day="tue"): (
            "On the second Tuesday of every month at 02:00 from 1 March 2026 Europe/Berlin"
        ),
        ScheduleCron("0 3 * * *", "Europe/Berlin"): "At 03:00 every day, Europe/Berlin",
        ScheduleOnce(start): "Once, on 1 March 2026 02:00 Europe/Berlin",
        ScheduleNow(): "Once, at once",
    }
    assert {rule.text(): text for rule, text in texts.items()} == {text: text for text in texts.values()}


START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (lambda: ScheduleInterval(datetime(2026, 1, 1), None, 1, "hours"), ["start"]),
        (lambda: ScheduleInterval(START, None, 0, "hour"), ["unit", "interval"]),
        (lambda: ScheduleInterval(START, None, True, "hours"), ["interval"]),
        (lambda: ScheduleInterval(START, None, 10**9, "days"), ["interval"]),
        (lambda: ScheduleInterval(START, START - timedelta(1), 1, "hours"), ["end"]),
        (lambda: ScheduleWeekly(START), ["days"]),
        (lambda: ScheduleWeekly(START, days={"mo"}), ["days"]),
        (lambda: ScheduleWeekly(START, days="mon"), ["days"]),
        (lambda: ScheduleWeekly(START, days=128), ["days"]),
        (lambda: ScheduleWeekly(datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2))), days=1), ["start"]),
        (lambda: ScheduleWeekly(datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN), days=1), ["start"]),
        (lambda: ScheduleMonthlyAbsolute(START, day=0), ["day"]),
        (lambda: ScheduleMonthlyAbsolute(START, day=32), ["day"]),
        (lambda: ScheduleMonthlyRelative(START, week=5, day="someday"), ["week", "day"]),
        (lambda: ScheduleOnce(datetime(2026, 1, 1)), ["when"]),
        (lambda: ScheduleOnce("tomorrow"), ["when"]),
        (lambda: ScheduleCron("61 * * * *", "Europe/Berln"), ["cron"]),
        (lambda: ScheduleCron("0 3 * * *", "Europe/Berln"), ["timezone"]),
        (lambda: ScheduleCron(None), ["cron"]),
        (lambda: recurrence_from_json({"kind": "weekly", "days": ["mon"]}), ["start"]),
        (lambda: recurrence_from_json({"kind": "intervall"}), ["kind"]),
        (lambda: recurrence_from_json([]), ["rule"]),
        (lambda: recurrence_from_json({"kind": "once", "whem": "2026-01-01T00:00Z"}), ["whem"]),
        (
            lambda: recurrence_from_json({"kind": "once", "when": "2026-01-01T00:00", "timezone": "X"}),
            ["timezone", "when"],
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_argument_named(make, fields):
    with pytest.raises(RecurrenceError) as refused:
        make()
    assert [name for name, _ in refused.value.faults] == fields
    assert str(refused.value).startswith(fields[0] + ": ")


def test_a_datetime_is_answered_in_the_zone_of_the_rule():
    rule = ScheduleCron("0 3 * * *", "Europe/Berlin")
    found = rule.after(datetime(2026, 7, 1, tzinfo=UTC))
    assert found.isoformat() == "2026-07-01T03:00:00+02:00"
    with pytest.raises(ValueError, match="no zone"):
        rule.after(datetime(2026, 7, 1))


def test_the_two_passes_of_a_repeated_hour_are_two_times():
    first = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)
    second = first.replace(fold=1)
    earlier_on_the_wall = datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN, fold=1)
    spanning = ScheduleInterval(first, earlier_on_the_wall, 20, "minutes")
    assert [f"{t:%H:%M %z}" for t in spanning.between(first - timedelta(1), second)] == [
        "02:30 +0200",
        "02:50 +0200",
        "02:10 +0100",
    ]
    with pytest.raises(RecurrenceError, match="end: "):
        ScheduleInterval(second, datetime(2026, 10, 25, 2, 40, tzinfo=BERLIN), 20, "minutes")
    assert ScheduleOnce(first) != ScheduleOnce(second)
    assert ScheduleInterval(first, None, 1, "hours") != ScheduleInterval(second, None, 1, "hours")
