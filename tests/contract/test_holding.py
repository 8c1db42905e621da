"""Who holds which scheduler: one owner at any instant, terms that only rise, and what goes with it."""

import threading

import pytest
from locum.db import holding, members, turns
from locum.db.effects import Effects, NewFailure
from locum.db.errors import BadData

from ..conftest import opened
from .scene import execute, joined, refused, registered, standing_by, taken


def row(db, scheduler_id):
    columns = "incarnation, term, enabled, active_since, blocked"
    return execute(db, f"SELECT {columns} FROM schedulers WHERE id = :i", i=scheduler_id)[0]


def history(db, scheduler_id):
    return execute(
        db, "SELECT term, incarnation, why FROM ownership WHERE scheduler_id = :i ORDER BY term", i=scheduler_id
    )


def lose(db, incarnation):
    execute(db, "UPDATE masters SET state = 'lost' WHERE incarnation = :i", i=incarnation)


def test_registering_twice_is_one_row_and_a_changed_type_is_noted(db):
    first = db.write(holding.register, [("scheduler", "s", "Periodic"), ("change_source", "s", "GitPoller")])
    again = db.write(holding.register, [("scheduler", "s", "Nightly")])
    assert len({r.id for r in first.values()}) == 2
    assert again["scheduler", "s"].id == first["scheduler", "s"].id
    assert again["scheduler", "s"].type == "Nightly" and again["scheduler", "s"].enabled
    assert db.write(holding.register, []) == {}


def test_names_are_kept_whole_whatever_is_in_them(db):
    names = ["a'b", "%s", ":x", "{rows}", "ü", "😀", "a\\u0000b", 'quo"te']
    rows = db.write(holding.register, [("scheduler", name, "T") for name in names])
    assert sorted(name for _, name in rows) == sorted(names)
    for odd in ("a\0b", "\udfff"):
        with pytest.raises(BadData):
            db.write(holding.register, [("scheduler", odd, "T")])


def test_only_those_that_stand_by_and_are_alive_may_take(db):
    (s,) = registered(db, "s")
    joined(db, "m1"), joined(db, "m2"), joined(db, "m3")
    standing_by(db, "m1", s), standing_by(db, "m2", s), standing_by(db, "m3", s)
    lose(db, "m3")
    found = db.single(holding.takeable, "m1")
    assert {i: sorted(others) for i, others in found.items()} == {s: ["m1", "m2"]}
    assert db.single(holding.takeable, "m3").get(s, ["m1", "m2"]) == ["m1", "m2"]
    assert db.write(holding.take, "m3", [s], "x") == []
    assert db.single(holding.takeable, "never was") == {}


def test_taking_raises_the_term_and_is_written_down(db):
    (s,) = registered(db, "s")
    joined(db, "m1")
    standing_by(db, "m1", s)
    (t,) = db.write(holding.take, "m1", [s], "nobody held it")
    assert (t.id, t.term, t.change_cursor, t.enabled_at, t.blocked) == (s, 1, None, None, 0)
    assert row(db, s)[:2] == ("m1", 1) and row(db, s)[3] == t.active_since
    assert history(db, s) == [(1, "m1", "nobody held it")]
    assert db.read(holding.holds, "m1") == {s: 1}


def test_what_somebody_alive_holds_is_passed_over_and_what_a_lost_one_holds_is_taken(db):
    ids = registered(db, "a", "b", "c")
    joined(db, "m1"), joined(db, "m2"), joined(db, "m3")
    taken(db, "m1", ids[0]), taken(db, "m2", ids[1])
    standing_by(db, "m3", *ids)
    assert sorted(db.single(holding.takeable, "m3")) == [ids[2]]
    assert [t.id for t in db.write(holding.take, "m3", ids, "x")] == [ids[2]]
    lose(db, "m1")
    (t,) = db.write(holding.take, "m3", ids, "m1 was lost")
    assert (t.id, t.term) == (ids[0], 2)
    execute(db, "UPDATE masters SET state = 'stopping' WHERE incarnation = 'm2'")
    assert db.write(holding.take, "m3", ids, "x") == []  # it still lives
    assert db.write(holding.take, "m2", [ids[0]], "x") == []  # and takes no more


def test_the_disabled_is_nobodys(db):
    (s,) = registered(db, "s")
    joined(db, "m1")
    standing_by(db, "m1", s)
    execute(db, "UPDATE schedulers SET enabled = false")
    assert db.single(holding.takeable, "m1") == {}
    assert db.write(holding.take, "m1", [s], "x") == []


def test_at_most_so_many_are_taken_at_once(db):
    ids = registered(db, *(f"s{n}" for n in range(holding.TAKE_AT_MOST + 10)))
    joined(db, "m1")
    standing_by(db, "m1", *ids)
    assert len(db.write(holding.take, "m1", ids, "x")) == holding.TAKE_AT_MOST
    assert len(db.write(holding.take, "m1", ids[holding.TAKE_AT_MOST :], "x")) == 10


def test_of_many_masters_that_ask_together_each_scheduler_goes_to_exactly_one(db, database_url):
    ids = registered(db, *(f"s{n}" for n in range(40)))
    names = [f"m{n}" for n in range(4)]
    for name in names:
        joined(db, name)
        standing_by(db, name, *ids)
    got: dict[str, list[int]] = {}

    def ask(name):
        mine = opened(database_url)
        try:
            got[name] = [t.id for _ in range(3) for t in mine.write(holding.take, name, ids, "x")]
        finally:
            mine.close()

    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(i for found in got.values() for i in found) == sorted(ids)
    assert {term for (term,) in execute(db, "SELECT term FROM schedulers")} == {1}


def test_a_row_that_somebody_has_locked_is_left_for_later_not_waited_for(db, database_url):
    if db.dialect == "sqlite":
        pytest.skip("SQLite has no locks on rows")
    one, two = registered(db, "a", "b")
    joined(db, "m1")
    standing_by(db, "m1", one, two)
    other = opened(database_url)
    try:

        def inside(conn):
            conn.exec_driver_sql(f"SELECT 1 FROM schedulers WHERE id = {one} FOR UPDATE")
            return [t.id for t in db.write(holding.take, "m1", [one, two], "x")]

        assert other.write(inside) == [two]
    finally:
        other.close()
    assert [t.id for t in db.write(holding.take, "m1", [one], "x")] == [one]


def test_retaking_raises_the_terms_of_what_is_still_held_and_of_nothing_else(db):
    mine, others, disabled = registered(db, "a", "b", "c")
    joined(db, "m1"), joined(db, "m2")
    taken(db, "m1", mine, disabled), taken(db, "m2", others)
    execute(db, "UPDATE schedulers SET enabled = false WHERE id = :i", i=disabled)
    (t,) = db.write(holding.retake, "m1", [mine, others, disabled], "its outcome was unknown")
    assert (t.id, t.term) == (mine, 2)
    assert refused(db, "m1", Effects(mine, 1)) == {mine}
    assert refused(db, "m1", Effects(mine, 2)) == frozenset()
    assert history(db, mine)[-1] == (2, "m1", "its outcome was unknown")


def test_an_incarnation_that_is_over_retakes_nothing(db):
    """It was said to have ended while its sessions were cut, say: others may take, and its turns are fenced as before."""
    (s,) = registered(db, "s")
    joined(db, "m1"), joined(db, "m2")
    term = taken(db, "m1", s)[s]
    lose(db, "m1")
    assert db.write(holding.retake, "m1", [s], "its outcome was unknown") == []
    assert row(db, s)[:2] == ("m1", term)
    assert taken(db, "m2", s) == {s: term + 1}
    assert db.write(holding.retake, "m1", [s], "its outcome was unknown") == []


def test_a_late_release_leaves_the_new_owner_alone(db):
    """Defect 18: a late release removed the new owner's claim."""
    (s,) = registered(db, "s")
    joined(db, "m1"), joined(db, "m2")
    term = taken(db, "m1", s)[s]
    assert db.write(holding.release, "m1", [(s, term)], "bye") == 1
    taken(db, "m2", s)
    assert db.write(holding.release, "m1", [(s, term)], "bye") == 0
    assert db.write(holding.release, "m2", [(s, term)], "wrong term") == 0
    assert row(db, s)[0] == "m2"
    assert db.write(holding.release, "m2", [], "nothing") == 0


def test_releasing_raises_the_term_so_it_is_effective_when_it_returns(db):
    (s,) = registered(db, "s")
    joined(db, "m1")
    term = taken(db, "m1", s)[s]
    db.write(holding.release, "m1", [(s, term)], "bye")
    assert refused(db, "m1", Effects(s, term)) == {s}
    assert row(db, s)[:2] == (None, term + 1) and row(db, s)[3] is None
    assert history(db, s)[-1] == (term + 1, None, "bye")


def test_a_failed_activation_keeps_this_master_away_for_a_while_and_no_other(db):
    (s,) = registered(db, "s")
    joined(db, "m1"), joined(db, "m2")
    standing_by(db, "m1", s), standing_by(db, "m2", s)
    db.write(holding.pause_taking, "m1", s, 60_000_000)
    assert db.single(holding.takeable, "m1") == {}
    assert db.single(holding.takeable, "m2") == {s: ["m2"]}
    standing_by(db, "m1", s, digest="mended")  # another configuration may try at once
    assert sorted(db.single(holding.takeable, "m1")[s]) == ["m1", "m2"]


def test_withdrawing_is_for_that_master_and_those_that_ended_are_forgotten(db):
    one, two = registered(db, "a", "b")
    joined(db, "m1"), joined(db, "m2")
    standing_by(db, "m1", one, two), standing_by(db, "m2", one)
    db.write(holding.withdraw, "m1", [one])
    assert execute(db, "SELECT scheduler_id, incarnation FROM standby ORDER BY 1, 2") == [(one, "m2"), (two, "m1")]
    lose(db, "m2")
    db.write(holding.forget_ended_standbys)
    assert execute(db, "SELECT incarnation FROM standby") == [("m1",)]


def test_everything_that_goes_with_a_scheduler_is_loaded_and_nothing_of_others(db):
    one, two = registered(db, "a", "b")
    terms = taken(db, joined(db, "m1"), one, two)
    effects = Effects(one, terms[one], state={"k": '"v"'}, timers={"t": 5}, classified={3: True, 4: False})
    effects.failures["change:3"] = NewFailure("{}", 2, 1_000_000, "oh")
    effects.failures["change:4"] = NewFailure("{}", 9, None, "aside")
    db.write(turns.commit, "m1", [effects])
    loaded = db.read(holding.load, [one, two])
    assert (loaded[one].state, loaded[one].timers, loaded[one].classified) == (
        {"k": '"v"'},
        {"t": 5},
        {3: True, 4: False},
    )
    attempts, retry_at, detail = loaded[one].failures["change:3"]
    assert attempts == 2 and retry_at > 0 and detail == "{}"
    assert loaded[one].failures["change:4"][1] is None
    assert loaded[two] == holding.Loaded({}, {}, {}, {})
    assert db.read(holding.load, []) == {}


def test_how_often_it_blocked_its_master_is_counted_only_for_its_holder(db):
    (s,) = registered(db, "s")
    taken(db, joined(db, "m1"), s)
    assert db.write(holding.note_blocked, s, "m2") == 0
    assert [db.write(holding.note_blocked, s, "m1") for _ in range(2)] == [1, 2]
    assert row(db, s)[4] == 2


def test_a_term_never_falls_whatever_happens_to_the_scheduler(db):
    (s,) = registered(db, "s")
    joined(db, "m1"), joined(db, "m2")
    seen = [row(db, s)[1]]

    def step(function, *arguments):
        db.write(function, *arguments)
        seen.append(row(db, s)[1])

    standing_by(db, "m1", s), standing_by(db, "m2", s)
    step(holding.take, "m1", [s], "x")
    step(holding.retake, "m1", [s], "x")
    step(holding.release, "m1", [(s, seen[-1])], "x")
    step(holding.take, "m2", [s], "x")
    lose(db, "m2")
    step(holding.take, "m1", [s], "x")
    assert seen == sorted(set(seen)) and len(history(db, s)) == 5
    assert db.read(members.find, "m2").state == "lost"
