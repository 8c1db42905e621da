"""Cron rules: the agreed cases, a second opinion, and what must hold for every rule."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from cronsim.cronsim import is_imaginary
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from locum.schedulers.cron import CronError, CronRule
from locum.schedulers.zones import zone, zone_clock

CASES = json.loads((Path(__file__).parent / "data" / "cron_cases.json").read_text())
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
DAY = 86_400 * SECOND
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
