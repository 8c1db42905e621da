"""The database's time, carried forward: right on a host whose clock is wrong, and never going back."""

import pytest
from locum.db.database import HostClocks
from locum.master.clock import DatabaseClock
from locum.master.surroundings import Surroundings

HOUR = 3_600_000_000


class Host:
    def __init__(self):
        self.boot = 5_000_000
        self.wall = 10**15
        clocks = HostClocks(lambda: self.wall, lambda: self.boot)
        self.clock = DatabaseClock(Surroundings(None, clocks, None, None))

    def passes(self, us):
        self.boot += us
        self.wall += us

    def hears(self, database_now, took=0):
        asked = self.boot
        self.passes(took)
        self.clock.heard(database_now, asked, self.boot)


@pytest.fixture
def host():
    return Host()


def test_before_the_first_heartbeat_there_is_no_time(host):
    assert not host.clock.known and host.clock.host_offset_us() == 0
    with pytest.raises(RuntimeError, match="not known yet"):
        host.clock.now()


def test_it_is_the_databases_time_plus_what_has_passed_since(host):
    host.hears(2 * 10**15)
    assert host.clock.known and host.clock.now() == 2 * 10**15
    host.passes(1234)
    assert host.clock.now() == 2 * 10**15 + 1234


def test_it_is_never_ahead_of_what_is_certain(host):
    host.hears(2 * 10**15, took=400)
    assert host.clock.now() == 2 * 10**15


def test_a_quick_answer_counts_more_than_slow_ones(host):
    host.hears(2 * 10**15, took=400)
    host.passes(1_000_000)
    host.hears(2 * 10**15 + 1_000_390, took=20)  # the first answer had been 370 on its way, so it was that much later
    assert host.clock.now() == 2 * 10**15 + 1_000_390
    host.passes(1_000_000)
    host.hears(2 * 10**15 + 2_000_700, took=2_000_000)  # the reactor was busy when the answer came
    assert host.clock.now() == 2 * 10**15 + 4_000_390


def test_a_clock_that_was_set_back_a_little_is_believed_by_the_next_quick_answer(host):
    host.hears(10**15, took=10)
    host.hears(10**15 - 5_000, took=10)
    host.passes(20_000)
    assert host.clock.now() == 10**15 - 5_000 + 20_000


def test_a_host_clock_that_is_off_or_steps_changes_nothing_and_is_shown(host):
    host.hears(10**15 + HOUR)
    assert host.clock.host_offset_us() == -HOUR
    before = host.clock.now()
    host.wall += 5 * HOUR
    assert host.clock.now() == before and host.clock.host_offset_us() == 4 * HOUR


def test_suspending_the_machine_counts(host):
    host.hears(10**15)
    host.boot += HOUR  # CLOCK_BOOTTIME goes on
    assert host.clock.now() == 10**15 + HOUR


def test_it_never_goes_back_when_the_databases_clock_does(host):
    host.hears(10**15)
    host.passes(10_000_000)
    seen = [host.clock.now()]
    host.hears(10**15 - HOUR)
    for _ in range(10):
        host.passes(1_000_000)
        seen.append(host.clock.now())
    assert seen == sorted(seen)


def test_a_step_back_is_followed_at_half_speed(host):
    host.hears(10**15)
    start = host.clock.now()
    host.hears(10**15 - HOUR)
    host.passes(HOUR)
    assert host.clock.now() == start + HOUR // 2
    host.passes(HOUR)
    assert host.clock.now() == start + HOUR  # the database says so too: it has caught up
    host.passes(10)
    assert host.clock.now() == start + HOUR + 10


def test_a_step_forward_is_followed_at_once(host):
    host.hears(10**15)
    host.hears(10**15 + HOUR)
    assert host.clock.now() == 10**15 + HOUR
