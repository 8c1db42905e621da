"""A request to a scheduler is kept until it is answered, once, and refused where nobody would answer."""

import threading

import pytest
from locum.db import messages, orders
from locum.db.naming import Disabled, NotFound

from .scene import joined, registered, taken


def sent(db, name="quick", key="k1", body=None):
    return db.write(messages.send, name, key, "force", body or {"reason": "why"}, "ann@host")


def test_a_message_waits_for_its_answer(db):
    (quick,) = registered(db, "quick")
    message = sent(db)
    assert (message.known, message.enabled, message.held) == (False, True, False)
    (waiting,) = db.read(messages.waiting, [quick])
    assert (waiting.id, waiting.scheduler_id, waiting.kind, waiting.body, waiting.made_by) == (
        message.id,
        quick,
        "force",
        {"reason": "why"},
        "ann@host",
    )
    assert db.read(messages.answer_of, message.id) is None


def test_a_repeated_key_is_one_message_even_when_the_scheduler_was_disabled_since(db):
    (quick,) = registered(db, "quick")
    first = sent(db)
    assert sent(db, body={"other": 1}).id == first.id
    db.write(orders.disable, "quick", "broken", "ann")
    again = sent(db)
    assert (again.id, again.known, again.enabled) == (first.id, True, False)
    assert db.read(messages.waiting, [quick]) == []


def test_one_key_may_go_to_two_schedulers(db):
    registered(db, "quick", "nightly")
    assert sent(db).id != sent(db, "nightly").id


def test_a_message_to_an_unknown_scheduler_is_refused_with_the_name_that_was_meant(db):
    registered(db, "quick")
    with pytest.raises(NotFound, match="did you mean 'quick'"):
        sent(db, "qiuck")
    with pytest.raises(NotFound):
        sent(db, "a\0b")
    with pytest.raises(NotFound):
        sent(db, "\ud800")


def test_a_change_source_takes_no_messages(db):
    registered(db, "repo", kind="change_source")
    with pytest.raises(NotFound):
        sent(db, "repo")


def test_a_message_to_a_disabled_scheduler_is_refused_with_the_reason(db):
    registered(db, "quick")
    db.write(orders.disable, "quick", "too noisy", "ann")
    with pytest.raises(Disabled, match="too noisy"):
        sent(db)


def test_the_sender_is_told_whether_somebody_holds_the_scheduler(db):
    (quick,) = registered(db, "quick")
    taken(db, joined(db, "m1"), quick)
    assert sent(db).held


def test_a_holder_whose_lease_has_ended_holds_nothing(db):
    (quick,) = registered(db, "quick")
    taken(db, joined(db, "m1", lease_s=-1), quick)
    assert not sent(db).held


def test_messages_are_handed_out_in_the_order_they_came_and_by_holder(db):
    quick, nightly = registered(db, "quick", "nightly")
    ids = [sent(db, name, key).id for key in ("a", "b") for name in ("quick", "nightly")]
    assert [m.id for m in db.read(messages.waiting, [quick, nightly])] == ids == sorted(ids)
    assert [m.id for m in db.read(messages.waiting, [quick, nightly], after_id=ids[0], most=2)] == ids[1:3]
    taken(db, joined(db, "m1"), nightly)
    assert [m.id for m in db.read(messages.waiting_for, "m1")] == ids[1::2]
    assert db.read(messages.waiting, []) == []


def test_answering_all_answers_only_what_waits(db):
    (quick,) = registered(db, "quick")
    first = sent(db)
    assert db.write(messages.answer_all, quick, {"error": "first"}) == [first.id]
    second = sent(db, key="k2")
    assert db.write(messages.answer_all, quick, {"error": "second"}) == [second.id]
    assert db.read(messages.answer_of, first.id) == {"error": "first"}


def test_an_unknown_message_has_no_answer(db):
    with pytest.raises(NotFound):
        db.read(messages.answer_of, 99)


def test_a_message_sent_while_it_is_being_disabled_is_answered_or_refused_never_left(db):
    (quick,) = registered(db, "quick")
    disabled, asked = threading.Event(), threading.Event()
    outcome = []

    def disable(conn):
        done = orders.disable(conn, "quick", "broken", "ann")
        disabled.set()
        asked.wait(0.2)  # the sender is now waiting for the row, or for the file
        return done

    def send():
        disabled.wait(5)
        asked.set()
        try:
            outcome.append(sent(db))
        except Disabled as error:
            outcome.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    db.write(disable)
    sender.join()
    assert isinstance(outcome[0], Disabled)
    assert db.read(messages.waiting, [quick]) == []
