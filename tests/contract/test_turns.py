"""Turns committed in groups: fenced by their terms, each cause consumed once, all of a turn or nothing of it."""

import pytest
from locum.db import buildsets, changes, holding, orders, requested, turns
from locum.db.effects import Effects, NewBuildset, NewFailure, NewSkip, Stamp
from locum.db.errors import BadData

from .scene import a_change, change_numbers, execute, joined, registered, taken

STAMP = Stamp.of(codebase="", repository="git", branch="main", revision="r")


def commit(db, *group, me="m1"):
    db.write(turns.add_stamps, [s for e in group for b in e.buildsets for s in b.stamps])
    return db.write(turns.commit, me, list(group))


def buildset(db, **fields):
    (number,) = db.single(turns.reserve, "buildsets", 1)
    values = {"reason": "r", "properties_json": "{}", "stamps": (STAMP,), "tasks": (), "scheduler": "s", **fields}
    return NewBuildset(id=number, **values)


def timers(db, scheduler_id):
    rows = execute(db, "SELECT key, due FROM timers WHERE scheduler_id = :i ORDER BY key", i=scheduler_id)
    return dict(rows)


def loaded(db, scheduler_id):
    return db.read(holding.load, [scheduler_id])[scheduler_id]


def cursors(db, scheduler_id):
    return execute(db, "SELECT change_cursor, finished_cursor, turns FROM schedulers WHERE id = :i", i=scheduler_id)[0]


@pytest.fixture
def held(db):
    """(id, term) of a scheduler that master m1 holds."""
    (s,) = registered(db, "s")
    return s, taken(db, joined(db, "m1"), s)[s]


# -- the fence


def test_a_turn_under_another_term_or_of_another_incarnation_is_refused(db, held):
    s, term = held
    for me, wrong in (("m1", term - 1), ("m1", term + 1), ("m2", term)):
        answer = commit(db, Effects(s, wrong, state={"k": "1"}), me=me)
        assert answer.refused == {s}
    assert commit(db, Effects(s + 1000, 1)).refused == {s + 1000}
    assert loaded(db, s).state == {} and cursors(db, s)[2] == 0


def test_what_is_refused_leaves_nothing_and_what_is_not_is_all_there_in_one_group(db):
    one, two, three = registered(db, "a", "b", "c")
    joined(db, "m1")
    terms = taken(db, "m1", one, two, three)
    db.write(orders.disable, "b", "noisy", "ann")
    group = [
        Effects(
            i,
            terms[i],
            state={"k": '"v"'},
            timers={"t": 5},
            buildsets=[buildset(db, tasks=((i, 1, 0),))],
            skips=[NewSkip("ticks", 1, 2, 2, "why")],
            changes=[a_change(f"r{i}")],
            begin_changes=True,
        )
        for i in (one, two, three)
    ]
    answer = commit(db, *group)
    assert answer.refused == {two}
    for i, there in ((one, True), (two, False), (three, True)):
        assert bool(loaded(db, i).state) == bool(timers(db, i)) == there
        assert len(execute(db, "SELECT 1 FROM buildsets WHERE scheduler_id = :i", i=i)) == there
        assert len(execute(db, "SELECT 1 FROM tasks WHERE id = :i", i=i)) == there
        assert len(execute(db, "SELECT 1 FROM skips WHERE scheduler_id = :i", i=i)) == there
        assert len(execute(db, "SELECT 1 FROM changes WHERE request_id = :r", r=f"r{i}")) == there
        assert (cursors(db, i)[0] is not None) == there


def test_a_group_that_is_refused_whole_changes_nothing(db, held):
    s, term = held
    assert commit(db, Effects(s, term + 1, state={"k": "1"}), me="m1") == turns.Committed(frozenset({s}), None, None)


def test_the_moment_of_disabling_is_the_moment_from_which_nothing_commits(db, held):
    s, term = held
    assert not commit(db, Effects(s, term, state={"k": "1"})).refused
    db.write(orders.disable, "s", "noisy", "ann")
    assert commit(db, Effects(s, term, state={"k": "2"})).refused == {s}
    db.write(orders.enable, "s", "ann")
    assert commit(db, Effects(s, term, state={"k": "3"})).refused == {s}
    assert loaded(db, s).state == {"k": "1"}


# -- timers


def test_timers_are_set_moved_and_cancelled(db, held):
    s, term = held
    commit(db, Effects(s, term, timers={"a": 1, "b": 2}))
    commit(db, Effects(s, term, timers={"a": 10, "b": None, "never": None}))
    assert timers(db, s) == {"a": 10}


def test_a_fired_timer_is_consumed_by_compare_and_set(db, held):
    s, term = held
    commit(db, Effects(s, term, timers={"a": 1, "b": 2}))
    commit(db, Effects(s, term, fired={"a": 1}, timers={"a": None}))
    commit(db, Effects(s, term, fired={"b": 2}, timers={"b": 20}))
    assert timers(db, s) == {"b": 20}
    for stale in (
        Effects(s, term, fired={"a": 1}, timers={"a": None}, state={"k": "1"}),
        Effects(s, term, fired={"b": 2}, timers={"b": 30}, state={"k": "1"}),
        Effects(s, term, fired={"b": 2}, timers={"b": None}, state={"k": "1"}),
    ):
        with pytest.raises(turns.CauseGone) as gone:
            commit(db, stale)
        assert gone.value.scheduler_ids == {s}
    assert timers(db, s) == {"b": 20} and loaded(db, s).state == {}


def test_a_cause_that_is_gone_names_its_scheduler_and_spares_the_others_nothing_yet(db):
    one, two = registered(db, "a", "b")
    terms = taken(db, joined(db, "m1"), one, two)
    good = Effects(one, terms[one], state={"k": "1"})
    with pytest.raises(turns.CauseGone) as gone:
        commit(db, good, Effects(two, terms[two], fired={"x": 1}, timers={"x": None}))
    assert gone.value.scheduler_ids == {two}
    assert loaded(db, one).state == {}  # the transaction was rolled back: commit it again without the other
    assert not commit(db, good).refused


# -- merging


def merged(*effects):
    first, *later = effects
    for one in later:
        first.merge(one)
    return first


def test_a_timer_that_was_set_and_fires_within_one_group_needs_no_row(db, held):
    s, term = held
    whole = merged(
        Effects(s, term, timers={"a": 5}),
        Effects(s, term, fired={"a": 5}, timers={"a": None}, state={"k": "1"}),
    )
    assert (whole.turns, whole.fired, whole.timers) == (2, {}, {"a": None})
    commit(db, whole)
    assert timers(db, s) == {} and loaded(db, s).state == {"k": "1"} and cursors(db, s)[2] == 2


def test_a_timer_that_fires_over_and_over_within_one_group_moves_from_its_first_due_time_to_its_last(db, held):
    s, term = held
    commit(db, Effects(s, term, timers={"a": 1}))
    whole = merged(*(Effects(s, term, fired={"a": n}, timers={"a": n + 1}) for n in range(1, 5)))
    assert (whole.fired, whole.timers) == ({"a": 1}, {"a": 5})
    commit(db, whole)
    assert timers(db, s) == {"a": 5}


def test_a_timer_that_fires_is_cancelled_and_set_again_within_one_group(db, held):
    s, term = held
    commit(db, Effects(s, term, timers={"a": 1}))
    commit(
        db,
        merged(
            Effects(s, term, fired={"a": 1}, timers={"a": None}),
            Effects(s, term, timers={"a": 9}),
        ),
    )
    assert timers(db, s) == {"a": 9}
    with pytest.raises(turns.CauseGone):
        commit(
            db,
            merged(Effects(s, term, fired={"a": 1}, timers={"a": None}), Effects(s, term, timers={"a": 10})),
        )
    assert timers(db, s) == {"a": 9}


def test_cursors_merge_from_the_first_start_to_the_last_end():
    whole = merged(
        Effects(1, 1),
        Effects(1, 1, change_cursor=(3, 5)),
        Effects(1, 1, change_cursor=(5, 9), finished_cursor=(0, 1)),
        Effects(1, 1),
    )
    assert (whole.change_cursor, whole.finished_cursor) == ((3, 9), (0, 1))


def test_of_what_later_turns_say_about_the_same_thing_the_last_counts():
    failure = NewFailure("{}", 1, 5, "oh")
    whole = merged(
        Effects(1, 1, state={"k": "1", "x": "0"}, classified={4: True}, failures={"c": failure, "d": None}),
        Effects(1, 1, state={"k": "2"}, classified={4: None, 5: False}, failures={"c": None, "d": failure}),
    )
    assert whole.state == {"k": "2", "x": "0"}
    assert whole.classified == {4: None, 5: False}
    assert whole.failures == {"c": None, "d": failure}


# -- changes and finished buildsets as causes


def test_a_scheduler_begins_with_the_changes_after_the_commit_in_which_it_began(db, held):
    s, term = held
    change_numbers(db, "a", "b", "c")
    answer = commit(db, Effects(s, term, begin_changes=True, begin_finished=True))
    assert (answer.change_start, answer.finished_start) == (3, 0)
    assert cursors(db, s)[:2] == (3, 0)
    change_numbers(db, "d")
    commit(db, Effects(s, term, begin_changes=True))
    assert cursors(db, s)[0] == 3  # it began once


def test_a_change_that_is_added_in_the_turn_that_begins_is_not_for_it(db, held):
    s, term = held
    answer = commit(db, Effects(s, term, begin_changes=True, changes=[a_change("own")]))
    assert answer.change_start == 1 == cursors(db, s)[0]


def test_cursors_are_consumed_by_compare_and_set(db, held):
    s, term = held
    change_numbers(db, "a", "b", "c", "d")
    execute(db, "UPDATE schedulers SET change_cursor = 1, finished_cursor = 0 WHERE id = :i", i=s)
    commit(db, Effects(s, term, change_cursor=(1, 3)))
    assert cursors(db, s)[:2] == (3, 0)
    for stale in (
        Effects(s, term, change_cursor=(1, 4), state={"k": "1"}),
        Effects(s, term, finished_cursor=(5, 6), state={"k": "1"}),
        Effects(s, term, change_cursor=(3, 4), finished_cursor=(5, 6), state={"k": "1"}),
    ):
        with pytest.raises(turns.CauseGone, match="a change or finished buildset"):
            commit(db, stale)
    assert cursors(db, s)[:2] == (3, 0) and loaded(db, s).state == {}


# -- messages


def message(db, scheduler_id, number):
    execute(
        db,
        "INSERT INTO messages (id, scheduler_id, key, kind, body_json, made_at) VALUES (:n, :s, :k, 'force', '{}', 0)",
        n=number,
        s=scheduler_id,
        k=f"k{number}",
    )


def test_a_message_is_answered_once_and_only_by_its_own_scheduler(db):
    one, two = registered(db, "a", "b")
    terms = taken(db, joined(db, "m1"), one, two)
    message(db, one, 1), message(db, two, 2)
    commit(db, Effects(one, terms[one], answers=[(1, '{"buildset": 7}')]))
    assert execute(db, "SELECT answer_json FROM messages ORDER BY id") == [('{"buildset": 7}',), (None,)]
    for answers in ([(1, "again")], [(2, "not mine")], [(99, "never was")]):
        with pytest.raises(turns.CauseGone, match="a message"):
            commit(db, Effects(one, terms[one], answers=answers, state={"k": "1"}))
    assert loaded(db, one).state == {}


# -- what is kept


def test_state_classifications_failures_and_skips_are_kept_replaced_and_removed(db, held):
    s, term = held
    failure = NewFailure('{"change": 3}', 1, 2_000_000, "ValueError: oh")
    commit(
        db,
        Effects(
            s,
            term,
            state={"a": "1", "b": '"ü \\u0000"'},
            classified={3: True, 4: False},
            failures={"change:3": failure},
            skips=[NewSkip("ticks", 10, 30, 3, "it was disabled")],
        ),
    )
    first = loaded(db, s)
    assert first.state == {"a": "1", "b": '"ü \\u0000"'} and first.classified == {3: True, 4: False}
    commit(
        db,
        Effects(
            s,
            term,
            state={"a": "2"},
            classified={3: False, 4: None, 5: None},
            failures={"change:3": NewFailure("{}", 2, None, "again")},
        ),
    )
    second = loaded(db, s)
    assert second.state == {"a": "2", "b": first.state["b"]} and second.classified == {3: False}
    assert second.failures == {"change:3": (2, None, "{}")}
    commit(db, Effects(s, term, failures={"change:3": None, "never": None}))
    assert loaded(db, s).failures == {}
    assert execute(db, "SELECT what, first, last, count, reason FROM skips") == [
        ("ticks", 10, 30, 3, "it was disabled")
    ]


def test_a_turn_is_counted_and_a_note_is_not(db, held):
    s, term = held
    commit(db, Effects(s, term), Effects(s + 99, 1))
    commit(db, Effects(s, term, turns=5))
    commit(db, Effects(s, term, turns=0, failures={"c": NewFailure("{}", 1, None, "x")}))
    assert cursors(db, s)[2] == 6


# -- buildsets


def test_a_buildset_has_its_stamps_changes_tasks_and_properties(db, held):
    s, term = held
    (builder,) = [7]
    tasks = tuple((t, builder, 3) for t in db.single(turns.reserve, "tasks", 2))
    other = Stamp.of(codebase="lib", branch=None)
    new = buildset(
        db,
        tasks=tasks,
        stamps=(STAMP, other),
        changes=(4, 5),
        due_at=123,
        external_id="x",
        waited_for=True,
        parent_json='{"parent_buildid": 1}',
        properties_json='{"p": [1, "Scheduler"]}',
    )
    commit(db, Effects(s, term, buildsets=[new]))
    line = db.read(requested.one, new.id)
    assert (line.scheduler, line.term, line.reason, line.due_at, line.external_id) == ("s", term, "r", 123, "x")
    assert line.changes == [4, 5] and len(line.tasks) == 2 and line.result is None
    assert sorted((x.codebase, x.branch) for x in line.sourcestamps) == [("", "main"), ("lib", None)]
    rows = execute(db, "SELECT state, priority, attempt, builder_id FROM tasks ORDER BY id")
    assert rows == [("queued", 3, 0, 7)] * 2
    (row,) = execute(db, "SELECT tasks_left, waited_for, incarnation, scheduler_id FROM buildsets")
    assert (row[0], bool(row[1]), row[2], row[3]) == (2, True, "m1", s)


def test_a_tick_makes_one_buildset_whatever_goes_wrong(db, held):
    s, term = held
    commit(db, Effects(s, term, buildsets=[buildset(db, due_at=100)]))
    with pytest.raises(BadData):
        commit(db, Effects(s, term, buildsets=[buildset(db, due_at=100)], state={"k": "1"}))
    commit(db, Effects(s, term, buildsets=[buildset(db, due_at=200), buildset(db), buildset(db)]))
    assert loaded(db, s).state == {}
    assert sorted(execute(db, "SELECT due_at FROM buildsets WHERE due_at IS NOT NULL")) == [(100,), (200,)]


def test_the_same_content_is_one_stamp_and_another_content_another(db):
    many = [Stamp.of(revision=r, branch=b) for r in ("1", "2", None) for b in ("x", None)]
    db.write(turns.add_stamps, many + many)
    db.write(turns.add_stamps, many)
    db.write(turns.add_stamps, [])
    assert len(execute(db, "SELECT id FROM sourcestamps")) == 6
    assert len({s.content for s in many}) == 6
    assert Stamp.of("a", "b").content != Stamp.of("ab", "").content


def test_a_stamp_that_has_been_pruned_is_noticed_and_nothing_is_committed(db, held):
    s, term = held
    new = buildset(db)
    with pytest.raises(turns.StampsGone):
        db.write(turns.commit, "m1", [Effects(s, term, buildsets=[new])])  # nobody inserted the stamp
    assert execute(db, "SELECT id FROM buildsets") == []
    assert not commit(db, Effects(s, term, buildsets=[new])).refused


def test_stamps_can_be_read_by_id_and_by_buildset(db, held):
    s, term = held
    new = buildset(db, stamps=(STAMP, Stamp.of(codebase="lib", patch_json='{"d": 1}')))
    commit(db, Effects(s, term, buildsets=[new]))
    found = db.read(buildsets.stamps_of, [new.id, 999])
    assert [x.codebase for x in found[new.id]] == ["", "lib"] and found[999] == []
    assert db.read(buildsets.stamp, found[new.id][1].id).patch_json == '{"d": 1}'
    assert db.read(buildsets.stamp, 999) is None


def test_ids_are_reserved_once_each(db):
    first, second = db.single(turns.reserve, "tasks", 3), db.single(turns.reserve, "tasks", 2)
    assert (list(first), list(second)) == ([1, 2, 3], [4, 5])
    assert list(db.single(turns.reserve, "buildsets", 1)) == [1]


# -- finished buildsets


def finish(db, number, buildset_id, result="success"):
    execute(
        db,
        "UPDATE buildsets SET finished_number = :n, result = :r, completed_at = 5 WHERE id = :i",
        n=number,
        r=result,
        i=buildset_id,
    )


def test_finished_buildsets_are_read_in_the_order_of_completion_not_of_ids(db, held):
    s, term = held
    made = [buildset(db, changes=(n,), properties_json='{"p": ["v", "Change"]}') for n in range(3)]
    commit(db, Effects(s, term, buildsets=made))
    finish(db, 1, made[2].id)
    finish(db, 2, made[0].id, "failure")
    rows = db.read(buildsets.finished_after, 0)
    assert [(r.number, r.id, r.result, r.changes) for r in rows] == [
        (1, made[2].id, "success", (2,)),
        (2, made[0].id, "failure", (0,)),
    ]
    assert rows[0].properties == {"p": "v"} and rows[0].scheduler == "s"
    assert [r.number for r in db.read(buildsets.finished_after, 1)] == [2]
    assert [r.number for r in db.read(buildsets.finished_after, 0, 1)] == [1]
    assert db.read(buildsets.finished_after, 2) == []
    assert db.read(buildsets.last_finished) == 0
    execute(db, "UPDATE counters SET value = 2 WHERE name = 'finished'")
    assert db.read(buildsets.last_finished) == 2


# -- many at once


def test_hundreds_of_turns_are_a_handful_of_statements(db):
    from sqlalchemy import event

    ids = registered(db, *(f"s{n}" for n in range(200)))
    terms = taken(db, joined(db, "m1"), *ids)
    execute(db, "UPDATE schedulers SET change_cursor = 0")
    numbers = change_numbers(db, *(f"r{n}" for n in range(200)))
    group = [
        Effects(
            i,
            terms[i],
            state={"k": "1"},
            timers={"t": 1},
            buildsets=[buildset(db, changes=(n,), tasks=((n, 1, 0),))],
            change_cursor=(0, n),
        )
        for i, n in zip(ids, numbers.values(), strict=True)
    ]
    db.write(turns.add_stamps, [STAMP])
    counted = []
    event.listen(db._engine, "before_cursor_execute", lambda *a: counted.append(a[2]))
    assert not db.write(turns.commit, "m1", group).refused
    assert len(counted) <= 12
    assert len(execute(db, "SELECT id FROM tasks")) == 200


def test_text_that_no_database_keeps_is_bad_data_for_the_whole_group(db, held):
    s, term = held
    for odd in ("a\0b", "\ud800"):
        with pytest.raises(BadData):
            commit(db, Effects(s, term, buildsets=[buildset(db, reason=odd)]))
        with pytest.raises(BadData):
            commit(db, Effects(s, term, timers={odd: 5}))
    assert not commit(db, Effects(s, term, buildsets=[buildset(db, reason="back\\u0000slash \\ud800 😀")])).refused
    assert execute(db, "SELECT reason FROM buildsets") == [("back\\u0000slash \\ud800 😀",)]
    assert db.read(changes.last_number) == 0


# -- what was written in which turn


def test_what_a_turn_leaves_says_under_which_term_and_in_which_turn_it_was_written(db, held):
    s, term = held
    commit(db, Effects(s, term, turns=3, state={"k": "1"}, buildsets=[buildset(db)]))
    commit(db, Effects(s, term, turns=0, state={"of no turn": "1"}))
    (again,) = db.write(holding.retake, "m1", [s], "test")
    commit(db, Effects(s, again.term, state={"k": "2"}, skips=[NewSkip("ticks", 1, 2, 2, "late")]))
    assert execute(db, "SELECT term, turn FROM buildsets") == [(term, 3)]
    assert execute(db, "SELECT term, turn FROM skips") == [(again.term, 4)]
    assert execute(db, "SELECT key, term, turn FROM scheduler_state ORDER BY key") == [
        ("k", again.term, 4),
        ("of no turn", term, 3),
    ]
    assert execute(db, "SELECT term, turns FROM ownership ORDER BY term") == [(term, 0), (again.term, 3)]


def test_where_a_scheduler_began_to_consume_stays_on_record(db, held):
    s, term = held
    change_numbers(db, "a", "b")
    commit(db, Effects(s, term, begin_changes=True, begin_finished=True))
    change_numbers(db, "c")
    commit(db, Effects(s, term, change_cursor=(2, 3), begin_changes=True))
    rows = execute(db, "SELECT change_start, change_cursor, finished_start, finished_cursor FROM schedulers")
    assert rows == [(2, 3, 0, 0)]
