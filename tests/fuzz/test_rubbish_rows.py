"""Rubbish in the database: a command says which row, a master lets only what the row belongs to fail.

Every run tries the same sample; ``LOCUM_FUZZ_SEED=2`` takes another one, ``LOCUM_FUZZ_SEED=all`` all of it (half an hour).
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from locum.db.database import Database
from locum.master.commands.main import run
from locum.schedulers import BaseScheduler, NotActive, Periodic, SingleBranchScheduler
from twisted.internet.defer import Deferred

from ..conftest import opened
from ..contract.scene import execute
from .rubbish import Rubbish, every_rubbish, fill

LOOKS = [
    "status", "scheduler list", "scheduler show quick", "scheduler failures", "change list", "buildset list", "buildset show 1",
    "task list", "task show 10", "schedule list", "schedule show 1", "schedule next", "next",
]  # fmt: skip
COMMANDS = [
    *LOOKS, *(f"{look} --json" for look in LOOKS), "next --calendar",
    "explain 1", "explain quick", "explain buildset:1", "explain schedule:1",
    "task log 10", "scheduler failures quick --retry all", "db check", "db check --json",
    "scheduler disable quick", "scheduler enable quick", "rebalance", "schedule pause 1", "schedule resume 1",
]  # fmt: skip
SAMPLE = 60
SEED = os.environ.get("LOCUM_FUZZ_SEED", "1")
EVERY = every_rubbish()
CHOSEN = EVERY if SEED == "all" else random.Random(SEED).sample(EVERY, SAMPLE)


@pytest.fixture(scope="module")
def filled(_sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with something in every table."""
    path = tmp_path_factory.mktemp("filled") / "locum.sqlite"
    shutil.copy(_sqlite_template, path)
    database = opened(f"sqlite:///{path}")
    fill(database)
    database.close()
    assert run(["schedule", "add", "--cron", "0 3 * * *", "--builder", "unit", "--database", f"sqlite:///{path}"]) == 0
    return path


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[str, Path], tuple[int, str]]:
    """Runs a command on a database: its exit code, and what it said on standard error."""

    def call(command: str, path: Path) -> tuple[int, str]:
        capsys.readouterr()
        code = run([*command.split(), "--database", f"sqlite:///{path}"])
        return code, capsys.readouterr().err

    return call


@pytest.mark.parametrize("rubbish", CHOSEN, ids=str)
def test_no_command_fails_without_a_sentence(
    rubbish: Rubbish, filled: Path, tmp_path: Path, said: Callable[[str, Path], tuple[int, str]]
) -> None:
    path = tmp_path / "locum.sqlite"
    shutil.copy(filled, path)
    if not rubbish.put(path):
        return  # the database itself refuses it
    for command in COMMANDS:
        code, errors = said(command, path)
        assert "defect" not in errors and "Traceback" not in errors, f"locum {command}: {errors}"
        assert code in (0, 1, 2) and (code == 0 or errors or command.startswith(("status", "db check"))), command


# -- which row, and what of it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "column", "value", "command", "sentence"),
    [
        ("changes", "files_json", "{", "change list", "files_json of change 1 is not JSON"),
        ("changes", "files_json", "{}", "change list --json", "files_json of change 1 is not a JSON list of texts"),
        ("changes", "properties_json", "[" * 100_000, "change list", "properties_json of change 1 is not JSON (nested too deeply)"),
        ("buildsets", "properties_json", '{"a": 1}', "task show 10", "properties_json of buildset 1 is not a JSON object of"),
        ("buildsets", "properties_json", "", "buildset show 1", "properties_json of buildset 1 is not JSON"),
        ("tasks", "properties_json", "[]", "task show 10", "properties_json of task 10 is not a JSON object"),
        ("scheduler_state", "value_json", "nul", "scheduler show quick --json", "state 'ticks' of 'quick' is not JSON"),
        ("schedules", "rule_json", '{"kind": []}', "schedule next 1", "schedule 1 cannot be read by this release: kind"),
        ("schedules", "start_json", "{", "schedule list --json", "start_json of the row of 'schedules' with id 1 is not JSON"),
        ("timers", "due", "soon", "scheduler show quick", "key 'tick' is of type text, not integer"),
        ("cluster", "oldest_compatible", "x", "status", "the versions in the table 'cluster' are not numbers"),
    ],
)  # fmt: skip
def test_the_row_is_named(
    table: str, column: str, value: Any, command: str, sentence: str, filled: Path, tmp_path: Path,
    said: Callable[[str, Path], tuple[int, str]],
) -> None:  # fmt: skip
    path = tmp_path / "locum.sqlite"
    shutil.copy(filled, path)
    assert Rubbish(table, column, value).put(path)
    code, errors = said(command, path)
    assert code == 1 and sentence in errors


def test_db_check_names_every_misfit(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "locum.sqlite"
    shutil.copy(filled, path)
    for one in (
        Rubbish("changes", "files_json", "3"),
        Rubbish("tasks", "priority", "high"),
        Rubbish("timers", "due", 2**63 - 1),
    ):
        assert one.put(path)
    assert run(["db", "check", "--database", f"sqlite:///{path}"]) == 1
    out = capsys.readouterr().out
    assert "files_json of the row of 'changes' with number 1 is not a JSON list of texts" in out
    assert "priority of the row of 'tasks' with id 10 is of type text, not integer" in out
    assert "due of the row of 'timers'" in out and "is not a time" in out


def test_db_check_finds_odd_json_on_both_databases(db: Database) -> None:
    from locum.db import recovering

    from ..contract.scene import change_numbers

    change_numbers(db, *"abcdefgh")
    execute(db, "UPDATE changes SET properties_json = '[]'")
    found = [str(finding) for finding in db.read(recovering.check)]
    assert len(found) == 5 and all("properties_json of the row of 'changes'" in line for line in found)


# -- masters ----------------------------------------------------------------------------------------------------------


def quick() -> SingleBranchScheduler:
    return SingleBranchScheduler("quick", ["unit"], branch="main")


def test_a_change_that_cannot_be_read_fails_alone_and_the_next_ones_are_built_when_it_is_set_aside(bench: Any) -> None:
    b = bench(quick)
    b.advance(1)
    b.stop()
    b.change(branch="main")
    execute(b.db, "UPDATE changes SET files_json = '{'")
    b.start()
    b.advance(60)
    assert b.built == []
    ((cause, error),) = execute(b.db, "SELECT cause, error FROM failures")
    assert cause == "change:1" and "files_json of change 1 is not JSON" in str(error)
    b.change(branch="main")
    b.advance(12 * 3600)
    assert [one.changes for one in b.built] == [[2]]


def test_a_message_that_cannot_be_read_is_answered_and_the_next_ones_too(db: Database) -> None:
    from locum.db import messages
    from locum.master.answering import serving

    from ..contract.scene import registered

    (i,) = registered(db, "quick")
    first = db.write(messages.send, "quick", "a", "force", {"reason": "x"}, "ann").id
    second = db.write(messages.send, "quick", "b", "force", {"reason": "y"}, "ann").id
    execute(db, "UPDATE messages SET body_json = '[1' WHERE id = :id", id=first)
    found = db.read(messages.waiting, [i])
    assert [m.id for m in found] == [first, second] and found[1].body == {"reason": "y"}
    with pytest.raises(StopIteration) as end:
        serving(found[0])(None).send(None)
    assert f"body_json of message {first} is not JSON" in end.value.value["error"]


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE timers SET due = 'soon'", "due of timer"),
        ("UPDATE timers SET due = 9223372036854775807", "due of timer"),
        (
            "INSERT INTO failures (scheduler_id, cause, detail_json, attempts, first_at, last_at, retry_at, error)"
            " SELECT id, 'timer:x', '{', 1, 1, 1, 1, 'E' FROM schedulers",
            "detail_json of failure 'timer:x' is not JSON",
        ),
    ],
)
def test_a_scheduler_whose_rows_cannot_be_read_is_not_activated_and_says_why(
    bench: Any, statement: str, sentence: str
) -> None:
    b = bench(lambda: Periodic("p", ["unit"], periodicBuildTimer=60))
    b.advance(1)
    b.stop()
    execute(b.db, statement)
    b.start()
    b.advance(5)
    assert execute(b.db, "SELECT incarnation FROM schedulers") == [(None,)]
    ((why,),) = execute(b.db, "SELECT why FROM ownership ORDER BY term DESC LIMIT 1")
    assert sentence in str(why)


def test_state_that_is_not_json_fails_the_turn_that_reads_it_and_is_named(bench: Any) -> None:
    b = bench(lambda: Periodic("p", ["unit"], periodicBuildTimer=60))
    b.advance(70)
    b.stop()
    execute(b.db, "UPDATE scheduler_state SET value_json = '{'")
    b.start()
    b.advance(120)
    said = [str(row[0]) for row in execute(b.db, "SELECT error FROM failures UNION ALL SELECT why FROM ownership")]
    assert any("of 'p' is not JSON in the database" in line for line in said)


@pytest.mark.parametrize("which", ["tasks", "buildsets"])
def test_a_task_that_cannot_be_read_is_claimed_with_its_fault_and_the_others_as_they_are(
    db: Database, which: str
) -> None:
    from locum.db import tasks

    from ..contract.scene import joined
    from ..contract.test_listings import a_buildset

    joined(db, "m1")
    a_buildset(db, 1)
    a_buildset(db, 2)
    execute(db, f"UPDATE {which} SET properties_json = '3' WHERE id IN (1, 10)")
    builder = execute(db, "SELECT id FROM builders")[0][0]
    claimed = db.write(tasks.claim, "m1", [builder], 5)
    assert [task.id for task in claimed] == [10, 20]
    assert "properties_json of" in claimed[0].fault and claimed[1].fault == ""
    assert claimed[1].properties == {"scheduler": "quick"}


def test_a_turn_that_is_refused_and_whose_failure_is_refused_too_is_not_tried_without_a_pause(bench: Any) -> None:
    b = bench(lambda: Periodic("p", ["unit"], periodicBuildTimer=60))
    b.advance(1)
    for table in ("tasks", "failures"):
        execute(
            b.db, f"CREATE TRIGGER no_{table} BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'no {table}'); END"
        )
    b.advance(600)
    ((term,),) = execute(b.db, "SELECT term FROM schedulers")
    assert term < 60
    whys = [str(row[0]) for row in execute(b.db, "SELECT why FROM ownership")]
    assert any("could not be noted: no failures" in why for why in whys)


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE schedulers SET change_cursor = 'x'", "its change_cursor, 'x', is not a number"),
        ("INSERT INTO timers (scheduler_id, key, due) SELECT id, x'ff', 1 FROM schedulers", "is not text"),
        ("INSERT INTO timers (scheduler_id, key, due) SELECT id, char(0), 1 FROM schedulers", "is not text"),
    ],
)
def test_values_that_only_sqlite_takes_keep_only_their_scheduler_from_being_active(
    bench: Any, statement: str, sentence: str
) -> None:
    test_a_scheduler_whose_rows_cannot_be_read_is_not_activated_and_says_why(bench, statement, sentence)


class _Background(BaseScheduler):
    """Its own turn, begun by ``activate``, sets a state."""

    async def activate(self) -> None:
        await super().activate()
        self.done = Deferred.fromCoroutine(self._work())
        self.done.addErrback(lambda failure: failure.trap(NotActive))

    async def _work(self) -> None:
        async with self.turn():
            await self.setState("answer", 42)


@pytest.mark.parametrize(
    "make", [lambda: Periodic("p", ["unit"], periodicBuildTimer=60), lambda: _Background("p", ["unit"])]
)
def test_an_activation_or_a_background_turn_that_is_refused_comes_again_after_a_growing_pause(
    bench: Any, make: Any
) -> None:
    b = bench(make)
    b.advance(1)
    b.stop()
    execute(b.db, "DELETE FROM scheduler_state")
    execute(b.db, "CREATE TRIGGER no_state BEFORE INSERT ON scheduler_state BEGIN SELECT RAISE(ABORT, 'no state'); END")
    b.start()
    b.advance(600)
    ((term,),) = execute(b.db, "SELECT term FROM schedulers")
    assert 3 < term < 40
    whys = [str(row[0]) for row in execute(b.db, "SELECT why FROM ownership")]
    assert any("the database refused" in why and "no state" in why for why in whys)
    execute(b.db, "DROP TRIGGER no_state")
    b.advance(400)
    assert execute(b.db, "SELECT count(*) FROM scheduler_state")[0][0] > 0
