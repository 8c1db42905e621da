"""Membership: one row an incarnation, a lease on it, and every way in which it can end."""

import pytest
from locum.db import members
from locum.db.errors import BadData

from .scene import PROCESS, execute, joined, registered, taken

FAR = 10**12


def new(incarnation, name="m1", lease_us=10_000_000):
    return members.NewMaster(incarnation, name, ("schedulers", "tasks"), "digest", "0.1.0", PROCESS, lease_us)


def end_lease(db, incarnation):
    execute(db, "UPDATE masters SET lease_until = lease_until - :far WHERE incarnation = :i", far=FAR, i=incarnation)


def state(db, incarnation):
    return db.read(members.find, incarnation).state


def beaten(db, incarnation, left_us=10_000_000, running=None):
    return db.single(members.beat, incarnation, left_us, 0, running)


def test_who_joins_is_up_and_what_it_said_can_be_read(db):
    db.write(members.join, new("a"))
    found = db.read(members.find, "a")
    assert (found.name, found.state, found.roles, found.digest) == ("m1", "up", ("schedulers", "tasks"), "digest")
    assert found.process == PROCESS and found.crash_key is None and found.beats == 0
    assert 0 < found.lease_left <= 10_000_000
    assert [m.incarnation for m in db.read(members.living)] == ["a"] == [m.incarnation for m in db.read(members.recent)]
    assert db.read(members.find, "nobody") is None


def test_a_name_has_one_master_at_a_time(db):
    db.write(members.join, new("a"))
    with pytest.raises(BadData):
        db.write(members.join, new("b"))
    assert db.read(members.find, "b") is None
    db.single(members.stopping, "a")
    db.write(members.join, new("b"))
    assert [m.incarnation for m in db.read(members.living)] == ["a", "b"]


def test_rejoining_ends_the_old_incarnation_and_takes_its_unfinished_tasks_along(db):
    db.write(members.join, new("a"))
    for number, task_state in enumerate(("executing", "queued", "executed"), 1):
        execute(
            db,
            "INSERT INTO tasks (id, builder_id, state, submitted_at, incarnation) VALUES (:n, 1, :s, 0, 'a')",
            n=number,
            s=task_state,
        )
    db.write(members.join, new("b"), "a")
    assert (state(db, "a"), state(db, "b")) == ("lost", "up")
    runners = dict(execute(db, "SELECT id, incarnation FROM tasks"))
    assert runners[1] == "b" and runners[3] == "a"


def test_a_beat_extends_the_lease_and_tells_what_is_held(db):
    db.write(members.join, new("a"))
    ids = registered(db, "x", "y", "z")
    end_lease(db, "a")
    before = db.read(members.find, "a")
    beat = beaten(db, "a", running="x")
    assert (beat.held, beat.held_terms, beat.schema_version) == (0, 0, 1)
    after = db.read(members.find, "a")
    assert before.lease_left < 0 < after.lease_left and after.beats == before.beats + 1
    assert abs(beat.now - after.last_beat_at) < 1_000_000
    assert execute(db, "SELECT running FROM masters") == [("x",)]
    terms = taken(db, "a", *ids)
    execute(db, "UPDATE schedulers SET term = 7 WHERE id = :i", i=ids[0])
    beat = beaten(db, "a")
    assert (beat.held, beat.held_terms) == (3, 7 + terms[ids[1]] + terms[ids[2]])


def test_the_lost_and_the_stopped_beat_no_more(db):
    """A master that was given up can wake at any moment, and learns that it is over."""
    db.write(members.join, new("a"))
    assert db.single(members.declare_lost, "a", 0, "silent", lease_ended=False)
    assert beaten(db, "a") is None
    db.write(members.join, new("b"))
    db.single(members.stopped, "b", "bye")
    assert beaten(db, "b") is None
    assert beaten(db, "never was") is None
    assert [m.ended_why for m in db.read(members.recent)] in (["bye", "silent"], ["silent", "bye"])


def test_one_that_is_stopping_still_beats_but_stops_once(db):
    db.write(members.join, new("a"))
    assert db.single(members.stopping, "a")
    assert not db.single(members.stopping, "a")
    assert beaten(db, "a") is not None
    assert db.single(members.stopped, "a", "done")
    assert not db.single(members.stopped, "a", "again")
    assert db.read(members.living) == [] and db.read(members.find, "a").ended_why == "done"


def test_only_an_ended_lease_without_another_beat_is_lost(db):
    db.write(members.join, new("a"))
    assert not db.single(members.declare_lost, "a", 0, "early")  # its lease runs
    end_lease(db, "a")
    assert not db.single(members.declare_lost, "a", 5, "other")  # the watcher counted other beats
    assert db.single(members.declare_lost, "a", 0, "silent")
    assert not db.single(members.declare_lost, "a", 0, "twice")
    assert (state(db, "a"), db.read(members.find, "a").ended_why) == ("lost", "silent")


def test_a_watcher_that_is_certain_need_not_ask_the_lease(db):
    db.write(members.join, new("a"))
    beaten(db, "a")
    assert not db.single(members.declare_lost, "a", 0, "stale", lease_ended=False)
    assert db.single(members.declare_lost, "a", 1, "silent for long", lease_ended=False)


def test_a_crash_is_declared_on_the_very_key_that_was_seen(db):
    db.write(members.join, new("a"))
    assert db.single(members.set_crash_key, "a", 2**62)
    assert db.read(members.find, "a").crash_key == 2**62
    assert not db.single(members.declare_crashed, "a", 5)
    db.single(members.set_crash_key, "a", None)
    assert not db.single(members.declare_crashed, "a", 2**62)  # withdrawn
    db.single(members.set_crash_key, "a", 9)
    assert db.single(members.declare_crashed, "a", 9)
    assert state(db, "a") == "lost"
    assert not db.single(members.set_crash_key, "a", 10)


def test_a_digest_is_that_of_the_configuration_that_runs(db):
    joined(db, "m1")
    db.single(members.set_digest, "m1", "another")
    assert db.read(members.find, "m1").digest == "another"


def test_the_sessions_of_a_label_can_be_ended_and_no_others(db, database_url):
    from ..conftest import opened

    other = opened(database_url, "locum:doomed")
    try:
        other.read(members.living)
        ended = db.single(members.terminate_sessions, "locum:doomed")
        assert ended == (1 if db.dialect == "postgresql" else 0)
        assert db.single(members.terminate_sessions, "locum:nobody") == 0
        assert db.read(members.living) == []
    finally:
        other.close()


@pytest.mark.parametrize("odd", ["a\0b", "\ud800"])
def test_text_that_no_database_keeps_is_refused_at_once(db, odd):
    with pytest.raises(BadData):
        db.write(members.join, new(odd))
    with pytest.raises(BadData):
        db.single(members.beat, "a", 1, 0, odd)
