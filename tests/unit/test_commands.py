"""The command line on real databases: what it says, in which form, and its exit codes."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest
from locum import config as configuration
from locum.db import audit, listings, messages, orders
from locum.master.commands import opening
from locum.master.commands.attention import needs
from locum.master.commands.main import run
from locum.master.commands.output import clean_output, iso, span
from locum.master.commands.starter import STARTER

from ..contract.scene import change_numbers, execute, joined, registered, standing_by, taken
from ..contract.test_listings import a_buildset

LOCUM = [sys.executable, "-c", "from locum.master.commands.main import main; main()"]


class Said:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"exit {self.code}\n{self.out}\n{self.err}"


@pytest.fixture
def locum(database_url, capsys):
    """Runs a command line on a fresh database, in this process."""

    def call(*arguments):
        capsys.readouterr()
        code = run([*arguments, "--database", database_url])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Said(code, captured.out, captured.err)

    return call


def bare(capsys, *arguments):
    """Runs a command line that is given no database."""
    capsys.readouterr()
    code = run(list(arguments))
    captured = capsys.readouterr()
    return Said(code, captured.out, captured.err)


# -- status


def test_status_of_nothing_needs_a_person(locum):
    said = locum("status")
    assert said.code == 2 and "no master is up" in said.out
    assert locum("status", "--json").json()["needs_attention"][0]["what"] == "no master is up"


def test_status_json_has_what_scripts_were_promised(locum, db):
    (quick,) = registered(db, "quick")
    term = taken(db, joined(db, "m1"), quick)[quick]
    joined(db, "m2")
    standing_by(db, "m2", quick)
    said = locum("status", "--json")
    assert said.code == 0
    found = said.json()
    assert [m["name"] for m in found["masters"]] == ["m1", "m2"]
    assert found["masters"][0].keys() >= {
        *("name", "incarnation", "state", "lease_until", "host", "pid", "started_at", "last_beat_at", "roles"),
        *("digest", "version", "clock_offset_s"),
    }
    assert found["masters"][0]["lease_until"].endswith("Z") and len(found["masters"][0]["lease_until"]) == 27
    (line,) = found["schedulers"]
    assert (line["name"], line["type"], line["enabled"], line["master"], line["incarnation"], line["term"]) == (
        *("quick", "Periodic", True),
        *("m1", "m1", term),
    )
    assert line["standby"] == ["m2"] and line["failures"] == 0 and line["next_due"] is None and line["active_since"]
    assert found["drift"] == [] == found["needs_attention"]
    assert "quick" in locum("status").out


@pytest.mark.parametrize(
    ("damage", "about", "what"),
    [
        ("UPDATE masters SET digest = 'other' WHERE name = 'm2'", "configuration", "differs between"),
        ("UPDATE standby SET digest = 'x' WHERE incarnation = 'm2'", "scheduler 'quick'", "differs between"),
        ("UPDATE masters SET clock_offset_us = -3600000000 WHERE name = 'm2'", "master 'm2'", "60 min behind"),
        ("UPDATE masters SET lease_until = 0 WHERE name = 'm2'", "master 'm2'", "its lease ended"),
        (
            "INSERT INTO failures (scheduler_id, cause, detail_json, attempts, first_at, last_at, error)"
            " SELECT id, 'change:1', '{}', 9, 1, 1, 'E' FROM schedulers",
            "scheduler 'quick'",
            "set aside",
        ),
        (
            "UPDATE schedulers SET enabled = false, incarnation = NULL, disabled_why = 'quarantined: it blocks'",
            "scheduler 'quick'",
            "it blocks",
        ),
        ("UPDATE masters SET roles = 'tasks'", "cluster", "role 'schedulers'"),
    ],
)
def test_status_tells_what_needs_a_person(locum, db, damage, about, what):
    (quick,) = registered(db, "quick")
    taken(db, joined(db, "m1"), quick)
    joined(db, "m2")
    standing_by(db, "m2", quick)
    assert locum("status").code == 0
    execute(db, damage)
    said = locum("status", "--json")
    assert said.code == 2
    (need,) = said.json()["needs_attention"]
    assert need["about"] == about and what in need["what"] and need["cure"]
    assert locum("status").code == 2


def test_a_scheduler_that_nobody_holds_needs_a_person_only_after_a_lease(db):
    (quick,) = registered(db, "quick")
    joined(db, "m1", lease_s=10)
    standing_by(db, "m1", quick)
    assert needs(db.read(listings.cluster)) == []
    execute(db, "UPDATE masters SET started_at = started_at - 11000000")
    (need,) = needs(db.read(listings.cluster))
    assert need.about == "scheduler 'quick'" and "nobody has held it for 11" in need.what
    db.write(orders.disable, "quick", "not now", "ann")
    assert needs(db.read(listings.cluster)) == []


def test_a_scheduler_that_was_removed_on_purpose_needs_nobody(db):
    (quick,) = registered(db, "quick")
    joined(db, "m1", lease_s=10)
    execute(db, "UPDATE masters SET started_at = started_at - 11000000")
    (need,) = needs(db.read(listings.cluster))
    assert "no master that is up has it configured" in need.what
    execute(
        db,
        "INSERT INTO ownership (scheduler_id, term, since, why) VALUES (:i, 1, 1, 'it was taken out of this master''s configuration')",
        i=quick,
    )
    assert needs(db.read(listings.cluster)) == []


def test_a_scheduler_that_could_not_be_activated_needs_a_person_at_once_and_the_reason_is_said(db):
    (quick,) = registered(db, "quick")
    joined(db, "m1", lease_s=10)
    standing_by(db, "m1", quick)
    why = "it could not be activated: RuntimeError: no such host"
    execute(db, "INSERT INTO ownership (scheduler_id, term, since, why) VALUES (:i, 1, 1, :why)", i=quick, why=why)
    (need,) = needs(db.read(listings.cluster))
    assert need.about == "scheduler 'quick'" and need.what == why


# -- schedulers


def test_schedulers_are_disabled_enabled_moved_and_shown(locum, db):
    (quick,) = registered(db, "quick")
    taken(db, joined(db, "m1"), quick)
    joined(db, "m2")
    standing_by(db, "m2", quick)
    assert "now with m2" in locum("scheduler", "move", "quick", "--to", "m2").out
    assert "already with m2" in locum("scheduler", "move", "quick", "--to", "m2").out
    assert "now with m1" in locum("scheduler", "move", "quick").out
    assert "is disabled" in locum("scheduler", "disable", "quick", "--reason", "too noisy").out
    (line,) = locum("scheduler", "list", "--json").json()
    assert (line["enabled"], line["disabled_why"], line["master"]) == (False, "too noisy", None)
    assert "too noisy" in locum("scheduler", "list").out and "too noisy" in locum("scheduler", "show", "quick").out
    assert locum("scheduler", "move", "quick").code == 1
    assert "is enabled" in locum("scheduler", "enable", "quick").out
    entries = db.read(audit.newest, 10)
    assert [e.action for e in entries] == ["enable", "disable", "move to m1", "move to m2"]
    assert entries[1].reason == "too noisy" and all(e.who == opening.who() for e in entries)
    assert locum("scheduler", "show", "quick", "--json").json()["owners"][0]["why"].startswith("enabled by")


def test_an_unknown_scheduler_is_refused_with_the_one_that_was_meant(locum, db):
    registered(db, "quick")
    for command in (["scheduler", "show"], ["scheduler", "disable"], ["force"], ["next"]):
        said = locum(*command, "quikc")
        assert said.code == 1 and "did you mean 'quick'" in said.err and said.out == ""


def test_failures_are_listed_retried_and_discarded(locum, db):
    (quick,) = registered(db, "quick")
    execute(
        db,
        "INSERT INTO failures (scheduler_id, cause, detail_json, attempts, first_at, last_at, error)"
        " VALUES (:i, 'change:1', '{}', 9, 1, 2, 'line\nValueError: no')",
        i=quick,
    )
    assert "ValueError: no" in locum("scheduler", "failures").out
    (found,) = locum("scheduler", "failures", "quick", "--json").json()
    assert found["set_aside"] is True and found["retry_at"] is None
    assert locum("scheduler", "failures", "--retry", "all").code == 2
    assert locum("scheduler", "failures", "quick", "--retry", "change:9").code == 1
    assert "discarded: change:1" in locum("scheduler", "failures", "quick", "--discard", "all").out
    assert locum("scheduler", "failures").out == "no failures\n"
    assert "nothing: no cause is set aside" in locum("scheduler", "failures", "quick", "--discard", "all").out
    assert locum("scheduler", "failures", "quick", "--retry", "all").out == "retried: nothing\n"


def test_next_tells_due_times_soonest_first(locum, db):
    (quick,) = registered(db, "quick")
    for key, due in (("b", 2_000_000), ("a", 1_000_000)):
        execute(db, "INSERT INTO timers (scheduler_id, key, due) VALUES (:i, :k, :d)", i=quick, k=key, d=due)
    found = locum("next", "quick", "--json").json()
    assert [(t["key"], t["due"]) for t in found["fires"]] == [("a", iso(1_000_000)), ("b", iso(2_000_000))]
    said = locum("next", "--limit", "1", "--timezone", "Europe/Berlin").out
    assert "1970-01-01 01:00:01+01:00" in said and "timer 'a' of its own" in said and "left out: 1 later alarms" in said


def test_rebalance_tells_its_moves(locum, db):
    ids = registered(db, "a", "b")
    taken(db, joined(db, "m1"), *ids)
    joined(db, "m2")
    standing_by(db, "m2", *ids)
    (move,) = locum("rebalance", "--json").json()
    assert (move["from"], move["to"]) == ("m1", "m2")
    assert "already even" in locum("rebalance").out


# -- force


def answering(db, answer, *, also=lambda: None):
    """A thread that stands for the scheduler's master: it answers the first message that comes."""

    def work():
        for _ in range(200):
            found = execute(db, "SELECT id FROM messages WHERE answered_at IS NULL")
            if found:
                also()
                execute(
                    db, "UPDATE messages SET answered_at = 1, answer_json = :a WHERE id = :i", a=answer, i=found[0][0]
                )
                return
            event.wait(0.02)

    event = threading.Event()
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_force_waits_for_the_answer_and_tells_the_buildset(locum, db):
    (quick,) = registered(db, "quick")
    taken(db, joined(db, "m1"), quick)
    thread = answering(db, '{"buildset": 7, "tasks": {"unit": 9}}')
    said = locum("force", "quick", "--branch", "main", "--property", "a=b", "--builder", "unit", "--priority", "3")
    thread.join()
    assert (said.code, said.out) == (0, "buildset 7\n")
    body = json.loads(execute(db, "SELECT body_json FROM messages")[0][0])
    assert body == {
        **{"reason": "", "branch": "main", "revision": None, "repository": None, "project": None, "codebase": None},
        **{"properties": {"a": "b"}, "builderNames": ["unit"], "priority": 3, "owner": opening.who()},
    }


@pytest.mark.parametrize(("result", "code"), [("success", 0), ("warnings", 0), ("failure", 1)])
def test_force_wait_ends_with_the_buildsets_result(locum, db, result, code):
    (quick,) = registered(db, "quick")
    taken(db, joined(db, "m1"), quick)

    def built():
        a_buildset(db, 7)
        execute(db, "UPDATE buildsets SET result = :r, completed_at = 5 WHERE id = 7", r=result)

    thread = answering(db, '{"buildset": 7}', also=built)
    said = locum("force", "quick", "--wait", "--timeout", "10")
    thread.join()
    assert (said.code, said.out) == (code, f"buildset 7: {result}\n")


def test_force_tells_an_error_of_the_scheduler(locum, db):
    (quick,) = registered(db, "quick")
    taken(db, joined(db, "m1"), quick)
    thread = answering(db, '{"error": "unknown builder \'x\'"}')
    said = locum("force", "quick", "--builder", "x")
    thread.join()
    assert said.code == 1 and "unknown builder 'x'" in said.err


def test_force_hands_over_the_fields_of_a_form_and_tells_all_that_is_wrong_with_it(locum, db, tmp_path):
    (quick,) = registered(db, "quick")
    taken(db, joined(db, "m1"), quick)
    content = tmp_path / "notes"
    content.write_text("two\nlines=\n")
    thread = answering(db, '{"error": "x", "errors": {"target": "it is required", "n": "expected a whole number"}}')
    given = ["--param", "many=a=1", "--param", "many=b", "--param-file", f"notes={content}"]
    said = locum("force", "quick", *given)
    thread.join()
    assert said.code == 1 and said.out == ""
    assert "  target: it is required\n" in said.err and "  n: expected a whole number\n" in said.err
    body = json.loads(execute(db, "SELECT body_json FROM messages")[0][0])
    assert body["form"] == {"many": ["a=1", "b"], "notes": ["two\nlines=\n"]}
    for wrong in (["--param", "x"], ["--param-file", f"x={tmp_path}"], ["--param", "a=b\0"]):
        assert locum("force", "quick", *wrong).code == 2


def test_force_of_a_scheduler_that_nobody_holds_is_kept_and_says_so(locum, db):
    (quick,) = registered(db, "quick")
    said = locum("force", "quick", "--request-id", "one", "--timeout", "0")
    assert said.code == 0 and "nobody who is up holds quick" in said.err and "kept" in said.err
    again = locum("force", "quick", "--request-id", "one", "--timeout", "0", "--json")
    assert again.json()["held"] is False and again.json()["known"] is True and again.json()["buildset"] is None
    assert len(db.read(messages.waiting, [quick])) == 1
    assert locum("force", "quick", "--wait", "--timeout", "0").code == 1


def test_force_of_a_disabled_scheduler_is_refused_with_the_reason(locum, db):
    registered(db, "quick")
    db.write(orders.disable, "quick", "too noisy", "ann")
    said = locum("force", "quick")
    assert said.code == 1 and "too noisy" in said.err and "enable quick" in said.err


@pytest.mark.parametrize("wrong", [["--property", "x"], ["--branch", "a\0b"], ["--priority", "9999999999"]])
def test_force_with_wrong_values_sends_nothing(locum, db, wrong):
    (quick,) = registered(db, "quick")
    assert locum("force", "quick", *wrong).code == 2
    assert db.read(messages.waiting, [quick]) == []


# -- buildsets and tasks


def test_buildsets_and_tasks_are_listed_and_shown(locum, db):
    joined(db, "m1")
    numbers = change_numbers(db, "a")
    a_buildset(db, 1, changes=tuple(numbers.values()))
    a_buildset(db, 2, due_at=5_000_000)
    second, first = locum("buildset", "list", "--json").json()
    assert first.keys() >= {
        *("id", "scheduler", "reason", "submitted_at", "due_at", "changes", "sourcestamps", "properties", "tasks"),
        *("result", "completed_at"),
    }
    assert first["changes"] == [1] and first["properties"] == {"scheduler": "quick"}
    assert first["tasks"] == [{"id": 10, "builder": "unit", "state": "queued", "result": None}]
    assert second["due_at"] == iso(5_000_000)
    for more in ((), ("--json",)):
        said = locum("buildset", "list", "--limit", "1", *more)
        assert said.err == "there are more than the 1 shown: --limit shows more, --all all\n"
        assert locum("buildset", "list", "--limit", "2", *more).err == ""
        assert locum("buildset", "list", "--all", *more).err == ""
    assert [b["id"] for b in said.json()] == [2]
    assert locum("buildset", "list", "--scheduler", "other").out == "no buildsets yet\n"
    assert "rev1" in locum("buildset", "show", "1").out and locum("buildset", "show", "9").code == 1
    assert [t["id"] for t in locum("task", "list", "--buildset", "1", "--json").json()] == [10]
    assert "unit" in locum("task", "show", "10").out and locum("task", "show", "99").code == 1
    task = locum("task", "show", "10", "--json").json()
    assert task["steps"] == [] and task["properties"] == {"scheduler": "quick"}


@pytest.mark.parametrize(
    "line",
    [
        ("buildset", "show", str(2**63)),
        ("buildset", "list", "--limit", str(2**31)),
        ("task", "show", str(2**64)),
        ("task", "log", "-1"),
        ("task", "list", "--buildset", "9" * 30),
        ("task", "list", "--state", "quued"),
        ("task", "list", "--builder", "\udcff"),
        ("schedule", "list", "--after", "9" * 30),
        ("reconfig", "--timeout", "nan"),
        ("force", "quick", "--timeout", "nan"),
    ],
)
def test_what_no_database_could_hold_is_a_wrong_command_line(locum, line):
    said = locum(*line)
    assert said.code == 2 and "defect" not in said.err


def test_the_largest_numbers_are_merely_not_there(locum):
    assert "there is no task" in locum("task", "show", str(2**63 - 1)).err
    assert "there is no buildset" in locum("buildset", "show", str(2**63 - 1)).err


def test_the_log_of_a_task_comes_in_order_with_a_headline_for_each_step(locum, db):
    joined(db, "m1")
    a_buildset(db, 1)
    assert "no task has begun" in locum("task", "log").err
    execute(db, "UPDATE tasks SET attempt = 1, started_at = 2, finished_at = 5")
    for step, sequence, text in ((1, 0, "one\n"), (1, 1, "two\n"), (2, 0, "three\n")):
        execute(
            db,
            "INSERT INTO log_chunks (task_id, attempt, step, sequence, at, text) VALUES (10, 1, :s, :q, 1, :t)",
            s=step,
            q=sequence,
            t=text,
        )
    text = "--- attempt 1, step 1\none\ntwo\n--- attempt 1, step 2\nthree\n"
    assert locum("task", "log", "10").out == text
    assert locum("task", "log", "10", "-f").out == text
    assert locum("task", "log", "10", "--step", "2").out == "three\n"
    assert locum("task", "log", "10", "--attempt", "0").out == ""
    assert locum("task", "log", "11").code == 1
    assert locum("task", "log").out == text, "of the newest that has begun"
    lines = [json.loads(line) for line in locum("task", "log", "10", "--json").out.splitlines()]
    assert [line["text"] for line in lines] == ["one\n", "two\n", "three\n"]


# -- reconfig


def test_reconfig_waits_for_every_master_and_fails_if_one_refuses(locum, db):
    joined(db, "m1")
    joined(db, "m2")

    def answer():
        event = threading.Event()
        answers = {
            "m1": {"ok": True, "lines": ["+ scheduler new"]},
            "m2": {"error": "faulty", "faults": ["x.yaml:1:1: y"]},
        }
        while answers:
            for name in list(answers):
                for order in db.read(orders.open_orders, name):
                    db.write(orders.answer_order, order.id, answers.pop(name))
            event.wait(0.02)

    thread = threading.Thread(target=answer)
    thread.start()
    said = locum("reconfig")
    thread.join()
    assert said.code == 1
    assert "m1:   + scheduler new" in said.out and "m2: refused: faulty" in said.out and "x.yaml:1:1" in said.out


def test_reconfig_of_a_master_that_does_not_answer_fails_after_its_time(locum, db):
    joined(db, "m1")
    said = locum("reconfig", "--diff", "--master", "m1", "--timeout", "0", "--json")
    assert said.code == 1 and "no answer" in said.json()["masters"]["m1"]["error"]
    assert locum("reconfig", "--master", "m9").code == 1
    assert locum("reconfig", "--master", "m1", "--all").code == 2


def test_reconfig_without_a_master_says_so(locum):
    assert "no master is up" in locum("reconfig").err


# -- the database


def test_db_check_names_faults_and_exits_by_them(locum, db):
    assert locum("db", "check").code == 0
    execute(db, "UPDATE counters SET value = -1 WHERE name = 'tasks'")
    assert locum("db", "check").code == 1
    assert "'tasks'" in locum("db", "check", "--json").json()[0]["what"]


def test_db_recover_asks_first(locum, db):
    assert locum("db", "recover").code == 2
    joined(db, "m1")
    assert "m1 is running" in locum("db", "recover", "--yes").err
    found = locum("db", "recover", "--yes", "--force", "--json").json()
    assert found["masters_lost"] == 1 and found["cluster_id"] != found["old_cluster_id"]


def test_db_upgrade_makes_the_schema_once(capsys, tmp_path):
    url = f"sqlite:///{tmp_path}/new.sqlite"
    assert "there is no database" in bare(capsys, "status", "--database", url).err
    assert not (tmp_path / "new.sqlite").exists()
    assert "created" in bare(capsys, "db", "upgrade", "--database", url).out
    assert "already" in bare(capsys, "db", "upgrade", "--database", url).out


def test_an_empty_file_and_another_programs_file_are_told_apart(capsys, tmp_path):
    import sqlite3

    (tmp_path / "empty").touch()
    said = bare(capsys, "status", "--database", f"sqlite:///{tmp_path}/empty")
    assert said.code == 1 and "locum db upgrade" in said.err
    (tmp_path / "text").write_text("this is no database at all, " * 100)
    said = bare(capsys, "status", "--database", f"sqlite:///{tmp_path}/text")
    assert said.code == 1 and "not a database" in said.err
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE recipes (id)")
    other.close()
    said = bare(capsys, "db", "upgrade", "--database", f"sqlite:///{tmp_path}/other")
    assert said.code == 1 and "another program" in said.err


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cret@127.0.0.1:1/locum",
        "postgresql://me:s3cret@127.0.0.1:1,127.0.0.1:2/locum?connect_timeout=2",
        "postgresql://me@127.0.0.1:1/locum?password=s3cret",
    ],
)
def test_a_database_that_is_away_is_exit_3_and_its_password_is_not_told(capsys, url):
    for command in (["status"], ["change", "add"], ["db", "upgrade"]):
        said = bare(capsys, *command, "--database", url)
        assert said.code == 3 and "does not answer" in said.err
        assert "s3cret" not in said.err + said.out and said.err.count("\n") == 1


@pytest.mark.parametrize("url", ["postgresql://me:s3@cret@h/db", "mysql://me:s3cret@h/x", "nonsense", "", "sqlite://"])
def test_a_url_that_makes_no_sense_is_refused_without_its_password(capsys, monkeypatch, tmp_path, url):
    monkeypatch.chdir(tmp_path)
    said = bare(capsys, "status", "--database", url)
    assert said.code == 1 and "cret" not in said.err


# -- files


def test_init_writes_a_file_that_is_well_and_never_overwrites_one(capsys, tmp_path):
    folder = tmp_path / "a" / "b"
    assert bare(capsys, "init", str(folder)).code == 0
    config = configuration.load(folder / "master.yaml", {})
    assert "well: 3 schedulers" in bare(capsys, "check", "--config", str(folder / "master.yaml")).out
    assert len(config.builders) == 2 and any(s.type == "Periodic" for s in config.schedulers)
    (folder / "master.yaml").write_text("mine")
    said = bare(capsys, "init", str(folder))
    assert said.code == 1 and "is there already" in said.err
    assert (folder / "master.yaml").read_text() == "mine"


def test_every_fault_of_a_file_is_told_at_its_place(capsys, tmp_path):
    (tmp_path / "m.yaml").write_text("builder: []\nschedulers: 3\n")
    said = bare(capsys, "check", "--config", str(tmp_path / "m.yaml"))
    assert said.code == 1 and "m.yaml:1:1: " in said.err and "m.yaml:2:13: " in said.err
    assert bare(capsys, "status", "--config", str(tmp_path / "none.yaml")).code == 1
    assert bare(capsys, "check", "--schema").out.startswith("{")


def test_the_database_of_a_file_is_beside_it_wherever_one_stands(capsys, tmp_path, monkeypatch):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "master.yaml").write_text(STARTER)
    monkeypatch.setenv("LOCUM_CONFIG", str(tmp_path / "conf" / "master.yaml"))
    monkeypatch.chdir(tmp_path)
    assert bare(capsys, "db", "upgrade").code == 0
    assert (tmp_path / "conf" / "locum.sqlite").exists()
    assert bare(capsys, "change", "list").code == 0
    assert bare(capsys, "--config", "conf/master.yaml", "change", "list").code == 0


# -- the process


def test_whoever_looks_at_a_cluster_needs_no_secrets_of_its_masters(capsys, tmp_path):
    file = tmp_path / "master.yaml"
    elsewhere = "builders: [{name: b, env: {T: {secret: {env: NOT_SET_HERE}}}, steps: [{shell: x}]}]\n"
    file.write_text("database: {url: 'sqlite:///l.sqlite'}\n" + elsewhere)
    assert bare(capsys, "db", "upgrade", "--config", str(file)).code == 0
    assert bare(capsys, "change", "list", "--config", str(file)).code == 0
    assert "NOT_SET_HERE" in bare(capsys, "check", "--config", str(file)).err
    for wrong in ("", "databse: {url: 'sqlite:///l.sqlite'}\n", "database: {url: 'sqlite:///l.sqlite', x: 1}\n"):
        file.write_text(wrong + elsewhere)
        said = bare(capsys, "change", "list", "--config", str(file))
        assert said.code == 1 and "NOT_SET_HERE" in said.err, "which database is meant is not sure"


def test_the_exit_codes_are_in_the_help(capsys):
    said = bare(capsys, "--help")
    assert said.code == 0 and all(f"\n    {code}" in said.out for code in (0, 1, 2, 3, 130))


@pytest.mark.parametrize(
    "line", [["statsu"], [], ["status", "--jsn"], ["force"], ["task", "log", "x"], ["change", "add", "x"]]
)
def test_a_wrong_command_line_is_exit_2(capsys, line):
    assert bare(capsys, *line).code == 2


def test_a_defect_is_one_sentence_not_a_traceback(capsys, monkeypatch, tmp_path):
    def broken(*_):
        raise RuntimeError("postgresql://u:s3cret@h/x broke")

    monkeypatch.setattr("locum.master.commands.opening.database_at", broken)
    said = bare(capsys, "status")
    assert said.code == 1 and "defect" in said.err and "s3cret" not in said.err and "Traceback" not in said.err


def environment():
    return {**os.environ, "PYTHONWARNINGS": "ignore", "LC_ALL": "C"}


def test_the_real_process_works_in_a_plain_c_locale_and_dies_quietly_in_a_pipe(database_url):
    add = [*LOCUM, "change", "add", "--database", database_url, "--who", "Jörg", "--comments", "größer"]
    assert subprocess.run(add, env=environment(), capture_output=True).returncode == 0
    listing = [*LOCUM, "change", "list", "--json", "--database", database_url]
    done = subprocess.run(listing, env=environment(), capture_output=True)
    assert json.loads(done.stdout)[0]["comments"] == "größer"
    process = subprocess.Popen(listing, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() in (0, -signal.SIGPIPE)
    process.stderr.close()


def test_ctrl_c_ends_a_waiting_command_cleanly(database_url, db):
    registered(db, "quick")
    force = [*LOCUM, "force", "quick", "--wait", "--database", database_url]
    process = subprocess.Popen(force, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert b"nobody" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130 and b"Traceback" not in err


# -- what is printed


def test_times_and_spans_read_well():
    assert iso(0) == "1970-01-01T00:00:00.000000Z" and iso(None) is None
    assert iso(-1) == "1969-12-31T23:59:59.999999Z" and iso(10**30) is not None
    assert [span(us) for us in (3_200_000, 300_000_000, 7_800_000_000, 3 * 86_400_000_000)] == [
        *("3.2 s", "5 min"),
        *("2 h 10 min", "3 d"),
    ]


def test_a_terminal_gets_colours_but_no_other_control():
    assert clean_output("\x1b[31mred\x1b[0m\n\x1b]0;title\x07\x1b[2J\ta") == (
        "\x1b[31mred\x1b[0m\n\\x1b]0;title\\x07\\x1b[2J\ta"
    )
    assert clean_output("\x1b") == "\\x1b"
