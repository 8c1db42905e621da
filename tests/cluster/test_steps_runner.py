"""Tasks run for real: processes, signals, output, properties, limits, and runners that are lost."""

from __future__ import annotations

import json
import resource
import secrets
import sys

import pytest
from locum.config.secret import Secret
from locum.db import members, tasks
from locum.db.effects import Stamp
from locum.db.errors import DatabaseAway
from locum.master.surroundings import RemoteDatabase
from locum.master.tasks.lost import LostTasks
from locum.tests.support import reactors
from locum.tests.support.cluster_rows import PROCESS, builder, buildset, end, execute, join
from locum.tests.support.guards import marked
from locum.tests.support.task_bench import Bench, log_of, section, shell, shown

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def bench(db, tmp_path):
    """Runs ``step(bench)`` with a runner for some builders; it is killed afterwards, whatever happened."""

    def run(step, *sections, bound_s=40.0, **keys):
        async def go(surroundings):
            made = Bench(db, surroundings, tmp_path / "work", *sections, **keys)
            try:
                return await step(made)
            finally:
                await made.runner.kill()

        return reactors.run(go, bound_s)

    return run


def run_one(bench, *steps, properties=None, stamps=(), bound_s=40.0, **keys):
    """One task of one builder, at rest."""

    async def step(made):
        (task,) = await made.ended(*made.submit(properties=properties, stamps=stamps))
        return task

    return bench(step, section("unit", *steps, **keys), bound_s=bound_s)


def script(text):
    return [sys.executable, "-c", text]


def test_a_task_runs_its_steps_in_turn_and_its_buildset_completes(db, bench):
    async def step(made):
        (task,) = await made.ended(*made.submit())
        assert (task.task.state, task.task.result, task.task.attempt) == ("executed", "success", 1)
        assert [(s.name, s.state, s.exit_code) for s in task.steps] == [("one", "done", 0), ("two", "done", 0)]
        assert log_of(db, task.task.id, step=0) == "first\n"
        assert log_of(db, task.task.id, step=1) == "second\n"
        await made.until(lambda: "finished" in made.announced, "the buildset is announced")

    bench(step, section("unit", shell(["echo", "first"], name="one"), shell("echo second", name="two")))
    assert execute(db, "SELECT result FROM buildsets")[0][0] == "success"


def test_a_step_that_fails_fails_the_task_and_the_rest_is_not_run(db, bench):
    task = run_one(bench, shell("echo so far; exit 3", name="bad"), shell(["echo", "never"]))
    assert (task.task.state, task.task.result) == ("failed", "failure")
    assert [(s.name, s.state, s.exit_code, s.why) for s in task.steps] == [("bad", "failed", 3, "exit code 3")]
    assert task.task.status_line == "step 'bad' failed: exit code 3"
    assert log_of(db, task.task.id) == "so far\n"


@ON_SQLITE
def test_a_program_that_is_not_there_is_named(bench):
    task = run_one(bench, shell(["no-such-program", "-x"]))
    assert task.steps[0].why == "cannot start 'no-such-program': No such file or directory"
    assert task.task.state == "failed"


@ON_SQLITE
def test_a_time_limit_ends_the_step_and_all_that_it_started(bench):
    mark = secrets.token_hex(8)
    env = {"MARK": mark}
    task = run_one(bench, shell("sleep 600 & sleep 600; echo never", timeout=0.5, env=env, name="slow"))
    assert task.steps[0].why == "killed: its time limit of 500ms was over"
    assert (task.task.state, task.task.result) == ("failed", "failure")
    assert marked(f"MARK={mark}") == []


def test_output_can_be_read_in_order_while_the_step_runs(db, bench, tmp_path):
    go_on = tmp_path / "go_on"

    async def step(made):
        (task,) = made.submit()
        await made.log_has(task, "before\n")
        assert shown(db, task).task.state == "executing"
        go_on.touch()
        await made.ended(task)
        assert log_of(db, task) == "before\n" + "".join(f"{n}\n" for n in range(5000))

    wait = f"echo before; while [ ! -e {go_on} ]; do sleep 0.02; done; seq 0 4999"
    bench(step, section("unit", shell(wait)))


@ON_SQLITE
def test_hundred_megabytes_of_output_are_cut_and_take_little_memory(db, bench):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async def step(made):
        (task,) = await made.ended(*made.submit())
        return task

    line = "head -c 100000000 /dev/zero | tr '\\0' x | fold -w 99; echo end"
    task = bench(step, section("unit", shell(line)), log_limit=300_000)
    log = log_of(db, task.task.id)
    assert task.task.result == "success"
    assert log.endswith("\n... output beyond 300000 bytes dropped\n")
    assert len(log) < 300_100
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


def test_any_bytes_can_be_kept(db, bench):
    task = run_one(bench, shell(script("import os; os.write(1, b'a\\0b\\xffc\\xc3\\xa4\\xe2\\x82')")))
    assert log_of(db, task.task.id) == "a�b�cä�"


@ON_SQLITE
def test_properties_reach_commands_as_one_argument_and_never_as_shell(db, bench, tmp_path):
    evil = "; touch pwned; $(touch pwned) `touch pwned` 'q' \"d\"\nnext %(prop:number)s"
    values = {
        "evil": evil,
        "dash": "-x",
        "number": 7,
        "flag": True,
        "none": None,
        "list": [1, "ä"],
        "__class__": "dunder",
    }
    show = script("import sys, json; print(json.dumps(sys.argv[1:]))")
    task = run_one(
        bench,
        shell(
            [
                *show,
                "%(prop:evil)s",
                "%(prop:dash)s",
                "[%(prop:number)s]",
                "%(prop:flag)s",
                "%(prop:gone:-other)s",
                "100%%",
            ]
        ),
        shell('printf "%s|" "$LOCUM_PROP_EVIL" "$LOCUM_PROP_LIST" "$LOCUM_PROP___CLASS__"; test -z "$LOCUM_PROP_NONE"'),
        properties=values,
    )
    assert task.task.result == "success", log_of(db, task.task.id)
    assert json.loads(log_of(db, task.task.id, step=0)) == [evil, "-x", "[7]", "true", "other", "100%"]
    assert log_of(db, task.task.id, step=1) == f'{evil}|[1, "ä"]|dunder|'
    assert not list(tmp_path.rglob("pwned"))


@ON_SQLITE
def test_an_unknown_property_fails_the_step_with_the_cure(bench):
    task = run_one(bench, shell(["echo", "%(prop:missing)s"]))
    assert task.steps[0].why == (
        "the command needs the property 'missing', which this task does not have;"
        " give it to the buildset, or write %(prop:missing:-DEFAULT)s"
    )


@ON_SQLITE
def test_values_that_no_command_can_take_are_left_out_or_fail_clearly(db, bench):
    values = {"nul": "a\0b", "long": "x" * 200_000, "fine": "y"}
    task = run_one(
        bench, shell("echo $LOCUM_PROP_FINE ${LOCUM_PROP_NUL-unset} ${LOCUM_PROP_LONG-unset}"), properties=values
    )
    log = log_of(db, task.task.id)
    assert log.endswith("y unset unset\n")
    assert 'property "nul" is not in the environment: it holds a NUL' in log


@ON_SQLITE
def test_built_in_properties_and_a_bare_environment(db, bench, monkeypatch):
    async def step(made):
        stamp = Stamp.of("", "/repo", "main", "abc", "proj")
        (task,) = await made.ended(*made.submit(stamps=[stamp], properties={"builder": "forged", "own": "set"}))
        got = dict(line.split("=", 1) for line in log_of(db, task.task.id).splitlines())
        got.pop("PWD", None), got.pop("SHLVL", None), got.pop("_", None), got.pop("OLDPWD", None)
        assert got == {
            "PATH": "/usr/bin:/bin",
            "TZ": "UTC",
            "LOCUM_PROP_BRANCH": "main",
            "LOCUM_PROP_REVISION": "abc",
            "LOCUM_PROP_REPOSITORY": "/repo",
            "LOCUM_PROP_PROJECT": "proj",
            "LOCUM_PROP_CODEBASE": "",
            "LOCUM_PROP_SCHEDULER": "quick",
            "LOCUM_PROP_BUILDER": "unit",
            "LOCUM_PROP_BUILDSET": "1",
            "LOCUM_PROP_TASK": "1",
            "LOCUM_PROP_OWN": "set",
            "LOCUM_PROP_DEFAULT": "d",
            "A": "builder",
            "B": "step",
            "LC_CTYPE": "C.UTF-8",
        }

    unit = section(
        "unit",
        shell("env", env={"B": "step"}),
        env={"A": "builder", "B": "builder"},
        properties={"own": 1, "default": "d"},
    )
    bench(step, unit, inherited={"PATH": "/usr/bin:/bin", "TZ": "UTC", "LOCUM_DATABASE_URL": "secret", "OTHER": "x"})


@ON_SQLITE
def test_secrets_of_the_environment_do_not_reach_the_log_even_in_pieces(db, bench):
    text = "import os, time; s = os.environ['TOKEN']; os.write(1, b'a' + s[:5].encode()); time.sleep(0.2); os.write(1, s[5:].encode() + b'z\\n')"
    task = run_one(bench, shell(script(text), env={"TOKEN": Secret("hunter2hunter2")}))
    assert log_of(db, task.task.id) == "a***z\n"


@ON_SQLITE
def test_two_tasks_of_one_builder_never_share_a_folder(db, bench, tmp_path):
    async def step(made):
        await made.ended(*made.submit("a.b/c"), *made.submit("a.b/c"))

    meet = f'pwd; touch {tmp_path}/$LOCUM_PROP_TASK; while [ $(ls {tmp_path} | grep -c "^[12]$") -lt 2 ]; do sleep 0.02; done'
    bench(step, section("a.b/c", shell(meet)))
    assert {log_of(db, 1).strip(), log_of(db, 2).strip()} == {f"{tmp_path}/work/a%2Eb%2Fc/{slot}" for slot in (0, 1)}


def test_max_parallel_holds_across_two_runners(db, bench, tmp_path):
    async def step(made):
        other = Bench(db, made.surroundings, tmp_path / "other", limited, incarnation="other")
        ids = [made.submit()[0] for _ in range(6)]
        other.runner.wake()
        await made.ended(*ids)
        await other.runner.kill()

    limited = section(
        "limited", shell(f"mkdir {tmp_path}/alone && sleep 0.05 && rmdir {tmp_path}/alone"), max_parallel=1
    )
    bench(step, limited)
    assert {row[0] for row in execute(db, "SELECT result FROM tasks")} == {"success"}


@ON_SQLITE
def test_the_highest_priority_runs_first_then_the_oldest(db, bench, tmp_path):
    async def step(made):
        (first,) = made.submit("unit")
        await made.log_has(first, "1")
        low, high, low_too = (made.submit("unit", priority=p)[0] for p in (0, 5, 0))
        (tmp_path / "go").touch()
        await made.ended(low, high, low_too)
        started = {t: shown(db, t).task.started_at for t in (low, high, low_too)}
        assert sorted(started, key=started.get) == [high, low, low_too]

    bench(
        step,
        section("unit", shell(f"echo $LOCUM_PROP_TASK; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done")),
        max_running=1,
    )


def test_draining_claims_no_more_and_waits_for_what_runs(db, bench, tmp_path):
    async def step(made):
        (task,) = made.submit()
        await made.log_has(task, "up")
        assert await made.runner.drain(0.05) is False
        draining = made.runner.drain(30)
        (late,) = made.submit()
        (tmp_path / "go").touch()
        assert await draining is True
        assert shown(db, task).task.result == "success"
        assert shown(db, late).task.state == "queued"

    bench(step, section("unit", shell(f"echo up; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done")))


@pytest.mark.parametrize("on_lost, state, result", [("fail", "failed", "exception"), ("requeue", "queued", None)])
def test_a_stopped_runner_ends_its_steps_as_their_builder_says(db, bench, on_lost, state, result):
    mark = secrets.token_hex(8)

    async def step(made):
        (task,) = made.submit()
        await made.log_has(task, "up")
        await made.runner.kill()
        assert marked(f"MARK={mark}") == []
        row = shown(db, task).task
        assert (row.state, row.result, row.status_line) == (state, result, "the master was stopped")

    bench(step, section("unit", shell("echo up; sleep 600", env={"MARK": mark}), on_lost=on_lost))


def test_steps_outlive_an_outage_of_the_database_and_all_is_recorded_afterwards(db, bench, tmp_path, monkeypatch):
    away = []
    write = RemoteDatabase.write

    def sometimes(self, *args, **kw):
        if away:
            raise DatabaseAway("gone")
        return write(self, *args, **kw)

    monkeypatch.setattr(RemoteDatabase, "write", sometimes)

    async def step(made):
        (task,) = made.submit()
        await made.log_has(task, "before")
        away.append(1)
        (tmp_path / "go").touch()
        await made.until((tmp_path / "ended").exists, "the step ends")
        assert shown(db, task).task.state == "executing"
        away.clear()
        (row,) = await made.ended(task)
        assert (row.task.result, log_of(db, task)) == ("success", "before\n" + "x\n" * 1000)

    line = f"echo before; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; yes x | head -1000; touch {tmp_path}/ended"
    bench(step, section("unit", shell(line)))


@ON_SQLITE
def test_a_command_dies_at_the_deadline_that_no_beat_has_moved(db, bench):
    async def step(made):
        (task,) = made.submit()
        await made.log_has(task, "up")
        made.runner.beat(made.surroundings.boottime() + 600)
        made.runner.beat(made.surroundings.boottime() + 0.1)
        (row,) = await made.ended(task)
        assert (row.task.state, row.task.result) == ("failed", "exception")
        assert "heard nothing from the database" in row.task.status_line

    bench(step, section("unit", shell("echo up; sleep 600")))


def test_a_runner_declared_lost_that_wakes_changes_nothing_and_its_step_is_killed(db, bench, tmp_path):
    """Promise P6, with the first runner's step still under way."""
    mark = secrets.token_hex(8)

    async def step(made):
        (task,) = made.submit()
        await made.log_has(task, "attempt")
        end(db, "me")
        assert db.write(tasks.lost, "me", 0, "runner lost").requeued == (task,)
        other = Bench(db, made.surroundings, tmp_path / "other", unit, incarnation="other")
        await made.until(lambda: shown(db, task).task.attempt == 2, "the other claims it")
        (tmp_path / "go").touch()  # both attempts go on and succeed
        await other.ended(task)
        made.runner.rejoined(RemoteDatabase(db, made.surroundings), join(db, "again", old="me"))
        await made.until(lambda: made.runner.running == 0, "the first runner gives it up")
        row = shown(db, task)
        assert (row.task.master, row.task.attempt, row.task.result) == ("name-other", 2, "success")
        assert "late" not in log_of(db, task, attempt=1)
        assert [s.state for s in row.steps] == ["failed", "done"]
        assert marked(f"MARK={mark}") == []
        await other.runner.kill()

    line = f"echo attempt; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo late"
    unit = section("unit", shell(line, env={"MARK": mark}), on_lost="requeue")
    bench(step, unit)


def test_what_is_claimed_behind_the_runners_back_is_queued_again(db, bench):
    """A claim whose answer was lost may be committed long after its runner has looked for it."""

    async def step(made):
        other = builder(db, "other")  # which this runner does not ask for, so that it is this claim that it sees
        _, (task,) = buildset(db, [other])
        assert [t.id for t in db.write(tasks.claim, "me", [other], 1)] == [task]
        made.runner.wake()
        await made.until(lambda: shown(db, task).task.state == "queued", "it is given back")
        assert made.runner.running == 0

    bench(step, section("unit", shell("true")))


def test_tasks_go_on_under_the_next_incarnation_of_their_process(db, bench, tmp_path):
    async def step(made):
        (task,) = made.submit()
        await made.log_has(task, "before")
        end(db, "me")
        join(db, "again", old="me")
        (tmp_path / "go").touch()
        await made.until((tmp_path / "ended").exists, "the step ends")
        made.runner.rejoined(RemoteDatabase(db, made.surroundings), "again")
        (row,) = await made.ended(task)
        assert (row.task.master, row.task.result) == ("name-again", "success")
        assert log_of(db, task) == "before\nafter\n"
        (later,) = await made.ended(*made.submit())
        assert later.task.master == "name-again"

    line = f"echo before; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo after; touch {tmp_path}/ended"
    bench(step, section("unit", shell(line)))


def test_reconfiguring_leaves_what_runs_alone(db, bench, tmp_path):
    async def step(made):
        (task,) = made.submit()
        await made.log_has(task, "old")
        changed = section("unit", shell("echo new"))
        made.runner.reconfigured({"unit": changed}, made.ids, made.runner._settings)
        (later,) = await made.ended(*made.submit())
        assert log_of(db, later.task.id) == "new\n"
        (tmp_path / "go").touch()
        await made.ended(task)
        assert log_of(db, task) == "old\nstill old\n"

    line = f"echo old; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done"
    bench(step, section("unit", shell(line), shell("echo still old")))


def lost_tasks(made, me, lost_after_s=300.0, announced=None):
    announce = (announced if announced is not None else []).append
    return LostTasks(RemoteDatabase(made.db, made.surroundings), me, lost_after_s, made.surroundings, announce)


def test_the_tasks_of_a_runner_that_is_proved_dead_end_at_once_and_those_of_a_living_one_do_not(db, bench):
    async def step(made):
        unit = made.ids["unit"]
        me = members.Process("host", "machine", "boot2", 1, 1)
        made.runner.drain(0)
        for incarnation, machine, state in (
            ("dead", "machine", "lost"),
            ("far", "elsewhere", "lost"),
            ("up", "machine", "up"),
        ):
            join(db, incarnation, members.Process("host", machine, "boot1", 1, 1))
            made.submit()
            db.write(tasks.claim, incarnation, [unit], 1)
            execute(db, "UPDATE masters SET state = :s WHERE incarnation = :i", s=state, i=incarnation)
        announced: list[str] = []
        looks = lost_tasks(made, me, announced=announced)
        await looks.step()
        await looks.step()
        rows = {shown(db, t).task.state: shown(db, t).task for t in (1, 2, 3)}
        assert shown(db, 1).task.status_line == "runner lost: host was started anew"
        assert [shown(db, t).task.state for t in (1, 2, 3)] == ["failed", "executing", "executing"], rows
        assert announced == ["tasks", "finished"]

    bench(step, section("unit", shell("true")))


def test_a_silent_runner_is_lost_only_after_a_silence_that_was_watched(db, bench):
    async def step(made):
        made.runner.drain(0)
        join(db, "far", members.Process("host", "elsewhere", "boot1", 1, 1))
        made.submit()
        db.write(tasks.claim, "far", [made.ids["unit"]], 1)
        execute(db, "UPDATE masters SET last_beat_at = last_beat_at - 3600000000 WHERE incarnation = 'far'")
        looks = lost_tasks(made, PROCESS, 0.2)
        await looks.step()
        assert shown(db, 1).task.state == "executing"  # the database may have been away for all
        seen = made.surroundings.boottime()
        await made.until(lambda: made.surroundings.boottime() > seen + 0.2, "a while")
        db.single(members.beat, "far", 10_000_000, 0, None)
        execute(db, "UPDATE masters SET last_beat_at = last_beat_at - 3600000000 WHERE incarnation = 'far'")
        await looks.step()
        assert shown(db, 1).task.state == "executing"
        again = made.surroundings.boottime()
        await made.until(lambda: made.surroundings.boottime() > again + 0.2, "a while")
        await looks.step()
        assert "was silent for 3600 s" in shown(db, 1).task.status_line

    bench(step, section("unit", shell("true")))
