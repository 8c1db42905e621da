"""Cron rules: the agreed cases, a second opinion, and what must hold for every rule."""

import json
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from locum.schedulers.cron import CronError, CronRule
from locum.schedulers.grid import PeriodicRule
from locum.schedulers.zones import zone, zone_clock

CASES = json.loads((Path(__file__).parent / "data" / "cron_cases.json").read_text())
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
MINUTE = 60 * SECOND
DAY = 1440 * MINUTE
ZONES = (
    *("UTC", "Europe/Berlin", "Europe/London", "Europe/Dublin", "America/New_York", "America/Sao_Paulo"),
    *("America/St_Johns", "America/Havana", "America/Caracas", "Africa/Casablanca", "Africa/Cairo", "Asia/Tehran"),
    *("Asia/Beirut", "Asia/Amman", "Asia/Pyongyang", "Australia/Lord_Howe", "Antarctica/Troll", "Pacific/Chatham"),
    *("Pacific/Apia", "Pacific/Kwajalein", "America/Asuncion", "Asia/Kathmandu", "Asia/Kolkata"),
)


def instant(text):
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def shown(t, tz):
    return None if t is None else (EPOCH + timedelta(microseconds=t)).astimezone(ZoneInfo(tz)).isoformat()


def forwards(rule, t, n):
    found = []
    while len(found) < n and (t := rule.after(t)) is not None:
        found.append(t)
    return found


def backwards(rule, t, n):
    found = []
    while len(found) < n and (t := rule.before(t)) is not None:
        found.append(t)
    return found


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: case["id"])
def test_the_agreed_fires_follow(case):
    rule = CronRule.parse(case["expr"], case["tz"])
    assert forwards(rule, instant(case["start"]), 5) == [instant(text) for text in case["expected"]]


@pytest.mark.parametrize("case", CASES["reverse"], ids=lambda case: case["id"])
def test_the_agreed_fires_come_before(case):
    rule = CronRule.parse(case["expr"], case["tz"])
    assert backwards(rule, instant(case["start"]), 5) == [instant(text) for text in case["expected"]]


@pytest.mark.parametrize("case", CASES["errors"], ids=lambda case: case["id"])
def test_the_agreed_faults_are_refused(case):
    with pytest.raises(CronError):
        CronRule.parse(case["expr"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "61 25 32 13 9",
            "minute: 61 is out of .*; hour: 25 is .*; day of month: 32 is .*; month: 13 is .*; day of week: 9",
        ),
        ("* * * *", "cron: expected 5 fields .* got 4"),
        ("0 0 * * * *", "cron: expected 5 fields .* got 6; seconds"),
        ("", "got 0"),
        ("0 0 31 2 *", "day of month: such a day never comes in February"),
        ("0 0 31W 4,6 *", "day of month: such a day never comes in April, June"),
        ("0 0 30 2 */2", "day of month: such a day never comes"),
        ("* * * * fri-sun", "day of week: the range 'fri-sun' is reversed"),
        ("*/0 * * * *", "minute: a step of 0"),
        ("*/-1 * * * *", "minute: '/-1' is not a step"),
        ("5, * * * *", "minute: a number is missing"),
        ("1-2x * * * *", "minute: '2x' is not a number"),
        ("\uff11 * * * *", "minute: .* is not a number"),
        ("0\u00a00 * * *", "got 4"),
        ("0 0 ? * *", "day of month: '\\?'"),
        ("H * * * *", "minute: 'H'"),
        ("0 0 1-LW * *", "day of month"),
        ("0 0 L/2 * *", "day of month"),
        ("0 0 32W * *", "day of month: 32 is out of range"),
        ("0 0 * * 5#6", "day of week: '#6'"),
        ("0 0 * * 5#0", "day of week: '#0'"),
        ("0 0 * * 1-5#2", "day of week"),
        ("0 0 * monday *", "month: 'monday' is not a number 1-12 or a name jan-dec"),
        ("@reboot", "@reboot' has no meaning"),
        ("@daily x", "'@daily x' is not known"),
        (5, "cron: expected text"),
        ("0" * 5000 + "61 * * * *", "minute: .* is out of range"),
        ("9" * 5000 + " * * * *", "minute: .* is out of range"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_fault_is_named_by_its_field(text, message):
    with pytest.raises(CronError, match=message):
        CronRule.parse(text)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Europe/Berln", "timezone: unknown .* did you mean 'Europe/Berlin'"),
        ("berlin", "did you mean 'Europe/Berlin'"),
        ("../../etc/passwd", "unknown time zone"),
        ("", "such as 'UTC'"),
        (None, "unknown time zone"),
    ],
)
def test_an_unknown_zone_is_refused_with_the_nearest_name(name, message):
    with pytest.raises(CronError, match=message):
        CronRule.parse("* * * * *", name)


def test_rules_that_fire_alike_are_equal_and_their_text_does_not_matter():
    assert CronRule.parse("0 0 * * sun") == CronRule.parse("00  0 * * 7")
    assert hash(CronRule.parse("@daily")) == hash(CronRule.parse("0 0 * * *"))
    assert CronRule.parse("0 0 * * *") != CronRule.parse("0 0 * * *", "Europe/Berlin")
    assert CronRule.parse("0-59 0-23 * * *") != CronRule.parse("* * * * *")  # fixed, and wildcard


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 3 * * mon-fri", "At 03:00, Monday to Friday, Europe/Berlin"),
        ("30 2 * * *", "At 02:30 every day, Europe/Berlin"),
        ("* * * * *", "Every minute, Europe/Berlin"),
        ("@hourly", "Every hour, Europe/Berlin"),
        ("*/15 * * * *", "Every 15 minutes, Europe/Berlin"),
        ("30 */2 * * *", "Every 2 hours at minute 30, Europe/Berlin"),
        ("*/5 9-17 * * 1-5", "Every 5 minutes of the hours 9 to 17, Monday to Friday, Europe/Berlin"),
        (
            "*/7 * 1 * *",
            "At the minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour, on day 1 of the month, Europe/Berlin",
        ),
        ("7 3,5 1,15 * *", "At 03:07 and 05:07, on days 1 and 15 of the month, Europe/Berlin"),
        ("0 0 13 * fri", "At 00:00, on day 13 of the month or Friday, Europe/Berlin"),
        ("0 0 */15 * 1", "At 00:00, on days 1, 16 and 31 of the month if that is Monday, Europe/Berlin"),
        (
            "0 0 L,15W 2 *",
            "At 00:00, on the weekday nearest to day 15 and the last day of the month, in February, Europe/Berlin",
        ),
        (
            "0 0 * jan,mar-jun mon#1,5L",
            "At 00:00, the first Monday and the last Friday of the month, in January and March to June, Europe/Berlin",
        ),
        ("0 0 LW * *", "At 00:00, on the last weekday of the month, Europe/Berlin"),
    ],
)
def test_a_rule_reads_as_a_sentence(text, expected):
    assert CronRule.parse(text, "Europe/Berlin").sentence() == expected


def field(low, high, *, first):
    """A cron field's text: what it may begin with decides whether the rule is wildcard."""
    number = st.integers(low, high)
    span = st.tuples(number, number).map(sorted).map(lambda ends: f"{ends[0]}-{ends[1]}")
    step = st.integers(1, high).map(lambda n: f"/{n}")
    item = st.one_of(
        number.map(str), st.tuples(span, st.just("") | step).map("".join), st.tuples(number.map(str), step).map("".join)
    )
    star = st.tuples(st.just("*"), st.just("") | step).map("".join)
    return st.one_of(star, st.lists(item, min_size=1, max_size=3).map(",".join), *first)


CRON = st.tuples(
    field(0, 59, first=[st.sampled_from(["0", "30", "*/15", "15,45"])]),
    field(0, 23, first=[st.sampled_from(["0", "1", "2", "23", "*", "*/2"])]),
    field(1, 31, first=[st.sampled_from(["*", "*", "L", "LW", "15W", "1W", "31W", "28-31", "1,L"])]),
    field(1, 12, first=[st.sampled_from(["*", "*", "*", "2", "3,10"])]),
    field(0, 7, first=[st.sampled_from(["*", "*", "*", "0", "7", "5#5", "1#1,3L", "mon-fri"])]),
).map(" ".join)
CHANGES = {
    name: sorted(
        stretch.start
        for stretch in {zone_clock(name).stretch_at(second) for second in range(0, 3_700_000_000, 1_000_000)}
        if stretch.offset != stretch.before
    )
    for name in ZONES
}


@st.composite
def rules(draw):
    text, tz = draw(CRON), draw(st.sampled_from(ZONES))
    try:
        return CronRule.parse(text, tz)
    except CronError as fault:
        assume("never comes" not in str(fault))
        raise


@st.composite
def moments(draw, tz):
    """An instant from 1970 to 2087, often near a change of the clock of that zone."""
    if CHANGES[tz] and draw(st.booleans()):
        near = draw(st.sampled_from(CHANGES[tz])) * SECOND
        return near + draw(st.integers(-2 * DAY, 2 * DAY) | st.integers(-3, 3))
    return draw(st.integers(0, 3_500_000_000)) * SECOND + draw(st.sampled_from([0, 0, 1, -1]))


def by_hand(rule, start, end):
    """The fires at start < t <= end by asking for every minute's wall clock: the rules of time.md word for word."""
    text, tz = rule.text.split(), zone(rule.timezone)
    fixed = not (text[0].startswith("*") or text[1].startswith("*"))
    wanted = {(time // 60, time % 60) for time in rule.wall.times}

    def is_wanted(wall):
        first = wall.replace(day=1)
        length = ((first + timedelta(days=32)).replace(day=1) - first).days
        return (
            (wall.hour, wall.minute) in wanted
            and wall.month in rule.wall.months
            and wall.day in rule.wall.days.within(length, first.isoweekday() % 7)
        )

    def wall_at(minute):
        return (EPOCH + timedelta(minutes=minute)).astimezone(tz).replace(tzinfo=None, fold=0)

    first, last = start // MINUTE + 1, end // MINUTE
    fires = set()
    high_water = datetime.min  # the latest wall clock shown so far
    previous = wall_at(first - 4 * 60 - 1)
    for minute in range(first - 4 * 60, last + 1):
        wall = wall_at(minute)
        jump = wall - previous - timedelta(minutes=1)
        if jump < -timedelta(hours=3):
            high_water = datetime.min
        elif jump < timedelta(0):
            high_water = max(high_water, previous)
        elif fixed and timedelta(0) < jump < timedelta(hours=3):
            lost = [previous + timedelta(minutes=n + 1) for n in range(jump // timedelta(minutes=1))]
            if any(is_wanted(one) for one in lost):
                fires.add(minute)
        previous = wall
        if is_wanted(wall) and not (fixed and wall <= high_water):
            fires.add(minute)
    return [minute * MINUTE for minute in sorted(fires) if minute >= first]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_minute_around_a_change_of_the_clock_agrees_with_the_rules_word_for_word(data):
    rule = data.draw(rules())
    assume(CHANGES[rule.timezone])
    change = data.draw(st.sampled_from(CHANGES[rule.timezone])) * SECOND
    start, end = change - DAY // 4, change + DAY // 2
    expected = by_hand(rule, start, end)
    found = forwards(rule, start, len(expected) + 1)
    assert [t for t in found if t <= end] == expected
    assert rule.count(start, end) == len(expected)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_walking_back_finds_what_walking_forwards_found(data):
    rule = data.draw(rules())
    start = data.draw(moments(rule.timezone))
    fires = forwards(rule, start, 20)
    assert fires == sorted(set(fires))
    if fires:
        assert backwards(rule, fires[-1] + 1, len(fires)) == fires[::-1]
        earlier = rule.before(fires[0])
        assert earlier is None or earlier <= start
        assert rule.count(start, fires[-1]) == len(fires)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_starting_anywhere_between_two_fires_gives_the_second(data):
    rule = data.draw(rules())
    fires = forwards(rule, data.draw(moments(rule.timezone)), 6)
    for first, second in pairwise(fires):
        between = data.draw(st.integers(first, second - 1))
        assert rule.after(between) == second
        assert rule.before(between + 1) == first
        assert rule.matches(second) and rule.matches(between) == (between == first)


def second_opinion(text, tz, start, n):
    """What cronsim says, as instants."""
    local = (EPOCH + timedelta(microseconds=start)).astimezone(zone(tz))
    fires = CronSim(text, local)
    return [(next(fires).astimezone(UTC) - EPOCH) // timedelta(microseconds=1) for _ in range(n)]


def is_beyond_cronsim(rule, start, end):
    """Whether one of the known faults of cronsim 2.8 can show between ``start`` and ``end``.

    - It has no ``nW``, and takes ``a-a/n`` for ``a/n``.
    - Jumps of three hours and more (the date line): it fires fixed times in the gap, and stops at its end.
    - Fixed rules started in the second pass of a repeat: it answers with a time before the start.
    - Wildcard rules at shifts that are not of whole hours, or not on one: it steps by whole hours, loses or adds minutes,
      and can go round for ever. The same where midnight falls into a gap.
    """
    if re.search(r"\dW|\b([0-9]+)-\1/", rule.text):
        return True
    for change in CHANGES[rule.timezone]:
        if start - DAY <= change * SECOND <= end + DAY:
            stretch = zone_clock(rule.timezone).stretch_at(change)
            shift, wall = stretch.offset - stretch.before, change + stretch.before
            if shift >= 3 * 3600 or (rule.fixed and shift < 0 and change <= start // SECOND < change - shift):
                return True
            odd = shift % 3600 or wall % 3600
            if not rule.fixed and (odd or (shift > 0 and (wall + shift - 1) // 86400 != (wall - 1) // 86400)):
                return True
    return False


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_second_opinion_agrees(data):
    rule = data.draw(rules())
    start = data.draw(moments(rule.timezone)) // SECOND * SECOND
    fires = forwards(rule, start, 5)
    assume(len(fires) == 5 and fires[-1] < 3_600_000_000 * SECOND)
    assume(not is_beyond_cronsim(rule, start, fires[-1]))
    assert second_opinion(rule.text, rule.timezone, start, 5) == fires


def test_the_second_opinion_covers_changes_of_the_clock():
    checked = 0
    for tz in ZONES:
        for change in CHANGES[tz][20:50]:
            for text in ("30 2 * * *", "15,45 0-3 * * *", "*/20 * * * *", "5 */2 * * 0,6", "0 0 * * *"):
                rule, start = CronRule.parse(text, tz), (change - 5 * 3600) * SECOND
                fires = forwards(rule, start, 12)
                if not is_beyond_cronsim(rule, start, fires[-1]):
                    assert second_opinion(text, tz, start, 12) == fires
                    checked += 1
    assert checked > 2000


@pytest.mark.parametrize("text", ["0 0 29 2 *", "0 0 29 2 */7", "0 12 * 2 1#5", "0 0 29W 2 *", "0 0 29 2 */2"])
def test_rare_days_are_found_across_a_century_without_a_leap_day(text):
    rule = CronRule.parse(text, "Europe/Berlin")
    start = instant("2093-01-01T00:00:00+00:00")
    fires = forwards(rule, start, 3)
    assert len(fires) == 3
    for t in fires:
        assert (EPOCH + timedelta(microseconds=t)).astimezone(zone("Europe/Berlin")).month == 2
    assert backwards(rule, fires[-1] + 1, 3) == fires[::-1]


def test_a_leap_day_that_must_be_a_sunday_is_found_forty_years_on():
    rule = CronRule.parse("0 0 29 2 */7")
    assert shown(rule.after(instant("2088-03-01T00:00:00+00:00")), "UTC") == "2128-02-29T00:00:00+00:00"


def test_a_rule_that_matches_never_again_within_the_calendar_has_no_next():
    rule = CronRule.parse("0 0 1 1 *", "Europe/Berlin")
    assert rule.after(instant("9990-06-01T00:00:00+00:00")) is None
    assert rule.before(instant("0010-01-01T00:00:00+00:00") - 10 * DAY) is None


def test_years_of_fires_are_counted_at_once():
    rule = CronRule.parse("* * * * *", "Europe/Berlin")
    assert rule.count(0, 3650 * DAY) == 3650 * 1440
    assert rule.count(DAY, DAY) == rule.count(DAY, 0) == 0


def test_the_zones_are_cut_where_their_files_say():
    for name in ("Europe/Berlin", "Asia/Gaza", "America/St_Johns", "Pacific/Apia", "Africa/Casablanca"):
        clock, stretch = zone_clock(name), zone_clock(name).stretch_at(-1)
        while stretch.start < 2_200_000_000:
            for second in (stretch.start, (stretch.start + stretch.end) // 2, stretch.end - 1):
                moment = EPOCH + timedelta(seconds=second)
                assert moment.astimezone(zone(name)).utcoffset() == timedelta(seconds=stretch.offset)
            following = clock.stretch_at(stretch.end)
            assert (following.start, following.before) == (stretch.end, stretch.offset)
            assert clock.stretch_at(following.start - 1) == stretch
            stretch = following


# -- sentences about changes of the clock


@pytest.mark.parametrize(
    ("text", "zone", "said"),
    [
        (
            *("30 2 * * *", "Europe/Berlin"),
            "when the clocks go forward (next on 29 March 2026), it fires once, at 03:00, for what they jump over;"
            " when they go back (next on 25 October 2026), of a time that is shown twice only the first counts",
        ),
        (
            *("*/15 * * * *", "Europe/Berlin"),
            "when the clocks go forward (next on 29 March 2026), it has no times in the gap;"
            " when they go back (next on 25 October 2026), it fires in both passes",
        ),
        (
            *("15 2 * * *", "Australia/Lord_Howe"),
            "when the clocks go forward (next on 4 October 2026), it fires once, at 02:30, for what they jump over",
        ),
        ("30 2 1 4 *", "Europe/Berlin", ""),
        ("30 3 * * *", "Europe/Berlin", ""),
        ("30 2 * * *", "UTC", ""),
    ],
)
def test_what_the_clocks_changes_do_to_a_rule_is_said_if_they_do_anything(text, zone, said):
    assert CronRule.parse(text, zone).clock_changes(instant("2026-01-05T00:00+00:00")) == said


def test_at_the_date_line_nothing_is_made_up_and_nothing_said():
    rule = CronRule.parse("0 12 30 12 *", "Pacific/Apia")  # a day that there was not
    assert rule.clock_changes(instant("2011-06-01T00:00+00:00")) == ""
    assert rule.after(instant("2011-06-01T00:00+00:00")) == instant("2012-12-30T12:00+14:00")


def test_changes_of_the_clock_after_the_rules_end_are_not_said():
    rule = CronRule.parse("30 2 * * *", "Europe/Berlin")
    assert rule.clock_changes(instant("2026-01-05T00:00+00:00"), instant("2026-03-01T00:00+00:00")) == ""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(90, "90 seconds"), (900, "15 minutes"), (3600, "hour"), (172_800, "2 days"), (0.5, "0.5 seconds"), (1, "second")],
)
def test_an_even_grid_is_a_sentence_too(seconds, said):
    rule = PeriodicRule(round(seconds * 1e6), instant("2026-01-05T00:00:07+00:00"))
    assert rule.sentence() == f"Every {said} from 5 January 2026 00:00:07 UTC"
