"""Leases: trusted for less long than others honour them, and others judged only by what was seen."""

import inspect
import shutil

import pytest
from locum.db import members
from locum.db.database import Database, HostClocks
from locum.db.errors import DatabaseAway
from locum.db.urls import DatabaseUrl
from locum.master.clock import DatabaseClock
from locum.master.membership import LeaseTimes, Membership, wait_for_name
from locum.master.surroundings import Surroundings
from locum.tests.support.schedulers import PROCESS, RemoteUnderTest
from sqlalchemy import text
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

TIMES = LeaseTimes(10.0, 2.0, 1.0)


class Host:
    """Machines that share one clock and one database; ``join`` starts a master."""

    def __init__(self, path):
        self.reactor = Clock()
        clocks = HostClocks(lambda: 10**15 + self._us(), lambda: 10**9 + self._us())
        self.db = Database(DatabaseUrl.parse(f"sqlite:///{path}", path.parent), clocks=clocks, label="locum:test")
        self.surroundings = Surroundings(self.reactor, clocks, execute, None)
        self.all = []

    def _us(self):
        return round(self.reactor.seconds() * 1e6)

    def join(self, name):
        master = Master(self, name)
        self.all.append(master)
        self.advance(0)
        return master

    def advance(self, seconds):
        end = self.reactor.seconds() + seconds
        while calls := [c.getTime() for c in self.reactor.getDelayedCalls() if c.getTime() <= end]:
            self.reactor.advance(max(0.0, min(calls) - self.reactor.seconds()))
        self.reactor.advance(end - self.reactor.seconds())

    def state(self, name):
        return self.db.read(members.find, name).state

    def sql(self, statement):
        self.db.write(lambda conn: conn.execute(text(statement)))


class Master:
    def __init__(self, host, name):
        self.name, self.host = name, host
        self.remote = RemoteUnderTest(host.db, host.surroundings)
        self.clock = DatabaseClock(host.surroundings)
        self.over, self.peers_lost, self.beats = [], [], 0
        asked = host.surroundings.boottime()
        new = members.NewMaster(name, name, ("x",), "d", "1", PROCESS, int(TIMES.lease_s * 1e6))
        host.db.write(members.join, new)
        given = {
            "surroundings": host.surroundings,
            "remote": self.remote,
            "incarnation": name,
            "times": TIMES,
            "clock": self.clock,
            "running": lambda: None,
            "on_beat": self._beaten,
            "on_lost": self._ended,
            "on_outdated": self._ended,
            "on_peer_lost": lambda master: self.peers_lost.append(master.name),
            "on_members": lambda found: None,
            "proved_dead": lambda process: "",
        }
        wanted = inspect.signature(Membership).parameters
        self.membership = Membership(**{key: value for key, value in given.items() if key in wanted})
        self.membership.start(asked)

    def _beaten(self, beat):
        self.beats += 1

    def _ended(self, why):
        self.over.append(why)
        self.membership.stop()

    def die(self):
        """Its process is gone."""
        self.membership.stop()

    def loses_the_database(self):
        def trouble(what, function):
            raise DatabaseAway("gone")

        self.remote.trouble = trouble

    def has_it_back(self):
        self.remote.trouble = lambda what, function: None


@pytest.fixture
def host(tmp_path, _sqlite_template):
    path = tmp_path / "l.sqlite"
    shutil.copy(_sqlite_template, path)
    made = Host(path)
    yield made
    for master in made.all:
        master.die()
    made.db.close()


def test_a_master_that_beats_is_good_and_nobody_judges_it(host):
    one, two = host.join("one"), host.join("two")
    host.advance(120)
    assert one.membership.good() and two.membership.good()
    assert one.beats >= 60 and one.peers_lost == two.peers_lost == [] and one.clock.known


def test_trust_ends_a_margin_before_the_lease_counted_from_before_the_beat_was_asked_for(host):
    one = host.join("one")
    host.advance(2)
    one.loses_the_database()
    host.advance(8.9)
    assert one.membership.good() and one.over == []
    host.advance(0.2)
    assert not one.membership.good() and one.over == ["its lease could not be renewed in time"]
    assert host.state("one") == "up"  # its lease has not ended yet: it stops before anybody else may start
    host.advance(60)
    assert len(one.over) == 1


def test_an_answer_that_comes_late_lengthens_no_trust(host):
    one = host.join("one")
    answers = []
    real = one.remote.single
    one.remote.single = lambda *args: answers.append((Deferred(), args)) or answers[-1][0]
    host.advance(2)
    answer, args = answers[0]
    asked_at = host.surroundings.boottime()
    host.advance(5)
    real(*args).chainDeferred(answer)
    host.advance(0)
    assert one.membership.trusted_until == pytest.approx(asked_at + 9)


def test_a_database_that_comes_back_in_time_costs_nothing(host):
    one, two = host.join("one"), host.join("two")
    host.advance(4)
    for master in (one, two):
        master.loses_the_database()
    host.advance(7)
    for master in (one, two):
        master.has_it_back()
    host.advance(30)
    assert one.over == two.over == [] and one.peers_lost == two.peers_lost == []


def test_the_lost_one_learns_it_at_its_next_beat(host):
    one = host.join("one")
    host.sql("UPDATE masters SET state = 'lost'")
    host.advance(2)
    assert one.over == ["it was declared lost"]


def test_a_schema_that_is_too_new_makes_it_stand_down_with_the_reason(host):
    one = host.join("one")
    host.sql("UPDATE cluster SET oldest_compatible = 9, schema_version = 9")
    host.advance(2)
    assert len(one.over) == 1 and "9" in one.over[0] and not one.membership.good()


def test_a_dead_master_is_lost_once_its_lease_has_ended_and_it_was_silent(host):
    one, two = host.join("one"), host.join("two")
    host.advance(20)
    two.die()
    host.advance(9)
    assert host.state("two") == "up"
    host.advance(4.1)  # lease + heartbeat + 1 s after its last beat at most
    assert host.state("two") == "lost" and one.peers_lost == ["two"] and one.membership.good()


def test_of_several_watchers_one_declares_it(host):
    watchers = [host.join(f"w{n}") for n in range(4)]
    dead = host.join("dead")
    host.advance(5)
    dead.die()
    host.advance(20)
    assert sorted(name for w in watchers for name in w.peers_lost) == ["dead"]


def test_a_watcher_that_was_cut_off_counts_silence_from_its_own_first_beat_after(host):
    one, two = host.join("one"), host.join("two")
    host.advance(4)
    for master in (one, two):
        master.loses_the_database()
    host.advance(7.5)
    two.die()
    host.sql("UPDATE masters SET lease_until = 0 WHERE name = 'two'")
    one.has_it_back()
    host.advance(1.5)
    assert one.membership.good() and host.state("two") == "up"  # the database may have been away for all
    host.advance(4)
    assert host.state("two") == "lost"


def test_a_watcher_whose_own_lease_is_not_good_judges_nobody(host):
    one, two = host.join("one"), host.join("two")
    host.advance(4)
    two.die()
    host.reactor.rightNow += 60  # the watcher was frozen
    host.advance(0)
    assert host.state("two") == "up" and one.peers_lost == []


def test_a_step_of_the_databases_clock_makes_nobody_lost_who_still_beats(host):
    one, two = host.join("one"), host.join("two")
    for _ in range(20):
        host.sql("UPDATE masters SET lease_until = lease_until - 3600000000")
        host.advance(1.9)
    assert host.state("one") == host.state("two") == "up"
    assert one.peers_lost == two.peers_lost == []


def test_a_lease_that_never_ends_by_a_clock_that_went_back_does_not_protect_the_dead(host):
    one, two = host.join("one"), host.join("two")
    host.advance(4)
    two.die()
    host.sql("UPDATE masters SET lease_until = lease_until + 3600000000 WHERE name = 'two'")
    host.advance(14)
    assert one.peers_lost == ["two"]


def test_other_times_count_from_the_next_beat_on(host):
    one = host.join("one")
    one.membership.retime(LeaseTimes(30.0, 5.0, 1.0))
    host.advance(0)
    assert one.membership.trusted_until == pytest.approx(host.surroundings.boottime() + 29)
    beats = one.beats
    host.advance(20)
    assert one.beats - beats == 4


# -- a name that is taken


def waiting(host, name):
    remote = RemoteUnderTest(host.db, host.surroundings)

    def pause(seconds):
        later = Deferred()
        host.reactor.callLater(seconds, later.callback, None)
        return later

    return Deferred.fromCoroutine(wait_for_name(remote, host.surroundings, name, TIMES, pause))


def test_a_name_that_nobody_has_is_free_at_once(host):
    found = waiting(host, "one")
    host.advance(0)
    assert found.result is None


def test_a_name_whose_master_beats_is_refused_with_its_place(host):
    host.join("one")
    found = waiting(host, "one")
    host.advance(3)
    assert "a master named 'one' is running on host (pid 1)" in found.result


def test_a_name_whose_master_is_silent_for_lease_and_heartbeat_is_taken_over(host):
    host.join("one").die()
    found = waiting(host, "one")
    host.advance(11)
    assert not found.called
    host.advance(2)
    assert found.result is None and host.state("one") == "lost"


def test_a_name_whose_master_leaves_meanwhile_is_free(host):
    one = host.join("one")
    found = waiting(host, "one")
    one.die()
    host.sql("UPDATE masters SET state = 'stopped'")
    host.advance(1)
    assert found.result is None
