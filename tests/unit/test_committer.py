"""Group commit: many schedulers' turns together, a culprit alone, and doubt as the end of a term."""

import pytest
from locum.db import holding, members, turns, upgrading
from locum.db.database import Database
from locum.db.effects import Effects, NewBuildset, Stamp
from locum.db.errors import BadData, DatabaseAway, OutcomeUnknown
from locum.db.urls import DatabaseUrl
from locum.master.committer import AT_MOST, FULL, Committer, Committers
from locum.tests.support.reactors import CLOCKS
from locum.tests.support.schedulers import PROCESS, RemoteUnderTest
from twisted.internet.task import Clock


class Scheduler:
    """What the committer sees of a tenure."""

    def __init__(self, committer, name, id_, term):
        self.committer, self.name, self.id, self.term = committer, name, id_, term
        self.pending = None
        self.told = []

    def hands_over(self, **effects):
        self.pending = Effects(self.id, self.term, **effects)
        self.committer.submit(self)

    def take_pending(self):
        taken, self.pending = self.pending, None
        return taken

    def committed(self, answer):
        self.told.append("committed")

    def not_committed(self, why):
        self.told.append(f"not: {why}")

    def refused_data(self, error):
        self.told.append(f"refused: {type(error).__name__}")


class World:
    def __init__(self, path):
        self.clock = Clock()
        self.db = Database(DatabaseUrl.parse(f"sqlite:///{path}", path.parent), clocks=CLOCKS, label="locum:test")
        upgrading.prepare(self.db, migrate=True)
        self.writes = []
        self.remote = RemoteUnderTest(self.db, type("Around", (), {"reactor": self.clock, "in_thread": None})())
        self.remote.trouble = self._noted
        self.trouble = lambda what, function: None
        self.trusted = True
        self.topics = []
        self.committer = Committer(self.clock, self.remote, "m1", lambda: self.trusted, self.topics.append)
        self.db.write(members.join, members.NewMaster("m1", "m1", ("x",), "d", "1", PROCESS, 10**9))

    def _noted(self, what, function):
        if function is turns.commit:
            self.writes.append(what)
        self.trouble(what, function)

    def schedulers(self, count):
        rows = self.db.write(holding.register, [("scheduler", f"s{n:04}", "T") for n in range(count)])
        ids = [row.id for row in sorted(rows.values(), key=lambda r: r.name)]
        self.db.write(holding.stand_by, "m1", [(i, "d") for i in ids])
        terms = {}
        for start in range(0, count, 500):
            terms |= {t.id: t.term for t in self.db.write(holding.take, "m1", ids[start : start + 500], "x")}
        return [Scheduler(self.committer, f"s{n:04}", i, terms[i]) for n, i in enumerate(ids)]

    def settle(self):
        while calls := [c for c in self.clock.getDelayedCalls() if c.getTime() < self.clock.seconds() + 0.02]:
            self.clock.advance(max(0, min(c.getTime() for c in calls) - self.clock.seconds()))

    def state(self, scheduler):
        return self.db.read(holding.load, [scheduler.id])[scheduler.id].state


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path / "l.sqlite")
    yield made
    made.db.close()


def test_what_comes_together_is_written_together(world):
    schedulers = world.schedulers(20)
    for s in schedulers:
        s.hands_over(state={"k": "1"})
    world.settle()
    assert [s.told for s in schedulers] == [["committed"]] * 20
    assert len(world.writes) == 1


def test_a_group_has_an_upper_size(world):
    schedulers = world.schedulers(AT_MOST + 10)
    for s in schedulers:
        s.hands_over()
    world.settle()
    assert len(world.writes) == 2 and all(s.told == ["committed"] for s in schedulers)


def test_whose_term_is_over_hears_so_and_the_others_are_committed(world):
    one, two, three = world.schedulers(3)
    two.term -= 1
    for s in (one, two, three):
        s.hands_over(state={"k": "1"})
    world.settle()
    assert one.told == three.told == ["committed"]
    assert two.told[0].startswith("not: its term is over") and world.state(two) == {}


@pytest.mark.parametrize("former_first", [True, False])
def test_two_terms_of_one_scheduler_are_never_in_one_commit(world, former_first):
    """A term that was over was committed along with its successor's: the fence is told apart by scheduler."""
    now, other = world.schedulers(2)
    former = Scheduler(world.committer, now.name, now.id, now.term - 1)
    for s in (former, now, other) if former_first else (now, other, former):
        s.hands_over(state={"k": '"former"' if s is former else '"now"'})
    world.settle()
    assert former.told[0].startswith("not: its term is over") and len(former.told) == 1
    assert now.told == other.told == ["committed"]
    assert world.state(now) == {"k": '"now"'} and len(world.writes) == 2


def test_without_a_trusted_lease_nothing_is_sent(world):
    (s,) = world.schedulers(1)
    world.trusted = False
    s.hands_over(state={"k": "1"})
    world.settle()
    assert s.told == ["not: the lease is not trusted any more"] and world.writes == []


@pytest.mark.parametrize("error", [DatabaseAway("gone"), OutcomeUnknown("who knows")])
def test_a_database_that_is_away_or_silent_ends_the_terms_of_all_in_the_group(world, error):
    one, two, later = world.schedulers(3)

    def trouble(what, function):
        if function is turns.commit:
            raise error

    world.trouble = trouble
    one.hands_over()
    two.hands_over()
    world.settle()
    world.trouble = lambda what, function: None
    later.hands_over()
    world.settle()
    assert one.told == two.told == [f"not: {error}"] and later.told == ["committed"]


def test_the_one_whose_data_is_refused_is_found_and_everybody_else_is_committed(world):
    schedulers = world.schedulers(16)
    for n, s in enumerate(schedulers):
        s.hands_over(timers={"a\0b" if n == 11 else "t": 5})
    world.settle()
    assert schedulers[11].told == ["refused: BadData"]
    assert all(s.told == ["committed"] for s in schedulers if s is not schedulers[11])
    assert len(world.writes) <= 1 + 2 * 4


def test_a_value_that_does_not_even_reach_the_database_is_found_the_same_way(world):
    one, two = world.schedulers(2)
    one.hands_over(state={"k": object()})
    two.hands_over(state={"k": "1"})
    world.settle()
    assert one.told == ["refused: TypeError"] and two.told == ["committed"]


def test_a_stale_cause_ends_its_own_term_only(world):
    one, two = world.schedulers(2)
    one.hands_over(fired={"never": 1}, timers={"never": None})
    two.hands_over(state={"k": "1"})
    world.settle()
    assert one.told[0].startswith("not: a timer") and two.told == ["committed"]


def buildset(number, branch):
    return NewBuildset(number, "s", "r", "{}", (Stamp.of(branch=branch),), ((number, 1, 0),))


def test_stamps_are_inserted_once_before_and_again_when_they_were_pruned(world):
    (s,) = world.schedulers(1)
    s.hands_over(buildsets=[buildset(1, "main")])
    world.settle()
    execute = lambda sql: world.db.write(lambda conn: conn.exec_driver_sql(sql))  # noqa: E731
    execute("DELETE FROM buildset_sourcestamps")
    execute("DELETE FROM sourcestamps")
    s.hands_over(buildsets=[buildset(2, "main")])
    world.settle()
    assert s.told == ["committed"] * 2
    assert world.topics == [{"tasks"}] * 2


def test_an_answer_lost_while_inserting_stamps_is_harmless(world):
    (s,) = world.schedulers(1)

    def trouble(what, function):
        if function is not turns.commit:
            raise OutcomeUnknown("stamps")

    world.trouble = trouble
    s.hands_over(buildsets=[buildset(1, "main")])
    world.settle()
    assert s.told == ["not: stamps"] and world.writes == []


def test_stopping_waits_for_the_transaction_that_runs_and_begins_no_other(world):
    one, two = world.schedulers(2)
    assert world.committer.stop().called
    one.hands_over()
    world.settle()
    assert one.told == [] and world.writes == []
    running = Committer(world.clock, world.remote, "m1", lambda: True, world.topics.append)
    two.committer = running
    two.hands_over()
    world.clock.advance(0)
    world.clock.advance(0.0)
    stopped = running.stop()
    world.settle()
    assert stopped.called


def test_it_is_full_until_enough_is_committed_and_says_when_there_is_room(world):
    room = []
    both = Committers(
        [
            Committer(
                world.clock, world.remote, "m1", lambda: True, world.topics.append, on_room=lambda: room.append(1)
            )
            for _ in range(2)
        ]
    )
    schedulers = world.schedulers(FULL + 1)
    for s in schedulers[:-2]:
        s.committer = both
        s.hands_over()
    assert not both.is_full()
    for s in schedulers[-2:]:
        s.committer = both
        s.hands_over()
    assert both.is_full()
    world.settle()
    assert not both.is_full() and len(room) == 2
    assert all(s.told == ["committed"] for s in schedulers)


def test_what_is_under_way_counts_as_waiting_and_a_failure_makes_room_too(world):
    one, two = world.schedulers(2)
    seen = []

    def trouble(what, function):
        seen.append(world.committer.waiting)
        raise DatabaseAway("gone")

    world.trouble = trouble
    one.hands_over()
    two.hands_over()
    assert world.committer.waiting == 2
    world.settle()
    assert seen == [2] and world.committer.waiting == 0


def test_refusal_is_of_values_not_of_luck(world):
    (s,) = world.schedulers(1)
    s.hands_over(buildsets=[buildset(1, "half \ud800")])
    world.settle()
    assert s.told in (["refused: BadData"], ["refused: UnicodeEncodeError"])
    assert issubclass(BadData, Exception)
