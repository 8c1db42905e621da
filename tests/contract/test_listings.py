"""What people see of the cluster, in few statements however many schedulers there are."""

import json

import pytest
from locum.db import listings, members, requested, task_views, turns
from locum.db.effects import Effects, NewBuildset, Stamp
from locum.db.naming import NotFound
from sqlalchemy import event

from .scene import change_numbers, execute, joined, refused, registered, standing_by, taken


def statements(db, function, *args):
    seen = []
    engine = db._engine
    listen = lambda *a: seen.append(a[2])  # noqa: E731
    event.listen(engine, "before_cursor_execute", listen)
    try:
        db.read(function, *args)
    finally:
        event.remove(engine, "before_cursor_execute", listen)
    return len(seen)


def a_buildset(db, number, *, scheduler="quick", due_at=None, changes=()):
    stamp = Stamp.of(repository="r", branch="main", revision=f"rev{number}")
    (quick,) = registered(db, scheduler)
    execute(db, "INSERT INTO builders (name) VALUES ('unit') ON CONFLICT (name) DO NOTHING")
    builder = execute(db, "SELECT id FROM builders WHERE name = 'unit'")[0][0]
    db.write(turns.add_stamps, [stamp])
    properties = json.dumps({"scheduler": ["quick", "Scheduler"]})
    new = NewBuildset(
        number, scheduler, "why", properties, (stamp,), ((number * 10, builder, 0),), changes=changes, due_at=due_at
    )
    execute(db, "UPDATE schedulers SET incarnation = 'm1', term = 1 WHERE id = :id", id=quick)
    assert refused(db, "m1", Effects(quick, 1, buildsets=[new])) == frozenset()


def test_an_empty_cluster_is_listed(db):
    found = db.read(listings.cluster)
    assert (found.masters, found.schedulers, found.newest_change) == ([], [], 0)
    assert found.cluster_id and found.now > 1_600_000_000_000_000


def test_a_master_is_shown_with_its_lease_on_the_wall_clock(db):
    joined(db, "m1", lease_s=60)
    (m,) = db.read(listings.masters)
    now = db.read(listings.now)
    assert (m.name, m.state, m.roles, m.acts, m.holds, m.pid) == ("m1", "up", ("schedulers", "tasks"), True, 0, 1)
    assert 50e6 < m.lease_until - now <= 60e6
    assert 50e6 < m.lease_left <= 60e6


def test_of_masters_that_ended_only_the_last_of_each_name_without_a_living_one_is_shown(db):
    for incarnation in ("a1", "a2", "b1"):
        new = members.NewMaster(
            incarnation, incarnation[0], ("tasks",), "d", "1", members.Process("h", "m", "b", 1, 1), 10**7
        )
        db.write(members.join, new)
        if incarnation == "a1":
            db.single(members.stopped, "a1", "by itself")
    db.single(members.stopped, "b1", "by itself")
    assert [(m.incarnation, m.state) for m in db.read(listings.masters)] == [("a2", "up"), ("b1", "stopped")]


def test_a_scheduler_is_shown_with_holder_standby_timers_and_failures(db):
    quick, other = registered(db, "quick", "other")
    term = taken(db, joined(db, "m1"), quick)[quick]
    joined(db, "m2")
    standing_by(db, "m2", quick, digest="e")
    for key, due in (("late", 9), ("soon", 5)):
        execute(db, "INSERT INTO timers (scheduler_id, key, due) VALUES (:i, :k, :d)", i=quick, k=key, d=due)
    execute(
        db,
        "INSERT INTO failures (scheduler_id, cause, detail_json, attempts, first_at, last_at, retry_at, error)"
        " VALUES (:i, 'change:1', '{}', 1, 1, 1, NULL, ''), (:i, 'change:2', '{}', 1, 1, 1, 5, '')",
        i=quick,
    )
    unheld, held = db.read(listings.schedulers)
    assert (held.id, held.master, held.held, held.term) == (quick, "m1", True, term)
    assert (held.next_due, held.timers, held.failures, held.set_aside) == (5, 2, 2, 1)
    assert held.standby == ("m2",) and held.digests == {"m1": "d", "m2": "e"}
    assert (unheld.id, unheld.master, unheld.held, unheld.standby, unheld.next_due) == (other, None, False, (), None)
    assert [t.key for t in db.read(listings.timers, quick)] == ["soon", "late"]
    assert [(t.key, t.master) for t in db.read(listings.timers, None, 1)] == [("soon", "m1")]


def test_a_scheduler_of_a_lost_master_is_nobodys_since_then(db):
    (quick,) = registered(db, "quick")
    taken(db, joined(db, "m1"), quick)
    db.single(members.stopped, "m1", "its process ended")
    (line,) = db.read(listings.schedulers)
    assert (line.master, line.held, line.unheld_why) == (None, False, "its process ended")
    assert line.unheld_since is not None and line.standby == ()


def test_one_scheduler_is_shown_in_full(db):
    (quick,) = registered(db, "quick")
    taken(db, joined(db, "m1"), quick)
    execute(db, "INSERT INTO scheduler_state (scheduler_id, key, value_json) VALUES (:i, 'k', '[1]')", i=quick)
    page = db.read(listings.scheduler, "quick")
    assert page.state == {"k": "[1]"}
    assert [(o.master, o.why) for o in page.owners] == [("m1", "test")]
    assert [(o.turns, o.until) for o in page.owners] == [(0, None)]
    with pytest.raises(NotFound):
        db.read(listings.scheduler, "nobody")


def test_a_thousand_schedulers_cost_as_many_statements_as_one(db):
    registered(db, "one")
    joined(db, "m1")
    few = statements(db, listings.cluster)
    ids = registered(db, *(f"s{i}" for i in range(1000)))
    standing_by(db, "m1", *ids)
    assert statements(db, listings.cluster) == few < 12


def test_buildsets_are_listed_whole_newest_first(db):
    joined(db, "m1")
    numbers = change_numbers(db, "a", "b")
    a_buildset(db, 1, changes=tuple(numbers.values()))
    a_buildset(db, 2, due_at=77)
    a_buildset(db, 3, scheduler="other")
    found = db.read(requested.newest, 10)
    assert [b.id for b in found] == [3, 2, 1]
    first = found[2]
    assert first.changes == [1, 2] and first.result is None and first.properties["scheduler"] == ["quick", "Scheduler"]
    assert [(s.branch, s.revision) for s in first.sourcestamps] == [("main", "rev1")]
    assert [(t.id, t.builder, t.state, t.result) for t in first.tasks] == [(10, "unit", "queued", None)]
    assert found[1].due_at == 77
    assert [b.id for b in db.read(requested.newest, 1)] == [3]
    assert [b.id for b in db.read(requested.newest, 10, "quick")] == [2, 1]
    assert db.read(requested.one, 1) == first
    assert statements(db, requested.newest, 10) == statements(db, requested.newest, 1)
    # Each master hands out ids of blocks of its own: the one with the older block may take over.
    execute(db, "UPDATE buildsets SET submitted_at = submitted_at + 1000000 WHERE id = 2")
    execute(db, "UPDATE tasks SET submitted_at = submitted_at + 1000000 WHERE id = 10")
    assert [b.id for b in db.read(requested.newest, 10)] == [2, 3, 1]
    assert [b.id for b in db.read(requested.newest, 10, "quick")] == [2, 1]
    assert next(t.id for t in db.read(task_views.listing)) == 10


def test_a_buildset_that_does_not_exist_is_not_found(db):
    with pytest.raises(NotFound):
        db.read(requested.one, 9)
    assert db.read(requested.newest, 9) == []
