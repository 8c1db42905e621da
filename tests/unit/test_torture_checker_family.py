"""The torture chamber's checker, on the rest of the schedulers' family, cancelled tasks and stored schedules: it sees every way
in which these can be wrong."""

import dataclasses
import json

import pytest
from locum.tests.torture import checker
from locum.tests.torture import checker_rows as rows
from locum.tests.torture.checker_story import also, altered, at, retold, told, without
from locum.tests.torture.checker_story_family import BUILDERS, ID, SCHEDULE, right
from locum.tests.torture.history import Configured, FaultBegan, OrderAnswered, OrderAsked, Seen


@pytest.fixture(scope="module")
def good():
    return right()


def broken(h):
    """{invariant: all that it said}"""
    found = {}
    for one in checker.judged(h):
        found[one.invariant] = f"{found.get(one.invariant, '')}{one.what}\n"
    return found


def same(row):
    return lambda other: other == row


def buildsets(h, name):
    return h.buildsets[ID[name]]


def task_of(h, buildset):
    return h.tasks_of[buildset.id][0]


def message(key):
    return lambda m: m.key == key


def answer(value):
    return json.dumps(value)


def test_a_right_history_is_right(good):
    assert broken(good) == {}


# -- those that react to others


def test_a_good_buildset_that_its_dependent_leaves_out_doubles_mixes_up_or_invents(good):
    name = "dependents_follow_their_upstream"
    first, second = buildsets(good, "dependent")
    assert "was good, and is not followed" in broken(without(good, "buildsets", same(second)))[name]
    twice = also(good, "buildsets", dataclasses.replace(second, id=999, turn=50))
    assert "follows nothing" in broken(twice)[name]
    swapped = altered(good, "buildsets", lambda b: b in (first, second), turn=lambda b: 10 - b.turn)
    assert "should be followed now" in broken(swapped)[name]
    bad = buildsets(good, "quick")[0]
    failed = altered(good, "buildsets", same(bad), result="failure")
    assert "should be followed now" in broken(failed)[name]
    skip = rows.Skip(
        99, ID["dependent"], "finished", bad.finished_number, bad.finished_number, 1, "disabled", at(20), None, None
    )
    assert name in broken(also(good, "skips", skip)), "followed, though it was not for it"


def test_a_relayed_change_that_is_lost_invented_or_out_of_order(good):
    name = "every_relayed_change_is_made_once"
    assert "the change relay-5 of its turn is lost" in broken(without(good, "changes", lambda c: c.number == 6))[name]
    invented = altered(good, "changes", lambda c: c.number == 6, request_id="relay-4")
    assert "relay-4 is there, and the turn that made it is not" in broken(invented)[name]
    (one,) = buildsets(good, "relay")
    more = also(good, "buildsets", dataclasses.replace(one, id=990, turn=one.turn - 1, reason="number 0"))
    more = also(more, "buildset_changes", rows.BuildsetChange(990, 6))
    more = also(more, "changes", dataclasses.replace(good.changes[6], number=7, request_id="relay-6"))
    assert "and these came as ['relay-5', 'relay-6']" in broken(more)[name]


def test_a_change_that_is_not_as_it_was_asked(good):
    wrong = altered(good, "changes", lambda c: c.number == 4, revision="r9")
    assert "was asked with revision r4, and has r9" in broken(wrong)["every_change_is_kept_once"]


# -- those that react to people and tasks


def test_a_buildset_that_no_request_was_answered_with_or_two_or_another_ones(good):
    name = "every_request_is_answered_with_its_own_buildset"
    (forced,) = buildsets(good, "forced")
    (tried, _) = buildsets(good, "try")
    none = without(good, "messages", message("force-1"))
    assert f"buildset {forced.id} (force-1) is no answer" in broken(none)[name]
    both = altered(good, "messages", message("try-1"), answer_json=answer({"buildset": forced.id}))
    assert f"buildset {forced.id} is the answer to 2 requests" in broken(both)[name]
    assert f"try answered try-1 with buildset {forced.id}, which is forced's" in broken(both)[name]
    gone = altered(good, "messages", message("try-1"), answer_json=answer({"buildset": tried.id + 5000}))
    assert "which is not there" in broken(gone)[name]
    doubled = also(good, "buildsets", dataclasses.replace(buildsets(good, "triggered")[0], id=991, turn=50))
    assert "buildset 991 (because) is no answer" in broken(doubled)[name]


def test_a_try_job_that_is_built_twice_never_or_unasked(good):
    name = "every_try_job_is_built_once"
    by_message, by_file = buildsets(good, "try")
    twice = also(good, "buildsets", dataclasses.replace(by_file, id=992, turn=50))
    assert "job try-file-1 made 2 buildsets" in broken(twice)[name]
    for one, job in ((by_message, "try-1"), (by_file, "try-file-1")):
        lost = without(good, "buildsets", same(one))
        assert f"job {job} was taken by try, and made no buildset" in broken(lost)[name]
    (over_http,) = buildsets(good, "try-http")
    lost = without(good, "buildsets", same(over_http))
    assert "job try-http-1 was taken by try-http, and made no buildset" in broken(lost)[name]
    answered = {"buildset": by_file.id, "tasks": {}}
    other = retold(good, OrderAnswered, lambda e: e.detail.get("buildset") == over_http.id, detail=answered)
    assert f"job try-http-1 was answered with buildset {by_file.id}, which is another's" in broken(other)[name]
    unasked = altered(good, "buildsets", same(by_file), external_id="try-file-9")
    assert "a buildset of job try-file-9, which nobody sent" in broken(unasked)[name]


def test_a_wish_with_two_answers_or_none_on_record(good):
    name = "wishes_are_kept"
    other = retold(
        good, OrderAnswered, lambda e: e.detail.get("tasks", {}).get("unit") and not e.said, detail={"buildset": 1}
    )
    assert "was answered {'buildset': 1}, and on record is" in broken(other)[name]
    assert "on record is []" in broken(without(good, "messages", message("run_now-1")))[name]
    (one,) = (m for m in good.rows.messages if m.key == "force-1")
    assert "force-1 is there 2 times" in broken(also(good, "messages", dataclasses.replace(one, id=90)))[name]


def test_a_trigger_that_nobody_made_came_from_no_attempt_or_never(good):
    name = "every_trigger_once"
    key = next(m.key for m in good.rows.messages if m.kind == "trigger")
    task = int(key.split(":")[1])
    of_triggered = [m for m in good.rows.messages if m.key == key and m.scheduler_id == ID["triggered"]]
    other = altered(good, "messages", same(of_triggered[0]), key="trigger:1:1:1")
    assert "no task does that" in broken(other)[name]
    later = altered(good, "messages", same(of_triggered[0]), key=f"trigger:{task}:2:1")
    assert "and the task had 1 attempts" in broken(later)[name]
    assert "succeeded, and has not triggered triggered" in broken(later)[name]
    bad = altered(good, "buildsets", same(buildsets(good, "triggered")[0]), result="failure")
    assert "which ended with failure, and succeeded" in broken(bad)[name]
    slow = altered(good, "buildsets", same(buildsets(good, "triggered")[0]), completed_at=at(56))
    assert "and ended before it" in broken(slow)[name]


def test_a_nightly_trigger_that_is_lost_or_served_again(good):
    name = "nightly_triggers_fire_if_something_was_handed_over"
    nothing = without(good, "messages", lambda m: m.scheduler_id == ID["nightly-triggered"])
    assert "a buildset, and nothing was handed over" in broken(nothing)[name]
    late = altered(good, "messages", lambda m: m.scheduler_id == ID["nightly-triggered"], answered_at=at(90))
    assert "nothing was made of what was handed over" in broken(late)[name]


# -- due times


def test_nothing_has_changed_though_a_change_was_there(good):
    name = "skips_are_as_the_policy_says"
    last = [b for b in buildsets(good, "changed") if good.changes_of.get(b.id)][-1]
    lost = without(good, "buildset_changes", lambda r: r.buildset_id == last.id)
    lost = also(
        lost,
        "classifications",
        rows.Classification(ID["changed"], 2, True),
        rows.Classification(ID["changed"], 3, True),
    )
    assert "it had taken in change 2" in broken(lost)[name]
    gone = without(good, "buildset_changes", lambda r: r.buildset_id == last.id)
    assert "changed: change 2 (ann-2, branch main) is lost" in broken(gone)["every_change_makes_its_buildset_once"]


@pytest.mark.parametrize("minutes", ["*", list(range(60)), [70]])
def test_nothing_has_changed_though_it_was_to_ask_even_so(good, minutes):
    def schedulers(event):
        return {**event.schedulers, "changed": {**event.schedulers["changed"], "force_at_minute": minutes}}

    found = broken(retold(good, Configured, lambda e: True, schedulers=schedulers))
    assert ("it was to ask for work even so" in found.get("skips_are_as_the_policy_says", "")) == (minutes != [70])


@pytest.mark.parametrize("name", ["skip", "queue", "replace"])
def test_a_run_that_begins_before_the_one_before_has_ended(good, name):
    first = buildsets(good, name)[0]
    wrong = altered(good, "buildsets", same(first), completed_at=at(13))
    assert f"{name}: buildset" in broken(wrong)["due_times_do_not_overlap"]
    never = altered(good, "buildsets", same(first), completed_at=None)
    assert f"{name}: buildset" in broken(never)["due_times_do_not_overlap"]


def test_a_skip_for_an_overlap_that_was_none(good):
    name = "skips_are_as_the_policy_says"
    skips = {
        s: [k for k in good.skipped(ID[s], "ticks") if k.reason.startswith("overlap")]
        for s in ("skip", "queue", "replace")
    }
    for scheduler, other in (("skip", "queue"), ("queue", "replace"), ("replace", "skip")):
        wrong = altered(good, "skips", same(skips[scheduler][0]), reason=skips[other][0].reason)
        assert "its policy is another" in broken(wrong)[name]
    # All that it had made before had ended, and it knew of that.
    heard = retold(good, Seen, lambda e: e.at < at(40) / 1e6 + 100, schedulers=lambda e: _heard(e, "skip", 10_000))
    assert "no run before it was unfinished" in broken(heard)[name]
    waited = next(b for b in buildsets(good, "queue") if b.due_at == at(32))
    assert "none waited" in broken(altered(good, "buildsets", same(waited), due_at=at(46)))[name]
    last = altered(good, "skips", same(skips["replace"][0]), first=at(900), last=at(900))
    assert "no newer one came" in broken(last)[name]


def _heard(e, name, cursor):
    return {**e.schedulers, name: {**e.schedulers[name], "finished_cursor": cursor, "turns": 1}}


def test_a_time_that_waits_is_accounted_for_and_a_backfilled_one_may_have_been_skipped(good):
    name = "every_tick_is_accounted_for"
    waited = next(b for b in buildsets(good, "queue") if b.due_at == at(32))
    lost = without(good, "buildsets", same(waited))
    assert "and there is neither a buildset nor a recorded skip" in broken(lost)[name]
    runs = json.dumps({"running": [], "waiting": [at(32)]})
    waits = altered(
        lost, "scheduler_state", lambda s: s.scheduler_id == ID["queue"] and s.key == "runs", value_json=runs
    )
    assert name not in broken(waits)
    unasked = dataclasses.replace(
        good, truth=type(good.truth)(tuple(e for e in good.truth.all if getattr(e, "action", "") != "backfill"))
    )
    assert "has 1 buildsets, and 2 records in all" in broken(unasked)[name]


def test_a_backfilled_time_that_is_replaced_while_it_waits_has_a_record_for_each_time_that_it_was_asked_for(good):
    name = "every_tick_is_accounted_for"
    (skip,) = [k for k in good.skipped(ID["replace"], "ticks") if k.first == at(32)]
    again = also(good, "skips", dataclasses.replace(skip, id=97))
    assert "has 0 buildsets, and 2 records in all" in broken(again)[name]
    order = OrderAsked(150, "b2", "backfill", "replace", {"key": "k2", "first": at(30), "last": at(35)})
    assert name not in broken(told(again, order))
    other = altered(told(again, order), "skips", lambda k: k.scheduler_id == ID["replace"], reason="it was disabled")
    assert "has 0 buildsets, and 2 records in all" in broken(other)[name], (
        "it was skipped twice, and not for a newer one"
    )


# -- tasks that nobody wants any more


def cancelled(h, why):
    return next(t for t in h.rows.tasks if why in t.status_line)


@pytest.mark.parametrize("why", ["change 3 of the same", "of bad failed", "overlap replace", "collapsed into"])
def test_a_task_that_is_cancelled_for_no_reason_or_ends_otherwise(good, why):
    name, task = "only_what_may_be_is_cancelled", cancelled(good, why)
    assert (
        "that is no reason known"
        in broken(altered(good, "tasks", same(task), status_line="", result="cancelled"))[name]
    )
    orphan = altered(good, "tasks", same(task), buildset_id=None)
    assert "it is of no buildset" in broken(orphan)[name]
    result = "cancelled" if task.result == "skipped" else "skipped"
    assert broken(altered(good, "tasks", same(task), result=result))[name]


def test_a_task_that_was_cancelled_for_a_change_that_is_not_newer_or_by_nobody(good):
    name, task = "only_what_may_be_is_cancelled", cancelled(good, "change 3 of the same")
    for line, wrong in (
        ("cancel-old: change 2 of the same branch is newer", "it builds change 2 of ['main']"),
        ("cancel-old: change 5 of the same branch is newer", "it builds change 2 of ['main']"),
        ("cancel-old: change 99 of the same branch is newer", "there is no such change"),
        ("quick: change 3 of the same branch is newer", "quick has nothing to do with that builder"),
    ):
        assert wrong in broken(altered(good, "tasks", same(task), status_line=line))[name]


def test_a_task_that_was_cancelled_though_nothing_of_its_buildset_failed(good):
    name, task = "only_what_may_be_is_cancelled", cancelled(good, "of bad failed")
    failed = next(t for t in good.tasks_of[task.buildset_id] if t is not task)
    fine = altered(good, "tasks", same(failed), result="success", state="executed")
    assert "no such task of its buildset failed" in broken(fine)[name]
    other = altered(good, "tasks", same(task), builder_id=BUILDERS["unit"])
    assert "cancel-useless does not cancel unit when bad fails" in broken(other)[name]


def test_a_task_that_was_replaced_by_a_scheduler_that_replaces_nothing(good):
    name, task = "only_what_may_be_is_cancelled", cancelled(good, "overlap replace")
    other = next(b for b in buildsets(good, "skip"))
    assert "skip replaces nothing" in broken(altered(good, "tasks", same(task), buildset_id=other.id))[name]


def test_a_task_that_collapsed_into_what_is_older_of_another_kind_or_never_began(good):
    name, task = "only_what_may_be_is_cancelled", cancelled(good, "collapsed into")
    first, _, newest = (task_of(good, b) for b in buildsets(good, "collapsing"))
    other = task_of(good, buildsets(good, "quick")[0])

    def into(number):
        return altered(good, "tasks", same(task), status_line=f"collapsed into task {number}")

    assert "is not newer than its own" in broken(into(first.id))[name]
    assert "no such task of that builder" in broken(into(other.id))[name]
    assert "no such task of that builder" in broken(altered(good, "tasks", same(newest), attempt=0))[name]
    assert "it had begun" in broken(altered(good, "tasks", same(task), attempt=1))[name]
    plain = altered(good, "tasks", same(task), builder_id=BUILDERS["unit"])
    assert "its builder collapses nothing" in broken(plain)[name]
    foreign = altered(good, "buildsets", lambda b: b.id == newest.buildset_id, scheduler_id=ID["quick"])
    assert "that one is of another kind" in broken(foreign)[name]


def test_an_older_request_that_runs_though_a_newer_one_waits(good):
    name = "requests_collapse_into_the_newest"
    second, newest = (task_of(good, b) for b in buildsets(good, "collapsing")[1:])
    late = altered(good, "tasks", same(newest), started_at=at(60))
    late = altered(late, "tasks", same(second), state="executed", result="success", attempt=1, started_at=at(50))
    assert f"task {second.id} of few began, though task {newest.id} had waited" in broken(late)[name]
    soon = altered(late, "tasks", lambda t: t.id == second.id, started_at=at(33))
    assert name not in broken(soon)


def test_an_older_task_that_goes_on_when_its_canceller_is_past_the_newer_change(good):
    name, task = "newer_changes_cancel_older_tasks", cancelled(good, "change 3 of the same")
    went_on = altered(good, "tasks", same(task), state="executed", result="success", finished_at=at(45), status_line="")
    assert "cancel-old was past change 3, and task" in broken(went_on)[name]
    unstarted = altered(went_on, "tasks", lambda t: t.id == task.id, started_at=at(40))
    assert name not in broken(unstarted), "it may have been invisible when the canceller looked"
    early = altered(unstarted, "tasks", lambda t: t.id == task.id, submitted_at=at(11))
    assert name in broken(early)


def test_a_useless_task_that_goes_on_though_nothing_is_wrong(good):
    name, task = "failures_cancel_useless_tasks", cancelled(good, "of bad failed")
    went_on = altered(good, "tasks", same(task), finished_at=at(57))
    assert "cancel-useless: task" in broken(went_on)[name]
    fault = dataclasses.replace(went_on, faults=type(good.faults)((FaultBegan(at(52) / 1e6, 1, "kill", "m1", {}),)))
    assert name not in broken(fault)


# -- stored schedules

NOMINAL = "every_nominal_time_is_accounted_for"


def execution(h, due, schedule=SCHEDULE):
    return next(e for e in h.rows.executions if e.schedule_id == schedule and e.due_at == at(due))


def test_a_nominal_time_that_is_lost_doubled_or_never_was(good):
    one = execution(good, 50)
    lost = without(good, "executions", same(one))
    assert "was due, and there is neither an execution nor a recorded skip" in broken(lost)[NOMINAL]
    skip = rows.ScheduleSkip(SCHEDULE, at(50), at(50), 1, "overlap skip: the run before it was unfinished", at(50.2))
    assert "has 1 executions, and 2 records in all" in broken(also(good, "schedule_skips", skip))[NOMINAL]
    again = told(
        good, OrderAsked(190, "b1", "schedule-backfill", "stored 1", {"key": "k", "first": at(45), "last": at(55)})
    )
    assert NOMINAL not in broken(also(again, "schedule_skips", skip)), "somebody asked for it again"
    odd = altered(good, "executions", same(one), due_at=at(53))
    assert "an execution for" in broken(odd)[NOMINAL]
    early = also(good, "executions", dataclasses.replace(one, id=993, due_at=at(10)))
    assert "which was never due" in broken(early)[NOMINAL]
    miscounted = altered(good, "schedule_skips", lambda k: k.first == at(70), count=2)
    assert "2 times skipped" in broken(miscounted)[NOMINAL]


def test_a_schedule_that_is_forgotten_gone_or_comes_back(good):
    behind = altered(good, "schedules", lambda s: True, examined=at(170))
    assert "and nobody looked at them until the end" in broken(behind)[NOMINAL]
    paused = altered(behind, "schedules", lambda s: True, paused=True)
    assert NOMINAL not in broken(without(paused, "executions", lambda e: e.due_at == at(180)))
    assert "stored 2 was made, and is not there" in broken(without(good, "schedules", lambda s: True))[NOMINAL]
    back = also(good, "schedules", rows.Schedule(SCHEDULE, "stored 1", False, at(20.5), at(145), None))
    assert "stored 1 was removed, and is there" in broken(back)[NOMINAL]


@pytest.mark.parametrize(
    "where, reason, wrong",
    [
        (70, "catch_up none: it came due while nobody could act", "its policy is another"),
        (70, "catch_up_limit: only the newest 2", "its policy is another"),
        (70, "overlap queue: one is waiting already", "its policy is another"),
        (70, "overlap skip: the run before it was unfinished", "no run before it was unfinished"),
        (70, "because", "that is no reason known"),
        (
            140,
            "catch_up one: only the newest of the times that came due together is served",
            "but no newer one was served",
        ),
    ],
)
def test_a_schedules_skip_that_its_policy_does_not_give(good, where, reason, wrong):
    found = altered(good, "schedule_skips", lambda k: k.first == at(where), reason=reason, at=at(95))
    assert wrong in broken(found)["schedule_skips_are_as_the_policy_says"]


def test_a_skip_of_a_removal_that_nobody_asked_for_and_of_a_queue_in_which_nobody_waited(good):
    name = "schedule_skips_are_as_the_policy_says"
    cut = rows.ScheduleSkip(
        SCHEDULE + 1, at(210), at(210), 1, "the schedule was removed before it could be served", at(190)
    )
    assert "nobody removed it" in broken(also(good, "schedule_skips", cut))[name]
    queue = retold(
        good, OrderAsked, lambda e: e.action == "schedule-add", args=lambda e: {**e.args, "overlap": "queue"}
    )
    queue = altered(
        queue, "schedule_skips", lambda k: k.first == at(140), reason="overlap queue: one is waiting already"
    )
    assert "none was waiting" in broken(queue)[name]


def test_a_schedule_that_fires_when_it_is_paused_or_removed(good):
    name = "what_a_person_said_holds"
    one = execution(good, 60)
    paused = altered(good, "executions", same(one), made_at=at(70))
    assert "after schedule-pause was answered" in broken(paused)[name]
    removed = altered(good, "executions", same(execution(good, 130)), made_at=at(150))
    assert "after schedule-remove was answered" in broken(removed)[name]


def test_an_execution_and_its_buildset_that_do_not_agree(good):
    name, one = "executions_and_buildsets_agree", execution(good, 50)
    assert "and its buildset is not there" in broken(without(good, "buildsets", lambda b: b.id == one.id))[name]
    assert "its buildset is there" in broken(altered(good, "executions", same(one), started_at=None))[name]
    assert "its buildset ended with success" in broken(altered(good, "executions", same(one), result="failure"))[name]
    assert "is there, or there is no reason" in broken(altered(good, "executions", same(one), state="dropped"))[name]
    assert "and its buildset had long ended" in broken(altered(good, "executions", same(one), state="started"))[name]
    assert "is no execution" in broken(without(good, "executions", same(one)))[name]


def test_executions_that_overlap_or_end_as_their_policy_does_not_say(good):
    name = "executions_do_not_overlap"
    early = altered(good, "executions", same(execution(good, 50)), started_at=at(40.2))
    assert "before the one before it had ended" in broken(early)[name]
    now = altered(early, "executions", same(execution(good, 40)), cause="run now")
    assert "before the one before it had ended" in broken(now)[name]
    turn = next(b.turn for b in good.rows.buildsets if b.id == execution(good, 40).id)
    together = altered(now, "buildsets", lambda b: b.id == execution(good, 50).id, turn=turn)
    assert name not in broken(together)
    due = altered(early, "buildsets", lambda b: b.id == execution(good, 50).id, turn=turn)
    assert "before the one before it had ended" in broken(due)[name]
    dropped = altered(
        good, "executions", same(execution(good, 50)), state="dropped", why="overlap replace: a newer one"
    )
    assert "was dropped (overlap replace" in broken(dropped)[name]
    stopped = altered(good, "executions", same(execution(good, 50)), result="cancelled")
    assert "was cancelled, and its overlap is skip" in broken(stopped)[name]
    replaced = altered(good, "executions", same(execution(good, 60, SCHEDULE + 1)), result="cancelled")
    assert name not in broken(replaced)


def test_a_run_now_that_is_doubled_lost_or_unasked(good):
    name = "every_run_now_is_one_execution"
    one = next(e for e in good.rows.executions if e.cause == "run now")
    other = altered(good, "executions", same(one), cause="backfill")
    assert "which is not there as 'run now'" in broken(other)[name]
    unasked = also(good, "executions", dataclasses.replace(one, id=994))
    assert "execution 994 (run now) of schedule 7 is no request's answer" in broken(unasked)[name]
    (first,) = (m for m in good.rows.messages if m.key == "stored-run_now-1")
    twice = also(good, "messages", dataclasses.replace(first, id=91, key="k"))
    assert "is the answer to stored-run_now-1 and to k" in broken(twice)[name]
