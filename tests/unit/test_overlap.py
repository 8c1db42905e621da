"""Overlap, run-now and backfill of timed schedulers: what a due time does while the run before it is unfinished."""

from __future__ import annotations

import itertools

import pytest
from locum.schedulers import Nightly, NightlyTriggerable, Periodic
from locum.schedulers.overlap import ONE_WAITS, OVERLAPS, REPLACED, UNFINISHED, next_step

BEGAN_US = 1_767_571_200 * 10**6  # 2026-01-05, when benches begin


def periodic(**options):
    return lambda: Periodic("often", ["unit"], periodicBuildTimer=10, **options)


def ask(bench, kind, **body):
    """What the scheduler answers to a message."""
    numbers = bench.sql("SELECT coalesce(max(id), 0) + 1 AS n FROM messages")
    number = numbers[0].n
    bench.sql(
        "INSERT INTO messages (id, scheduler_id, key, kind, body_json, made_at, made_by)"
        " VALUES (:n, :s, :n, :k, '{}', 0, '')",
        n=number,
        s=bench.id,
        k=kind,
    )
    answer = []

    async def serve(scheduler):
        answer.append(await getattr(scheduler, kind)(**body))
        return answer[-1]

    bench.message(number, serve)
    return answer[-1]


def test_what_a_fire_does_is_decided_in_one_place():
    decided = {
        (overlap, unfinished, waiting): next_step(overlap, unfinished, waiting)
        for overlap, unfinished, waiting in itertools.product(OVERLAPS, (0, 1), (0, 1))
    }
    assert decided == {
        **{(overlap, 0, 0): ("start", "") for overlap in OVERLAPS},
        **{("allow", unfinished, waiting): ("start", "") for unfinished in (0, 1) for waiting in (0, 1)},
        **{("replace", u, w): ("replace", "") for u, w in ((1, 0), (0, 1), (1, 1))},
        **{("skip", u, w): ("skip", UNFINISHED) for u, w in ((1, 0), (0, 1), (1, 1))},
        ("queue", 1, 0): ("wait", ""),
        **{("queue", u, 1): ("skip", ONE_WAITS) for u in (0, 1)},
    }
    for overlap in ("skip", "queue", "replace"):
        assert next_step(overlap, 1, 5, in_line=True) == ("wait", "")


@pytest.mark.parametrize("make", [Periodic, Nightly])
def test_an_unknown_policy_is_refused(make):
    with pytest.raises(ValueError, match=r"^overlap: expected skip, queue, allow or replace, got 'never'"):
        make("x", ["unit"], overlap="never", **({"periodicBuildTimer": 1} if make is Periodic else {}))


def test_by_default_schedulers_run_beside(bench):
    b = bench(periodic())
    b.advance(25)
    assert b.fired == [0, 10, 20] and b.skips == []


def test_skip_drops_a_due_time_while_the_last_buildset_is_unfinished(bench):
    b = bench(periodic(overlap="skip"))
    b.advance(15)
    assert b.fired == [0] and b.skips == [(10.0, 10.0, 1, UNFINISHED)]
    b.finish(b.built[0].id)
    b.advance(10)
    assert b.fired == [0, 20]


@pytest.mark.parametrize(
    ("overlap", "results", "why"),
    [
        ("allow", [None, None, None], []),
        ("skip", [None], [UNFINISHED, UNFINISHED]),
        ("queue", [None], [ONE_WAITS]),
        ("replace", ["cancelled", "cancelled", None], []),
    ],
)
@pytest.mark.parametrize("kind", [Periodic, Nightly, NightlyTriggerable])
def test_every_timed_scheduler_does_with_an_unfinished_run_what_its_overlap_says(bench, kind, overlap, results, why):
    times = {"periodicBuildTimer": 3600} if kind is Periodic else {}
    b = bench(lambda: kind("often", ["unit"], overlap=overlap, **times))
    for n in range(3):  # three due times, and no run ends by itself
        if kind is NightlyTriggerable:
            ask(b, "trigger", waited_for=False)
        b.to(n * 3600 + (5 if kind is Periodic else 3605))
        b.hear()
    assert [row.result for row in b.sql("SELECT result FROM buildsets ORDER BY id")] == results
    assert [skip[3] for skip in b.skips] == why


def test_queue_keeps_one_and_starts_it_when_the_last_has_ended(bench):
    b = bench(periodic(overlap="queue"))
    b.advance(25)
    assert b.fired == [0] and b.skips == [(20.0, 20.0, 1, ONE_WAITS)]
    b.finish(b.built[0].id)
    assert b.fired == [0, 10]


def test_replace_stops_the_last_one_and_starts_the_newest_after_it(bench):
    b = bench(periodic(overlap="replace"))
    b.advance(11)
    b.hear()
    assert b.fired == [0, 10]
    results = b.sql("SELECT id, result FROM buildsets ORDER BY id")
    assert [r.result for r in results] == ["cancelled", None]


def test_a_waiting_one_that_is_replaced_is_a_recorded_skip(bench):
    b = bench(periodic(overlap="queue"))
    b.advance(15)
    b.reconfigure(periodic(overlap="replace"))
    b.advance(10)
    b.hear()
    assert b.skips == [(10.0, 10.0, 1, REPLACED)] and b.fired == [0, 20]


def test_who_is_waiting_and_running_goes_with_the_scheduler(bench):
    b = bench(periodic(overlap="queue"))
    b.advance(15)
    b.die()
    b.finish(b.built[0].id)
    b.start()
    b.hear()
    b.advance(1)
    assert b.fired == [0, 10]


def test_a_buildset_that_ended_while_it_was_disabled_does_not_hold_it_up_for_ever(bench):
    b = bench(periodic(overlap="skip"))
    b.advance(5)
    b.disable()
    b.finish(b.built[0].id)
    b.enable()
    b.advance(6)
    assert b.fired == [0, 10]


def test_when_overlap_is_allowed_again_what_waits_starts(bench):
    b = bench(periodic(overlap="queue"))
    b.advance(15)
    b.reconfigure(periodic())
    b.advance(1)
    assert b.fired == [0, 10]
    b.advance(10)
    assert b.fired == [0, 10, 20] and b.state["runs"] == {"running": [], "waiting": []}


def test_run_now_moves_no_grid(bench):
    b = bench(periodic())
    b.advance(3)
    answer = ask(b, "runNow")
    assert answer == {"buildset": b.built[-1].id} and b.built[-1].due is None
    b.advance(8)
    assert b.fired == [0, 10]


def test_run_now_counts_as_a_run(bench):
    b = bench(periodic(overlap="skip"))
    b.finish(b.built[0].id)
    b.advance(3)
    ask(b, "runNow")
    b.advance(8)
    assert b.fired == [0] and len(b.built) == 2 and b.skips == [(10.0, 10.0, 1, UNFINISHED)]


def test_run_now_and_backfill_need_no_change(bench):
    b = bench(lambda: Nightly("nightly", ["unit"], hour=1, onlyIfChanged=True))
    b.to_time("2026-01-07T12:00:00+00:00")
    assert len(b.built) == 1  # the first one always, then nothing had changed
    assert ask(b, "runNow") == {"buildset": b.built[-1].id}
    answer = ask(b, "backfill", first=BEGAN_US, last=b.now_us())
    assert len(answer["buildsets"]) == 2 and answer["served_before"] == 1
    assert sorted(built.due.day for built in b.built if built.due) == [5, 6, 7]
    assert ask(b, "backfill", first=BEGAN_US, last=b.now_us())["buildsets"] == []


def test_backfilled_times_run_one_after_another_unless_overlap_is_allowed(bench):
    b = bench(periodic(overlap="skip"))
    b.advance(35)
    answer = ask(b, "backfill", first=BEGAN_US, last=BEGAN_US + 10**9)
    assert answer == {"buildsets": [], "waiting": 3, "served_before": 1}
    for _ in range(3):
        b.finish(b.built[-1].id)
    assert b.fired == [0, 10, 20, 30]
    again = ask(b, "backfill", first=BEGAN_US, last=BEGAN_US + 10**9)
    assert again == {"buildsets": [], "waiting": 0, "served_before": 4}


def test_a_backfill_counts_only_what_was_served_of_its_own_times(bench):
    b = bench(periodic(overlap="skip"))
    b.advance(65)
    assert ask(b, "backfill", first=BEGAN_US, last=BEGAN_US + 30 * 10**6)["waiting"] == 3
    other = ask(b, "backfill", first=BEGAN_US + 40 * 10**6, last=BEGAN_US + 50 * 10**6)
    assert other == {"buildsets": [], "waiting": 2, "served_before": 0}
    assert ask(b, "backfill", first=BEGAN_US + 40 * 10**6, last=BEGAN_US + 50 * 10**6)["served_before"] == 2


def test_a_backfill_of_too_much_is_refused_whole(bench):
    b = bench(lambda: Periodic("often", ["unit"], periodicBuildTimer=1))
    b.freeze(1500)
    b.advance(1)
    answer = ask(b, "backfill", first=BEGAN_US, last=b.now_us())
    assert "more than 1000 times" in answer["error"] and len(b.fired) == 3
