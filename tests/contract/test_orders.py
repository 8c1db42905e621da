"""What people order: effective at commit, under a raised term, and written down."""

import re

import pytest
from locum.db import audit, holding, listings, messages, orders
from locum.db.effects import Effects
from locum.db.naming import NotFound, Refused
from sqlalchemy import text

from .scene import change_numbers, execute, joined, refused, registered, standing_by, taken


def row(db, scheduler_id):
    columns = "enabled, disabled_why, incarnation, term, active_since, change_cursor, finished_cursor, blocked"
    return execute(db, f"SELECT {columns} FROM schedulers WHERE id = :id", id=scheduler_id)[0]


def owners(db, scheduler_id):
    return execute(
        db, "SELECT term, incarnation, why FROM ownership WHERE scheduler_id = :id ORDER BY term", id=scheduler_id
    )


def a_failure(db, scheduler_id, cause, retry_at=None):
    execute(
        db,
        "INSERT INTO failures (scheduler_id, cause, detail_json, attempts, first_at, last_at, retry_at, error)"
        " VALUES (:id, :cause, '{}', 3, 1, 2, :retry_at, 'ValueError: no')",
        id=scheduler_id,
        cause=cause,
        retry_at=retry_at,
    )


def causes(db):
    return sorted(f.cause for f in db.read(listings.failures))


# -- disabling and enabling


def test_a_disabled_scheduler_is_nobodys_and_its_former_holder_can_commit_nothing(db):
    (quick,) = registered(db, "quick")
    term = taken(db, joined(db, "m1"), quick)[quick]
    done = db.write(orders.disable, "quick", "too noisy", "ann@host")
    assert done.changed
    assert row(db, quick)[:5] == (False, "too noisy", None, term + 1, None)
    assert refused(db, "m1", Effects(quick, term)) == {quick}
    assert owners(db, quick)[-1] == (term + 1, None, "disabled by ann@host")
    assert db.write(holding.take, "m1", [quick], "test") == []


def test_disabling_answers_the_messages_that_wait(db):
    registered(db, "quick")
    sent = db.write(messages.send, "quick", "k", "force", {}, "bob")
    assert db.write(orders.disable, "quick", "noisy", "ann").answered == 1
    assert db.read(messages.answer_of, sent.id) == {"error": "disabled", "why": "noisy"}


def test_disabling_and_enabling_twice_changes_nothing_the_second_time(db):
    (quick,) = registered(db, "quick")
    db.write(orders.disable, "quick", "noisy", "ann")
    before = row(db, quick)
    assert not db.write(orders.disable, "quick", "other", "bob").changed
    assert row(db, quick) == before
    assert db.write(orders.enable, "quick", "ann").changed
    before = row(db, quick)
    assert not db.write(orders.enable, "quick", "ann").changed
    assert row(db, quick) == before
    assert [e.action for e in db.read(audit.newest, 10)] == ["enable", "disable"]


def test_changes_while_disabled_are_not_for_it_and_the_range_is_recorded(db):
    (quick,) = registered(db, "quick")
    change_numbers(db, "a", "b", "c")
    execute(db, "UPDATE schedulers SET change_cursor = 2, finished_cursor = 0, blocked = 2")
    execute(db, "UPDATE counters SET value = 7 WHERE name = 'finished'")
    db.write(orders.disable, "quick", "noisy", "ann")
    change_numbers(db, "d")
    done = db.write(orders.enable, "quick", "ann", "mended")
    assert done.skipped == 2
    enabled, why, holder, _, _, change, finished, blocked = row(db, quick)
    assert (bool(enabled), why, holder, change, finished, blocked) == (True, None, None, 4, 7, 0)
    (skip,) = db.read(listings.scheduler, "quick").skips
    assert (skip.what, skip.first, skip.last, skip.count, skip.reason) == ("changes", 3, 4, 2, "disabled")


def test_buildsets_that_finish_while_it_is_disabled_are_not_for_it_and_the_range_is_recorded(db):
    (quick,) = registered(db, "quick")
    execute(
        db,
        "INSERT INTO buildsets (id, reason, submitted_at, properties_json, tasks_left, finished_number)"
        " VALUES (40, '', 0, '{}', 0, 1), (41, '', 0, '{}', 0, 2), (42, '', 0, '{}', 0, 3)",
    )
    execute(db, "UPDATE counters SET value = 3 WHERE name = 'finished'")
    execute(db, "UPDATE schedulers SET finished_cursor = 1")
    db.write(orders.disable, "quick", "noisy", "ann")
    assert db.write(orders.enable, "quick", "ann").skipped == 0, "no change was skipped"
    assert row(db, quick)[6] == 3
    (skip,) = db.read(listings.scheduler, "quick").skips
    assert (skip.what, skip.first, skip.last, skip.count, skip.reason) == ("finished", 2, 3, 2, "disabled")


def test_a_scheduler_that_never_consumed_changes_has_no_cursor_after_enabling(db):
    (quick,) = registered(db, "quick")
    change_numbers(db, "a")
    db.write(orders.disable, "quick", "noisy", "ann")
    assert db.write(orders.enable, "quick", "ann").skipped == 0
    assert row(db, quick)[5:7] == (None, None)
    assert db.read(listings.scheduler, "quick").skips == []


def test_timers_stay_while_it_is_disabled(db):
    (quick,) = registered(db, "quick")
    execute(db, "INSERT INTO timers (scheduler_id, key, due) VALUES (:id, 'tick', 5)", id=quick)
    db.write(orders.disable, "quick", "noisy", "ann")
    db.write(orders.enable, "quick", "ann")
    assert [t.key for t in db.read(listings.timers)] == ["tick"]


def test_enabling_forgets_retries_of_what_is_passed_over_but_keeps_what_was_set_aside_before(db):
    (quick,) = registered(db, "quick")
    change_numbers(db, "a", "b", "c")
    execute(db, "UPDATE schedulers SET change_cursor = 2")
    a_failure(db, quick, "change:1")  # set aside
    a_failure(db, quick, "change:2", retry_at=9)  # set aside, then told to be retried
    a_failure(db, quick, "change:3", retry_at=9)  # was waiting for its retry: passed over
    a_failure(db, quick, "timer:tick", retry_at=9)
    db.write(orders.disable, "quick", "noisy", "ann")
    db.write(orders.enable, "quick", "ann")
    assert causes(db) == ["change:1", "change:2", "timer:tick"]


def test_quarantine_says_that_the_system_did_it(db):
    (quick,) = registered(db, "quick")
    db.write(orders.quarantine, "quick", "it blocked its master twice")
    assert row(db, quick)[1] == "quarantined: it blocked its master twice"
    assert db.read(audit.newest, 1)[0].who == orders.SYSTEM


def test_a_name_of_both_kinds_must_be_said_exactly(db):
    registered(db, "app")
    (source,) = registered(db, "app", kind="change_source")
    with pytest.raises(Refused, match="--kind"):
        db.write(orders.disable, "app", "why", "ann")
    assert db.write(orders.disable, "app", "why", "ann", "change_source").id == source
    with pytest.raises(NotFound):
        db.write(orders.enable, "nobody", "ann")


# -- moving


def test_moving_gives_it_to_the_master_named_under_a_new_term(db):
    (quick,) = registered(db, "quick")
    joined(db, "m2")
    term = taken(db, joined(db, "m1"), quick)[quick]
    standing_by(db, "m2", quick)
    done = db.write(orders.move, "quick", "m2", "ann")
    assert (done.changed, done.master) == (True, "m2")
    assert row(db, quick)[2:4] == ("m2", term + 1)
    assert refused(db, "m1", Effects(quick, term)) == {quick}
    assert not db.write(orders.move, "quick", "m2", "ann").changed


def test_moving_without_a_target_takes_the_least_loaded_other_master(db):
    ids = registered(db, "a", "b", "c")
    for name in ("m1", "m2", "m3"):
        joined(db, name)
        standing_by(db, name, *ids)
    taken(db, "m1", ids[0])
    taken(db, "m2", ids[1])
    assert db.write(orders.move, "a", None, "ann").master == "m3"


def test_moving_where_nobody_can_run_it_is_refused(db):
    ids = registered(db, "quick", "off")
    taken(db, joined(db, "m1"), *ids)
    joined(db, "m2")
    for to, says in (("m2", "does not stand by"), ("m9", "no master named 'm9' is up"), (None, "no other master")):
        with pytest.raises(Refused, match=says):
            db.write(orders.move, "quick", to, "ann")
    db.write(orders.disable, "off", "why", "ann")
    with pytest.raises(Refused, match="disabled"):
        db.write(orders.move, "off", "m1", "ann")
    assert row(db, ids[0])[2] == "m1"


def test_a_move_to_a_master_that_is_lost_meanwhile_is_refused(db, monkeypatch):
    """It was up when it was chosen; nobody is given to a master that is not there."""
    (s,) = registered(db, "s")
    joined(db, "m1")
    joined(db, "m2")
    taken(db, "m1", s)
    standing_by(db, "m2", s)
    before = row(db, s)

    def move(conn):
        def lost_when_chosen(row, to, live, able):
            conn.execute(text("UPDATE masters SET state = 'lost' WHERE name = 'm2'"))
            return chosen(row, to, live, able)

        monkeypatch.setattr(orders, "_target", lost_when_chosen)
        orders.move(conn, "s", "m2", "ann")

    chosen = orders._target
    with pytest.raises(Refused, match="'m2' has ended just now; scheduler 's' stays where it is"):
        db.write(move)
    assert row(db, s) == before


def test_rebalancing_evens_out_and_a_second_time_moves_nothing(db):
    ids = registered(db, *(f"s{i}" for i in range(10)))
    joined(db, "m1")
    joined(db, "m2")
    terms = taken(db, "m1", *ids)
    standing_by(db, "m2", *ids)
    moved = db.write(orders.rebalance, "ann")
    assert len(moved) == 5 and {(m.source, m.target) for m in moved} == {("m1", "m2")}
    held = dict(execute(db, "SELECT incarnation, count(*) FROM schedulers GROUP BY incarnation"))
    assert held == {"m1": 5, "m2": 5}
    assert db.read(holding.holds, "m1").items() <= terms.items()
    assert all(term == terms[i] + 1 for i, term in db.read(holding.holds, "m2").items())
    assert db.write(orders.rebalance, "ann") == []


# -- orders that masters answer


def test_masters_answer_what_they_were_asked_and_the_dead_are_answered_for(db):
    from locum.db import members

    for name in ("m1", "m2", "m3"):
        joined(db, name)
    asked = db.write(orders.ask_masters, "reconfig", None, "ann")
    assert [a.master for a in asked] == ["m1", "m2", "m3"]
    (order,) = db.read(orders.open_orders, "m1")
    assert (order.id, order.what, order.made_by) == (asked[0].id, "reconfig", "ann")
    assert db.write(orders.answer_order, order.id, {"ok": True, "lines": []})
    assert not db.write(orders.answer_order, order.id, {"ok": False})
    db.single(members.stopped, "m3", "by itself")
    first, second, third = (db.read(orders.answers, [a.id for a in asked])[a.id] for a in asked)
    assert first == {"ok": True, "lines": []}
    assert second is None
    assert third is not None and "ended" in third["error"]
    assert db.read(orders.open_orders, "m1") == []


def test_a_master_whose_lease_ended_long_ago_is_not_waited_for(db):
    joined(db, "m1")
    (asked,) = db.write(orders.ask_masters, "reconfig", None, "ann")
    for ago_s, over in ((-1, False), (3, False), (60, True)):
        execute(
            db,
            "UPDATE masters SET lease_s = 10, lease_until = lease_until + :by",
            by=lease_left(db, "m1") * -1 - ago_s * 1_000_000,
        )
        answer = db.read(orders.answers, [asked.id])[asked.id]
        assert (answer is not None) == over
    assert re.search("lease ended [67][0-9] s ago", answer["error"])


def lease_left(db, incarnation):
    """In microseconds."""
    return next(m.lease_left for m in db.read(listings.masters) if m.incarnation == incarnation)


def test_asking_a_master_that_is_not_up_is_refused_whole(db):
    joined(db, "m1")
    with pytest.raises(Refused, match="'m2'"):
        db.write(orders.ask_masters, "reconfig", ["m1", "m2"], "ann")
    assert db.read(orders.open_orders, "m1") == []
    assert [a.master for a in db.write(orders.ask_masters, "diff", ["m1"], "ann")] == ["m1"]


# -- failures


def test_a_retried_failure_is_due_now_under_a_new_term(db):
    (quick,) = registered(db, "quick")
    term = taken(db, joined(db, "m1"), quick)[quick]
    a_failure(db, quick, "change:1")
    a_failure(db, quick, "change:2")
    assert db.write(orders.retry_failure, "quick", "change:1", "ann") == ["change:1"]
    retry_at = {f.cause: f.retry_at for f in db.read(listings.failures)}
    assert retry_at["change:1"] is not None and retry_at["change:2"] is None
    assert row(db, quick)[3] == term + 1
    assert db.write(orders.retry_failure, "quick", None, "ann") == ["change:1", "change:2"]


def test_a_discarded_failure_is_gone_but_one_still_being_tried_is_not_discarded(db):
    (quick,) = registered(db, "quick")
    a_failure(db, quick, "change:1")
    a_failure(db, quick, "change:2", retry_at=9)
    with pytest.raises(Refused, match="still being tried"):
        db.write(orders.discard_failure, "quick", "change:2", "ann")
    assert db.write(orders.discard_failure, "quick", None, "ann") == ["change:1"]
    assert causes(db) == ["change:2"]
    with pytest.raises(NotFound, match="has no failure"):
        db.write(orders.discard_failure, "quick", "change:1", "ann")
    with pytest.raises(NotFound):
        db.write(orders.retry_failure, "quick", "change:1", "ann")


def test_what_was_set_aside_and_is_retried_can_still_be_discarded(db):
    (quick,) = registered(db, "quick")
    term = taken(db, joined(db, "m1"), quick)[quick]
    a_failure(db, quick, "change:1")
    execute(db, """UPDATE failures SET detail_json = '{"aside": true}'""")
    db.write(orders.retry_failure, "quick", "change:1", "ann")
    assert db.write(orders.discard_failure, "quick", "change:1", "ann") == ["change:1"]
    assert causes(db) == [] and row(db, quick)[3] == term + 2


def test_retrying_all_where_there_is_nothing_disturbs_nobody(db):
    (quick,) = registered(db, "quick")
    term = taken(db, joined(db, "m1"), quick)[quick]
    assert db.write(orders.retry_failure, "quick", None, "ann") == []
    assert row(db, quick)[3] == term
