"""Durations: what people may write, and that what is shown can be read back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from locum.config import format_duration, parse_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("250ms", 0.25),
        ("2d", 172_800.0),
        ("1w", 604_800.0),
        ("1w2d3h4m5s6ms", 604_800 + 2 * 86_400 + 3 * 3600 + 245.006),
        ("1.5h", 5400.0),
        ("0.1s", 0.1),
        (" 1h 30m ", 5400.0),
        ("90", 90.0),
        ("0", 0.0),
        (90, 90.0),
        (0.25, 0.25),
        (0, 0.0),
    ],
)
def test_a_duration_is_read_as_seconds(written, seconds):
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    [
        *(
            "",
            " ",
            "s",
            "-5s",
            "-1",
            "5x",
            "1m1h",
            "1s1s",
            "1h-30m",
            "5 5",
            "1e3",
            "inf",
            "nan",
            "٣s",
            "1.s",
            ".5s",
            "1,5s",
        ),
        *(-1, -0.001, math.nan, math.inf, -math.inf, True, False, None, [], {}, b"5s", 10**30, 1e300, "9999999w"),
    ],
)
def test_what_is_no_duration_is_refused_with_a_sentence(written):
    with pytest.raises(ValueError, match=r"duration"):
        parse_duration(written)


def test_a_hostile_duration_is_refused_at_once():
    for written in ("9" * 1_000_000, "9" * 1_000_000 + "h", "1 " * 500_000, 10**5000):
        with pytest.raises(ValueError):
            parse_duration(written)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (30, "30s"),
        (90, "1m30s"),
        (5400, "1h30m"),
        (86_400, "1d"),
        (0.25, "250ms"),
        (0.0005, "0.5ms"),
        (-2, "-2s"),
    ],
)
def test_a_duration_is_shown_as_people_write_it(seconds, shown):
    assert format_duration(seconds) == shown


@given(st.integers(min_value=0, max_value=100 * 365 * 86_400 * 10**6))
def test_what_is_shown_is_read_back_to_the_microsecond(microseconds):
    seconds = microseconds / 1_000_000
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text() | st.floats() | st.integers())
def test_any_text_or_number_gives_finite_seconds_or_a_value_error(value):
    try:
        seconds = parse_duration(value)
    except ValueError:
        return
    assert 0 <= seconds < math.inf
