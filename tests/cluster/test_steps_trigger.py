"""Steps that trigger other schedulers, Dependent and what they wait for, while masters are killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from locum.config.builders import StepSection
from locum.db import messages, orders
from locum.db.effects import Stamp
from locum.master.tasks.runner import TaskRunner
from locum.tests.support import reactors
from locum.tests.support.cluster import Cluster, branch
from locum.tests.support.cluster_rows import execute
from locum.tests.support.task_bench import Bench, log_of, section, shell

Make = Callable[..., Cluster]


@pytest.fixture
def bench(db, tmp_path):
    """Runs ``step(bench)`` with a runner for some builders; what a scheduler would do is done by hand."""

    def run(step, *sections, **keys):
        execute(db, "INSERT INTO schedulers (id, kind, name, type) VALUES (50, 'scheduler', 'deploy', 'Triggerable')")
        execute(db, "INSERT INTO schedulers (id, kind, name, type) VALUES (51, 'scheduler', 'docs', 'Triggerable')")

        async def go(surroundings):
            made = Bench(db, surroundings, tmp_path / "work", *sections, **keys)
            try:
                return await step(made)
            finally:
                await made.runner.kill()

        return reactors.run(go, 40.0)

    return run


def trigger(*names: str, **keys: Any) -> StepSection:
    return StepSection("trigger", "trigger", schedulerNames=names, **{"timeout": None, **keys})


def waiting(db, scheduler=50):
    return db.read(messages.waiting, [scheduler])


def answer(db, message, **body):
    execute(db, "UPDATE messages SET answer_json = :a, answered_at = 1 WHERE id = :i", a=json.dumps(body), i=message.id)


def add_buildset(db, number, result=None):
    execute(
        db,
        "INSERT INTO buildsets (id, reason, submitted_at, properties_json, tasks_left, result) VALUES (:i, '', 1, '{}', 1, :r)",
        i=number,
        r=result,
    )


async def heard(made, scheduler=50):
    """The one message that waits."""
    await made.until(lambda: waiting(made.db, scheduler), "a message")
    (message,) = waiting(made.db, scheduler)
    return message


def test_a_trigger_step_hands_on_what_the_task_builds(db, bench):
    stamps = [Stamp.of("", "git://app", "main", None, "p", '{"level": 1, "body": "x"}'), Stamp.of("lib", "git://lib")]

    async def step(made):
        (task,) = made.submit(properties={"env": "prod", "n": 3, "got_revision": "abc"}, stamps=stamps)
        message = await heard(made)
        assert (message.kind, message.key, message.made_by) == ("trigger", f"trigger:{task}:1:0", f"task {task}")
        assert message.body == {
            "waited_for": False,
            "sourcestamps": [
                {
                    **{"codebase": "", "repository": "git://app", "branch": "main", "revision": "abc", "project": "p"},
                    "patch": {"level": 1, "body": "x"},
                },
                {"codebase": "lib", "repository": "git://lib", "branch": None, "revision": None, "project": ""},
            ],
            "set_props": {"to": "prod-3", "count": 3, "plain": [1]},
            "parent_buildid": task,
            "parent_relationship": "Triggered from",
            "priority": 5,
        }
        answer(db, message, buildset=77, tasks={"unit": 1})
        (ended,) = await made.ended(task)
        assert ended.task.result == "success"
        assert "deploy made buildset 77" in log_of(db, task)
        assert "messages" in made.announced

    properties = {"to": "%(prop:env)s-%(prop:n)s", "count": "%(prop:n)s", "plain": [1]}
    bench(step, section("unit", trigger("deploy", set_properties=properties, priority=5)))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"alwaysUseLatest": True}, []),
        ({"updateSourceStamp": False}, [{"codebase": "", "revision": "r1"}]),
        (
            {"sourceStamps": ({"codebase": "x", "branch": "%(prop:where)s", "revision": ""},)},
            [{"codebase": "x", "branch": "stable", "revision": None}],
        ),
    ],
    ids=["latest", "its own", "given"],
)
def test_which_source_stamps_are_handed_on_can_be_said(db, bench, keys, expected):
    async def step(made):
        made.submit(properties={"where": "stable", "got_revision": "abc"}, stamps=[Stamp.of(revision="r1")])
        message = await heard(made)
        found = message.body["sourcestamps"]
        wanted = [set(one) for one in expected]
        assert [{k: stamp[k] for k in keys_} for stamp, keys_ in zip(found, wanted, strict=True)] == expected
        answer(db, message, buildset=1)

    bench(step, section("unit", trigger("deploy", **keys)))


@pytest.mark.parametrize("result", ["success", "warnings", "failure", "cancelled"])
def test_a_step_that_waits_ends_as_the_buildset_does(db, bench, result):
    async def step(made):
        (task,) = made.submit()
        message = await heard(made)
        assert message.body["waited_for"] is True
        add_buildset(db, 7)
        answer(db, message, buildset=7)
        made.runner.heard()
        await made.log_has(task, "made buildset 7")
        assert execute(db, "SELECT result FROM tasks WHERE id = :t", t=task)[0][0] is None
        execute(db, "UPDATE buildsets SET result = :r WHERE id = 7", r=result)
        made.runner.heard()
        (ended,) = await made.ended(task)
        good = result in ("success", "warnings")
        assert ended.task.result == ("success" if good else "failure")
        if not good:
            assert ended.steps[0].why == f"buildset 7 of deploy: {result}"

    bench(step, section("unit", trigger("deploy", waitForFinish=True), shell(["true"])))


def test_an_unimportant_scheduler_may_fail_and_refuse(db, bench):
    async def step(made):
        (task,) = made.submit()
        add_buildset(db, 7, "success")
        answer(db, await heard(made), buildset=7)
        add_buildset(db, 8, "failure")
        answer(db, await heard(made, 51), buildset=8)
        made.runner.heard()
        (ended,) = await made.ended(task)
        assert ended.task.result == "success"
        assert "buildset 8 of docs: failure" in log_of(db, task) and "nobody refused" in log_of(db, task)

    bench(step, section("unit", trigger("deploy", unimportantSchedulerNames=("docs", "nobody"), waitForFinish=True)))


def test_an_unknown_and_a_disabled_scheduler_fail_the_step_at_once(db, bench):
    """Defect 19: disabled schedulers still obeyed force and trigger."""

    async def step(made):
        db.write(orders.disable, "deploy", "broken", "ann")
        (task,) = made.submit("unit")
        (ended,) = await made.ended(task)
        assert "deploy refused" in ended.steps[0].why and "is disabled (broken)" in ended.steps[0].why
        (task,) = made.submit("other")
        (ended,) = await made.ended(task)
        assert "nobody refused" in ended.steps[0].why

    bench(step, section("unit", trigger("deploy")), section("other", trigger("nobody")))


def test_a_trigger_that_is_disabled_while_it_waits_is_told_so(db, bench):
    async def step(made):
        (task,) = made.submit()
        await heard(made)
        db.write(orders.disable, "deploy", "broken", "ann")
        made.runner.heard()
        (ended,) = await made.ended(task)
        assert ended.steps[0].why == "deploy refused: broken"

    bench(step, section("unit", trigger("deploy")))


def test_a_step_is_shown_by_its_name(db, bench):
    async def step(made):
        (task,) = made.submit()
        (ended,) = await made.ended(task)
        assert ended.steps[0].name == "roll out"

    bench(step, section("unit", StepSection("trigger", "roll out", schedulerNames=("nobody",))))


def test_a_waiting_step_takes_up_no_room_and_goes_on_only_when_there_is_some(db, bench, tmp_path):
    """Else tasks that wait for tasks that wait for room would wait for ever."""
    mark = tmp_path / "release"
    release = mark.touch

    async def step(made):
        (first,) = made.submit("waits")
        message = await heard(made)
        (busy,) = made.submit("busy")
        await made.log_has(busy, "begun")
        answer(db, message, buildset=7)
        made.runner.heard()
        (later,) = made.submit("unit")
        await made.until(lambda: not made.runner._outcomes._answers, "the answer is heard")
        assert made.runner.running == 2 and "made buildset" not in log_of(db, first)
        assert execute(db, "SELECT attempt FROM tasks WHERE id = :t", t=later)[0][0] == 0, "there is room for one"
        release()
        for ended in await made.ended(first, busy, later):
            assert ended.task.result == "success"

    wait = f"echo begun; while [ ! -e {mark} ]; do sleep 0.05; done"
    sections = section("waits", trigger("deploy")), section("busy", shell(wait)), section("unit", shell(["true"]))
    bench(step, *sections, max_running=1)


def test_a_step_s_time_limit_ends_its_waiting(db, bench):
    async def step(made):
        (task,) = made.submit()
        (ended,) = await made.ended(task)
        assert "time limit" in ended.steps[0].why

    bench(step, section("unit", trigger("deploy", timeout=0.3)))


def test_a_runner_that_stops_interrupts_its_waiting(db, bench):
    async def step(made):
        (task,) = made.submit()
        await heard(made)
        runner: TaskRunner = made.runner
        await runner.kill()
        (ended,) = await made.ended(task)
        assert ended.task.result == "exception" and "the master was stopped" in ended.task.status_line

    bench(step, section("unit", trigger("deploy")))


# -- whole clusters


def pipeline(mark: Path) -> dict[str, Any]:
    release = mark.parent / "release"
    slow = f"echo x >> {mark}; while [ ! -e {release} ]; do sleep 0.05; done"
    return {
        "builders": [
            {
                "name": "build",
                "on_lost": "requeue",
                "steps": [{"trigger": ["deploy"], "waitForFinish": True, "set_properties": {"from": "%(prop:task)s"}}],
            },
            {"name": "roll", "on_lost": "requeue", "steps": [{"shell": slow}]},
            {"name": "announce", "steps": [{"shell": ["true"]}]},
        ],
        "schedulers": [
            branch("quick", builderNames=["build"]),
            {"type": "Triggerable", "name": "deploy", "builderNames": ["roll"]},
            {"type": "Dependent", "name": "tell", "upstream": "quick", "builderNames": ["announce"]},
        ],
    }


def results(c: Cluster, scheduler: str) -> list[str | None]:
    return [r[0] for r in c.rows("SELECT result FROM buildsets WHERE scheduler = :s", s=scheduler)]


def test_the_scheduler_that_was_triggered_fails_over_and_the_step_hears_of_the_end(
    cluster: Make, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    c = cluster(**pipeline(mark), tasks={"lost_after": "2s"})
    c.configure("tasks", master={"roles": ["tasks"]})
    for name in ("s1", "s2"):
        c.configure(name, master={"roles": ["schedulers"]})
    c.start("tasks", "s1", "s2", write=False)
    c.wait_held("quick", "deploy", "tell")
    holder = c.holder("deploy")
    assert holder is not None
    c.freeze(holder)  # the message waits for a scheduler that nobody serves
    other = "s2" if holder == "s1" else "s1"
    c.add_changes(["r0"])
    c.wait_held("quick", "deploy", "tell", by=[other], active=False)
    c.until(mark.exists, "the triggered task runs")
    c.kill(other)
    (tmp_path / "release").touch()
    c.until(lambda: results(c, "quick") == ["success"], "the step has heard of it")
    assert results(c, "deploy") == ["success"]
    c.start("s3", write=True)
    c.until(lambda: results(c, "tell") == ["success"], "what completed while nobody held the Dependent is served")
    c.thaw(holder)
    c.add_changes(["r1"])
    c.until(lambda: results(c, "tell") == ["success"] * 2, "and so is the next")
    assert results(c, "deploy") == ["success"] * 2
    assert len(mark.read_text().split()) == 2


def test_the_runner_of_the_step_is_killed_and_another_attempt_triggers_anew(cluster: Make, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    c = cluster(**pipeline(mark), tasks={"lost_after": "2s"})
    c.configure("runs", master={"roles": ["tasks"]})
    c.configure("decides", master={"roles": ["schedulers"]})
    c.start("runs", "decides", write=False)
    c.wait_held("quick", "deploy", "tell")
    c.add_changes(["r0"])
    c.until(mark.exists, "the triggered task runs")
    c.kill("runs")
    (tmp_path / "release").touch()
    c.start("again", write=True)
    c.until(lambda: results(c, "tell") == ["success"], "all is done in the end")
    keys = [r[0] for r in c.rows("SELECT key FROM messages ORDER BY id")]
    task = c.value("SELECT min(t.id) FROM tasks t JOIN builders b ON b.id = t.builder_id WHERE b.name = 'build'")
    assert keys == [f"trigger:{task}:1:0", f"trigger:{task}:2:0"], "each attempt once"
    assert results(c, "deploy") == ["success"] * 2 and results(c, "quick") == ["success"]
