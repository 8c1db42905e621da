"""The table of a task's states is whole, and results have an order."""

from __future__ import annotations

from locum.db.task_states import FINAL, MOVES, RUNNING, Move, Result, State, leading_to, worst


def test_every_state_is_reached_from_the_beginning():
    reached = {new for (old, _), new in MOVES.items() if old is None}
    while more := {new for (old, _), new in MOVES.items() if old in reached} - reached:
        reached |= more
    assert reached == set(State)


def test_nothing_leads_out_of_a_final_state_and_something_out_of_every_other():
    left = {old for old, _ in MOVES if old is not None}
    assert left == set(State) - set(FINAL)


def test_every_move_is_used_and_every_running_task_can_be_lost():
    assert {move for _, move in MOVES} == set(Move)
    for state in RUNNING:
        assert MOVES[state, Move.LOSE] is State.FAILED
        assert MOVES[state, Move.REQUEUE] is State.QUEUED
    assert leading_to(State.EXECUTING) == (State.QUEUED,)


def test_the_worst_of_results():
    assert worst([]) is Result.SUCCESS
    assert worst(["success", "warnings", "failure"]) is Result.FAILURE
    assert worst(["skipped", "success"]) is Result.SKIPPED
    assert worst(["success", None]) is Result.EXCEPTION
