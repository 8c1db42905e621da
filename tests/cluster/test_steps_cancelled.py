"""A task that is cancelled while it runs: its command is killed, and nothing more is recorded of it."""

import psutil
from locum.db import turns
from locum.db.effects import Effects
from locum.tests.support import reactors
from locum.tests.support.cluster import branch
from locum.tests.support.cluster_rows import execute
from locum.tests.support.task_bench import Bench, log_of, section, shell


def test_the_command_of_a_cancelled_task_is_killed_and_the_next_one_runs(db, tmp_path):
    mark = tmp_path / "pid"
    waits = section("waits", shell(f"echo $$ > {mark}; echo begun; exec sleep 600"))

    async def go(surroundings):
        made = Bench(db, surroundings, tmp_path / "work", waits, section("next", shell(["true"])), max_running=1)
        try:
            (task,) = made.submit("waits")
            await made.log_has(task, "begun")
            pid = int(mark.read_text())
            (after,) = made.submit("next")
            assert not db.write(turns.commit, "owner", [Effects(1, 1, cancel_tasks={task: "too old"})]).refused
            made.runner.cancelled()
            await made.until(lambda: not psutil.pid_exists(pid), "the command is killed")
            await made.ended(after)
            (row,) = execute(db, "SELECT state, result, status_line FROM tasks WHERE id = :t", t=task)
            assert tuple(row) == ("cancelled", "cancelled", "too old")
            assert "begun" in log_of(db, task)
        finally:
            await made.runner.kill()

    reactors.run(go, 40.0)


def test_two_cancellers_work_in_a_cluster_whose_master_is_killed(cluster, tmp_path):
    """The old build of a branch, and what is left of a buildset that failed."""
    release = tmp_path / "release"
    hold = f"while [ ! -e {release} ]; do sleep 0.05; done"
    c = cluster(
        builders=[
            {"name": "unit", "steps": [{"shell": hold}]},
            {"name": "bad", "steps": [{"shell": ["false"]}]},
            {"name": "useless", "steps": [{"shell": hold}]},
        ],
        schedulers=[
            branch("quick"),
            branch("pair", "side", builderNames=["bad", "useless"]),
            {"type": "OldBuildCanceller", "name": "old", "filters": [{"builders": ["unit"]}]},
            {"type": "FailingBuildsetCanceller", "name": "fail", "filters": [{"builders": ["bad"]}]},
        ],
    )
    c.configure("tasks", master={"roles": ["tasks"]})
    c.configure("s1", master={"roles": ["schedulers"]})
    c.configure("s2", master={"roles": ["schedulers"]})
    c.start("tasks", "s1", "s2", write=False)
    c.wait_held("quick", "pair", "old", "fail")
    c.add_changes(["r0"])
    result = (
        "SELECT t.result FROM tasks t JOIN builders b ON b.id = t.builder_id WHERE b.name = :b ORDER BY t.submitted_at"
    )
    c.until(lambda: c.rows("SELECT 1 FROM log_chunks") or c.rows("SELECT 1 FROM steps"), "the first build runs")
    c.kill(c.holder("old"))
    c.add_changes(["r1"])
    c.until(lambda: [r[0] for r in c.rows(result, b="unit")] == ["cancelled", None], "the older build is cancelled")
    c.add_changes(["s0"], branch="side")
    c.until(lambda: [r[0] for r in c.rows(result, b="useless")] == ["cancelled"], "what is left of a failed one too")
    release.touch()
    c.until(lambda: [r[0] for r in c.rows(result, b="unit")] == ["cancelled", "success"], "the newer build succeeds")
    assert [r[0] for r in c.rows("SELECT result FROM buildsets WHERE scheduler = 'pair'")] == ["cancelled"]
