"""What code written for Buildbot asks, on every database."""

from locum.db import records

from .scene import change_numbers, execute, joined
from .test_listings import a_buildset


def finished(db, buildset, number, result="success"):
    execute(
        db,
        "UPDATE tasks SET state = 'executed', result = :r, finished_at = 5 WHERE buildset_id = :b",
        b=buildset,
        r=result,
    )
    execute(
        db,
        "UPDATE buildsets SET result = :r, completed_at = 5, finished_number = :n, tasks_left = 0 WHERE id = :b",
        **{"b": buildset, "n": number, "r": result},
    )
    execute(db, "UPDATE counters SET value = :n WHERE name = 'finished'", n=number)


def test_buildsets_and_their_tasks_are_found_by_id_or_as_the_newest(db):
    joined(db, "m1")
    (change,) = change_numbers(db, "a").values()
    a_buildset(db, 1, changes=(change,))
    a_buildset(db, 2)
    finished(db, 1, 1)
    one, two = db.read(records.buildsets, None, 10)
    assert (one.id, one.result, one.completed_at, one.changes, one.reason) == (1, "success", 5, [1], "why")
    assert (two.id, two.result, two.parent, two.properties) == (2, None, {}, {"scheduler": ["quick", "Scheduler"]})
    assert [stamp.revision for stamp in one.stamps] == ["rev1"] and one.scheduler == "quick"
    assert [b.id for b in db.read(records.buildsets, None, 1)] == [2]
    assert [b.id for b in db.read(records.buildsets, [2, 1, 7], 1)] == [1, 2]
    assert db.read(records.buildsets, [], 10) == []
    assert [(t.id, t.ended, t.builder, t.waited_for) for t in db.read(records.tasks, None, None, None, 10)] == [
        (10, True, "unit", False),
        (20, False, "unit", False),
    ]
    builder = db.read(records.tasks, [20], None, None, 1)[0].builder_id
    assert [t.id for t in db.read(records.tasks, None, None, builder, 1)] == [20]
    assert [t.id for t in db.read(records.tasks, None, 1, None, 10)] == [10]
    assert db.read(records.tasks, None, 7, None, 10) == [] == db.read(records.tasks, [7], None, None, 10)


def test_how_far_everything_is_tells_of_open_buildsets_and_what_finished_is_told_in_order(db):
    joined(db, "m1")
    assert db.read(records.how_far) == records.HowFar(0, 0, [])
    change_numbers(db, "a", "b")
    for number in (1, 2, 3):
        a_buildset(db, number)
    assert db.read(records.how_far) == records.HowFar(2, 0, [(10, 1, False), (20, 2, False), (30, 3, False)])
    finished(db, 2, 1)
    finished(db, 1, 2)
    assert db.read(records.how_far) == records.HowFar(2, 2, [(30, 3, False)])
    assert db.read(records.finished_tasks, 0, 10) == [(1, 2, [20]), (2, 1, [10])]
    assert db.read(records.finished_tasks, 1, 10) == [(2, 1, [10])]
    assert db.read(records.finished_tasks, 0, 1) == [(1, 2, [20])]
