"""A scheduler under one term: messages, refused data, handing over; what tests of BaseScheduler do not reach."""

import json
from datetime import timedelta

from locum.db import changes, turns
from locum.db.errors import OutcomeUnknown
from locum.master.changes import validated
from locum.master.tenure import MOST_PENDING
from locum.schedulers import BaseScheduler, ChangeFilter
from twisted.internet.defer import Deferred


class Quick(BaseScheduler):
    def startActivity(self):
        return self.startConsumingChanges()

    async def gotChange(self, change, important):
        await self.setState("n", await self.getState("n", 0) + 1)
        await self.addBuildsetForChanges(changeids=[change.number])

    async def gotTimer(self, key, due):
        await self.setState("rung", key)


def quick():
    return Quick("quick", ["unit"])


def message(b, number):
    b.sql(
        "INSERT INTO messages (id, scheduler_id, key, kind, body_json, made_at) VALUES (:n, :s, :k, 'force', '{}', 0)",
        n=number,
        s=b.id,
        k=str(number),
    )


def answers(b):
    return {r.id: r.answer_json and json.loads(r.answer_json) for r in b.sql("SELECT id, answer_json FROM messages")}


# -- messages


def test_a_message_is_answered_in_a_turn_with_its_effects(bench):
    b = bench(quick)
    message(b, 1)

    async def serve(scheduler):
        await scheduler.setState("asked", True)
        return {"buildset": 5}

    b.message(1, serve)
    assert answers(b) == {1: {"buildset": 5}} and b.state == {"asked": True}


def test_a_message_that_fails_is_answered_with_the_error_at_once_and_leaves_nothing_behind(bench):
    b = bench(quick)
    message(b, 1)

    async def serve(scheduler):
        await scheduler.setState("asked", True)
        raise LookupError("no such thing")

    b.message(1, serve)
    assert answers(b) == {1: {"error": "LookupError: no such thing"}}
    assert b.state == {} and b.failures == {}


def test_the_same_message_read_twice_is_served_once(bench):
    b = bench(quick)
    message(b, 1)
    served = []

    async def serve(scheduler):
        served.append(1)
        pause = Deferred()
        b.clock.callLater(5, pause.callback, None)
        await pause
        return {}

    b.message(1, serve)
    b.message(1, serve)
    b.advance(6)
    assert served == [1] and answers(b) == {1: {}}


def test_a_message_is_served_before_changes_that_wait(bench):
    order = []

    class Noting(Quick):
        async def gotChange(self, change, important):
            order.append(change.number)
            pause = Deferred()
            b.clock.callLater(1, pause.callback, None)
            await pause

    b = bench(lambda: Noting("quick", ["unit"]))
    b.change()
    b.change()
    message(b, 1)

    async def serve(scheduler):
        order.append("message")
        return {}

    b.message(1, serve)
    b.advance(5)
    assert order == [1, "message", 2]


# -- data that the database refuses


class Poisonous(Quick):
    """Asks for what no database keeps, past all checks, for each change whose revision says so."""

    bad = True

    async def gotChange(self, change, important):
        await super().gotChange(change, important)
        if change.revision == "bad" and type(self).bad:
            await self.master.set_timer("a\0b", 5)


def test_of_many_turns_in_one_group_the_refused_one_is_found_and_the_others_are_committed(bench):
    Poisonous.bad = True
    b = bench(lambda: Poisonous("quick", ["unit"]))
    b.die()
    numbers = [b.change(revision="bad" if n == 3 else "good") for n in range(6)]
    b.start()
    assert [x.changes for x in b.built] == [[n] for n in numbers[:3]]
    ((cause, (attempts, retry_at, error)),) = b.failures.items()
    assert (cause, attempts) == (f"change:{numbers[3]}", 1) and retry_at is not None and "NUL" in error
    Poisonous.bad = False
    b.advance(5)
    assert [x.changes for x in b.built] == [[n] for n in numbers]
    assert b.state == {"n": 6} and b.failures == {}


def test_what_is_refused_over_and_over_is_set_aside_and_the_rest_goes_on(bench):
    Poisonous.bad = True
    b = bench(lambda: Poisonous("quick", ["unit"]))
    bad, good = b.change(revision="bad"), b.change(revision="good")
    b.advance(60_000)
    assert b.failures[f"change:{bad}"][1] is None
    assert [x.changes for x in b.built] == [[good]]
    assert b.row.change_cursor == good


# -- doubt


def test_a_commit_whose_outcome_is_unknown_ends_the_term_and_what_is_there_is_read_anew(bench):
    b = bench(quick)
    first = b.change()
    term = b.row.term
    for delivered in (True, False):
        armed = [True]
        real = b.db.write

        def lossy(function, *args, armed=armed, delivered=delivered, real=real, **kw):
            if function is turns.commit and armed:
                armed.clear()
                if delivered:
                    real(function, *args, **kw)
                raise OutcomeUnknown("the answer was lost")
            return real(function, *args, **kw)

        b.db.write = lossy
        b.change()
        b.db.write = real
    assert b.row.term == term + 2
    assert b.state == {"n": 3} and [x.changes for x in b.built] == [[first], [2], [3]]


def test_while_a_commit_is_under_way_later_turns_wait_for_theirs_and_are_lost_with_it(bench):
    b = bench(quick)
    fail = [True]

    def trouble(what, function):
        if function is turns.commit and fail:
            fail.clear()
            b.change()  # its turn runs while the first one's commit is on its way
            raise OutcomeUnknown("lost")

    b.remote.trouble = trouble
    b.change()
    assert b.state == {"n": 2} and [x.changes for x in b.built] == [[1], [2]]


# -- handing over


def test_a_clean_stop_writes_down_exactly_where_it_stands(bench):
    class Choosy(Quick):
        def startActivity(self):
            return self.startConsumingChanges(change_filter=ChangeFilter(branch="main"))

    b = bench(lambda: Choosy("quick", ["unit"]))
    for _ in range(5):
        b.change(branch="other")
    assert b.row.change_cursor == 0
    b.stop()
    assert b.row.change_cursor == 5 and b.row.incarnation is None


def test_a_cursor_that_lags_is_saved_within_seconds(bench):
    class Refusing(Quick):
        def startActivity(self):
            return self.startConsumingChanges(change_filter=ChangeFilter(branch="never"))

    b = bench(lambda: Refusing("quick", ["unit"]))
    b.change()
    assert b.row.change_cursor == 0
    b.advance(5)
    assert b.row.change_cursor == 1 and b.row.turns == 1


def test_an_open_turn_may_commit_within_a_moment_of_a_clean_stop(bench):
    waits = []

    class Slow(Quick):
        async def gotChange(self, change, important):
            waits.append(Deferred())
            await waits[-1]
            await self.setState("done", change.number)

    b = bench(lambda: Slow("quick", ["unit"]))
    b.change()
    b.clock.callLater(0.2, waits[0].callback, None)
    done = Deferred.fromCoroutine(b.activation.give_up_all("it was stopped"))
    b.advance(1)
    assert done.called and b.state == {"done": 1} and b.row.incarnation is None


def test_a_turn_that_takes_longer_is_discarded_and_its_cause_comes_again(bench):
    waits = []

    class Slow(Quick):
        async def gotChange(self, change, important):
            waits.append(Deferred())
            if len(waits) == 1:
                await waits[-1]
            await self.setState("done", change.number)

    b = bench(lambda: Slow("quick", ["unit"]))
    b.change()
    done = Deferred.fromCoroutine(b.activation.give_up_all("it was stopped"))
    b.advance(1)
    assert done.called and b.state == {} and b.row.change_cursor == 0
    b.die()
    b.start()
    assert b.state == {"done": 1}


def test_turns_run_ahead_of_their_commits_only_so_far(bench):
    b = bench(quick)
    b.die()
    many = [validated({"who": "a", "request_id": f"x{n}"}) for n in range(MOST_PENDING + 100)]
    b.db.write(changes.add, many)
    most = []
    b.start()
    while b.row.change_cursor < len(many):
        tenure = b.tenure
        most.append(tenure.pending.turns if tenure and tenure.pending else 0)
        b.settle()
    assert b.state == {"n": len(many)} and max(most, default=0) <= MOST_PENDING + 1


def test_timers_fire_after_numbers_were_passed_over(bench):
    """After recovering a database the counter is far beyond the newest change: overdue timers must not wait for it."""
    b = bench(quick)
    b.change()
    b.ask(lambda: b.scheduler.setTimer("t", b.now() + timedelta(seconds=3)))
    b.die()
    b.sql("UPDATE counters SET value = 5000000 WHERE name = 'changes'")
    b.advance(10)
    b.start()
    b.advance(1)
    assert b.state.get("rung") == "t"
