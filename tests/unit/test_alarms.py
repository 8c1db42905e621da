"""When alarms ring: in order, each once, and not while too much waits for its commit."""

import pytest
from locum.db.database import HostClocks
from locum.master.alarms import SLICE, Alarms
from locum.master.clock import DatabaseClock
from locum.master.surroundings import Surroundings
from twisted.internet.task import Clock


class Sleeper:
    def __init__(self):
        self.told = []

    def timer_due(self, key, due):
        self.told.append((key, due))


class World:
    def __init__(self):
        self.reactor = Clock()
        now_us = lambda: 10**15 + round(self.reactor.seconds() * 1e6)  # noqa: E731
        self.clock = DatabaseClock(Surroundings(None, HostClocks(now_us, now_us), None, None))
        self.clock.heard(now_us(), now_us(), now_us())
        self.full = False
        self.alarms = Alarms(self.reactor, self.clock, is_full=lambda: self.full)
        self.sleeper = Sleeper()

    def pass_s(self, seconds):
        self.reactor.advance(seconds)
        for _ in range(10):
            self.reactor.advance(0)


@pytest.fixture
def world():
    return World()


def test_each_rings_once_in_the_order_of_due_times(world):
    start = world.clock.now()
    for seconds in (3, 1, 2):
        world.alarms.set(world.sleeper, f"t{seconds}", start + seconds * 10**6)
    world.pass_s(2.5)
    assert [key for key, _ in world.sleeper.told] == ["t1", "t2"]
    world.pass_s(10)
    assert [key for key, _ in world.sleeper.told] == ["t1", "t2", "t3"]


def test_while_too_much_waits_for_its_commit_what_is_due_waits_here(world):
    start = world.clock.now()
    for n in range(5):
        world.alarms.set(world.sleeper, str(n), start + 10**6)
    world.full = True
    world.pass_s(1)
    assert len(world.sleeper.told) == 1  # then it is full
    world.alarms.set(world.sleeper, "sooner", start)
    world.alarms.rearm()
    world.pass_s(100)
    assert len(world.sleeper.told) == 1
    world.alarms.go_on()  # one group is committed, and there is room for one
    world.pass_s(0)
    assert len(world.sleeper.told) == 2
    world.full = False
    world.alarms.go_on()
    world.pass_s(0)
    assert sorted(key for key, _ in world.sleeper.told) == ["0", "1", "2", "3", "4", "sooner"]


def test_room_that_nobody_waits_for_changes_nothing(world):
    start = world.clock.now()
    for n in range(SLICE + 5):
        world.alarms.set(world.sleeper, str(n), start + 10**6)
    world.alarms.go_on()
    world.pass_s(0.5)
    assert world.sleeper.told == []
    world.pass_s(0.5)
    assert len(world.sleeper.told) == SLICE + 5


def test_after_the_stop_nobody_is_woken(world):
    world.alarms.set(world.sleeper, "t", world.clock.now() + 10**6)
    world.full = True
    world.alarms.stop()
    world.alarms.go_on()
    world.pass_s(5)
    assert world.sleeper.told == [] and not world.reactor.getDelayedCalls()
