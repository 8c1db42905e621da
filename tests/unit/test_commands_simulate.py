"""``locum simulate``: what would have been requested when, by whom and why; nothing is touched; two files are compared."""

import json
import subprocess
import sys
from datetime import datetime, timedelta

import pytest
from locum.master.commands.main import run
from locum.schedulers import Periodic
from locum.schedulers.testing import SchedulerHarness

BUILDERS = """
cluster: { timezone: Europe/Berlin }
builders:
  - {name: unit, steps: [{shell: [make]}]}
  - {name: deploy, steps: [{shell: [make]}]}
"""
NIGHTLY = "  - {type: Nightly, name: nightly, hour: 3, builderNames: [unit]}\n"
QUICK = "  - {type: SingleBranchScheduler, name: quick, branch: main, treeStableTimer: 60, builderNames: [unit]}\n"
AFTER = "  - {type: Dependent, name: after, upstream: quick, builderNames: [deploy]}\n"


class Said:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return f"exit {self.code}\n{self.out}\n{self.err}"

    @property
    def requested(self):
        return [(r["local"][:16], r["scheduler"], r["cause"]) for r in json.loads(self.out)["requested"]]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def simulate(folder, capsys):
    """Runs it on a file that is made of these schedulers, and sees to it that nothing is left behind."""

    def call(schedulers, *arguments, begin="2026-03-28", name="master.yaml"):
        (folder / name).write_text(BUILDERS + "schedulers:\n" + schedulers)
        before = sorted(folder.rglob("*"))
        capsys.readouterr()
        code = run(["simulate", name, "--from", begin, *arguments])
        said = Said(code, *capsys.readouterr())
        assert sorted(folder.rglob("*")) == before
        assert "Traceback" not in said.err
        return said

    return call


def lines_of(folder, *changes):
    path = folder / "changes.jsonl"
    path.write_text("".join(json.dumps({"who": "ann", "branch": "main", **one}) + "\n" for one in changes))
    return str(path)


# -- what would be requested


def test_due_times_are_those_of_the_zone_and_end_with_the_time(simulate):
    said = simulate(NIGHTLY, "--days", "3", "--json")
    assert said.code == 0
    assert said.requested == [
        ("2026-03-28T03:00", "nightly", "its time has come"),
        ("2026-03-29T03:00", "nightly", "its time has come"),
        ("2026-03-30T03:00", "nightly", "its time has come"),
    ]
    rows = json.loads(said.out)["requested"]
    assert [row["due_at"] for row in rows] == [f"2026-03-{d}:00:00.000000Z" for d in ("28T02", "29T01", "30T01")]
    assert rows[0]["builders"] == ["unit"] and rows[0]["properties"] == {"scheduler": "nightly"}


def test_n_days_have_n_midnights(simulate):
    said = simulate("  - {type: Nightly, name: midnight, hour: 0, builderNames: [unit]}\n", "--days", "30", "--json")
    assert len(said.requested) == 30


def test_a_table_tells_people_when_who_why_and_what(simulate, folder):
    changes = lines_of(
        folder,
        {"revision": "a1", "when": "2026-03-28T10:00:00+01:00"},
        {"revision": "a2", "when": "2026-03-28T10:00:30+01:00"},
        {"branch": "other", "when": "2026-03-28T11:00:00+01:00"},
        {"when": "2026-03-27T11:00:00+01:00"},
        {"when": "2026-04-27T11:00:00+01:00"},
    )
    said = simulate(NIGHTLY + QUICK + AFTER, "--days", "1", "--changes", changes)
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert lines[0] == (
        "from 2026-03-28 00:00:00 +01:00 to 2026-03-29 00:00:00 +01:00, 3 changes of "
        f"{changes} (1 before and 1 after that time are left out)"
    )
    assert lines[1] == "assumed: every task ends at once, with success; nothing was run or touched"
    assert lines[3:6] == [
        "2026-03-28 03:00:00 +01:00 nightly its time has come unit",
        "2026-03-28 10:01:30 +01:00 quick tree-stable timer, 2 changes, 1 to 2 unit main a2",
        "2026-03-28 10:01:30 +01:00 after quick: success, 2 changes, 1 to 2 deploy main a2",
    ]
    assert lines[8:] == ["nightly 1", "quick 1", "after 1"]


def test_an_outcome_may_be_assumed_and_then_nothing_follows(simulate, folder):
    changes = lines_of(folder, {"when": "2026-03-28T10:00:00+01:00"})
    said = simulate(QUICK + AFTER, "--changes", changes, "--outcome", "unit=failure")
    assert "but unit: failure" in said.out and "after      0" in said.out and "quick      1" in said.out


def test_a_chain_of_dependents_and_overlap_are_served_in_order(simulate, folder):
    changes = lines_of(folder, *({"when": f"2026-03-28T10:{m:02}:00+01:00", "revision": f"r{m}"} for m in (0, 10)))
    more = "  - {type: Dependent, name: last, upstream: after, builderNames: [unit]}\n"
    hourly = "  - {type: Nightly, name: hourly, overlap: skip, builderNames: [unit]}\n"
    said = simulate(QUICK + AFTER + more + hourly, "--days", "0.5", "--changes", changes, "--json")
    assert [r for r in said.requested if r[1] in ("quick", "after", "last")] == [
        ("2026-03-28T10:01", "quick", "tree-stable timer"),
        ("2026-03-28T10:01", "after", "quick: success"),
        ("2026-03-28T10:01", "last", "after: success"),
        ("2026-03-28T10:11", "quick", "tree-stable timer"),
        ("2026-03-28T10:11", "after", "quick: success"),
        ("2026-03-28T10:11", "last", "after: success"),
    ]
    assert sum(r[1] == "hourly" for r in said.requested) == 12
    assert json.loads(said.out)["skipped"] == []


def test_skips_have_their_reasons(simulate, folder):
    only = "  - {type: Nightly, name: only, hour: 4, onlyIfChanged: true, builderNames: [unit]}\n"
    said = simulate(only, "--days", "3", "--json")
    (first, second) = json.loads(said.out)["skipped"]
    assert (first["scheduler"], first["count"], first["first"]) == ("only", 1, "2026-03-29T02:00:00.000000Z")
    assert "nothing important has changed" in second["reason"]
    assert "2: onlyIfChanged: nothing important has changed" in simulate(only, "--days", "3").out


def test_rows_are_limited_for_people_only(simulate):
    said = simulate(NIGHTLY, "--days", "9", "--limit", "4")
    assert said.out.count("its time has come") == 4 and "... and 5 more; --limit 0 shows all" in said.out
    assert simulate(NIGHTLY, "--days", "9", "--limit", "0").out.count("its time has come") == 9


def test_it_agrees_with_what_really_happens(simulate):
    """The harness runs turn by turn what a simulation commits many at a time."""
    said = simulate(
        "  - {type: Periodic, name: p, periodicBuildTimer: 7h, builderNames: [unit]}\n",
        *("--days", "20", "--json"), begin="2026-03-20T00:00+01:00",
    )  # fmt: skip
    with SchedulerHarness(
        lambda: Periodic("p", ["unit"], periodicBuildTimer="7h"), start="2026-03-20T00:00+01:00"
    ) as h:
        h.advance_to(datetime.fromisoformat("2026-04-09T00:00+02:00"))
        expected = [(b.at.isoformat(), b.due_at) for b in h.buildsets]
    rows = json.loads(said.out)["requested"]
    assert [(r["at"].replace(".000000Z", "+00:00"), datetime.fromisoformat(r["due_at"])) for r in rows] == expected
    assert len(expected) == timedelta(days=20) // timedelta(hours=7) + 1


# -- two files


def test_the_difference_between_two_files(simulate, folder):
    (folder / "old.yaml").write_text(BUILDERS + "schedulers:\n" + NIGHTLY.replace("hour: 3", "hour: 5") + QUICK)
    changes = lines_of(folder, {"when": "2026-03-28T10:00:00+01:00"})
    new = NIGHTLY + QUICK.replace("[unit]", "[unit, deploy]")
    arguments = ("--days", "1", "--changes", changes, "--against", str(folder / "old.yaml"))
    said = simulate(new, *arguments)
    rows = [" ".join(line.split()) for line in said.out.splitlines()[4:]]
    assert rows == [
        "+ 2026-03-28 03:00:00 +01:00 nightly its time has come unit",
        "- 2026-03-28 05:00:00 +01:00 nightly its time has come unit",
        "~ 2026-03-28 10:01:00 +01:00 quick tree-stable timer, change 1 unit, deploy main builders: unit",
    ]
    found = json.loads(simulate(new, *arguments, "--json").out)
    assert (len(found["only_config"]), len(found["only_against"]), len(found["changed"]), found["same"]) == (1, 1, 1, 0)
    assert found["changed"][0]["against"]["builders"] == ["unit"]


def test_equal_files_do_the_same(simulate, folder):
    (folder / "old.yaml").write_text(BUILDERS + "schedulers:\n" + NIGHTLY)
    said = simulate(NIGHTLY, "--days", "5", "--against", "old.yaml")
    assert said.code == 0 and "5 are the same" in said.out and "they would request the same" in said.out


# -- plugins

PLUGIN = """
from locum.schedulers import BaseScheduler
{imports}

class Mine(BaseScheduler):
    async def activate(self):
        await super().activate()
        await self.startConsumingChanges()
        {activate}

    async def gotChange(self, change, important):
        {change}
        await self.addBuildsetForChanges(reason="{reason}", changeids=[change.number])
"""
MINE = "  - {type: mine.Mine, name: own, builderNames: [unit]}\n"
PLUGINS = "plugins: [{file}]\n"


def plugin(folder, file="mine.py", imports="", activate="pass", change="pass", reason="mine"):
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text(PLUGIN.format(imports=imports, activate=activate, change=change, reason=reason))


def test_plugins_of_one_name_in_two_files_are_told_apart(simulate, folder):
    plugin(folder, "a/mine.py", reason="a")
    plugin(folder, "b/mine.py", reason="b")
    (folder / "old.yaml").write_text(PLUGINS.format(file="./b/mine.py") + BUILDERS + "schedulers:\n" + MINE)
    changes = lines_of(folder, {"when": "2026-03-28T10:00:00+01:00"})
    said = simulate(MINE + PLUGINS.format(file="./a/mine.py"), "--changes", changes, "--against", "old.yaml", "--json")
    (change,) = json.loads(said.out)["changed"]
    assert (change["config"]["reason"], change["against"]["reason"]) == ("a", "b")
    assert "mine" not in sys.modules


def test_a_plugin_that_cannot_be_made_is_a_fault_of_the_file(simulate, folder):
    (folder / "mine.py").write_text("1 / 0\n")
    said = simulate(MINE + PLUGINS.format(file="./mine.py"))
    assert said.code == 1 and said.out == ""
    assert "master.yaml:" in said.err and "ZeroDivisionError" in said.err


def test_a_plugin_that_raises_is_told_with_time_cause_and_place_and_the_others_go_on(simulate, folder):
    plugin(folder, change="raise LookupError('no such thing')")
    changes = lines_of(folder, {"when": "2026-03-28T10:00:00+01:00"})
    said = simulate(NIGHTLY + MINE + PLUGINS.format(file="./mine.py"), "--days", "2", "--changes", changes)
    assert said.code == 1
    assert "scheduler 'own', at 2026-03-28 10:00:00 +01:00, change:1 (10 times): LookupError: no such thing" in said.err
    assert "mine.py:12" in said.err and "nightly    2" in said.out


@pytest.mark.parametrize(
    ("activate", "imports", "why"),
    [
        ("raise OSError('no connection')", "", "OSError: no connection"),
        ("reactor.callLater(5, print)", "from twisted.internet import reactor", "cannot be simulated"),
        ("await deferToThread(print)", "from twisted.internet.threads import deferToThread", "cannot be simulated"),
    ],
)
def test_a_scheduler_that_cannot_take_part_is_left_out_and_said_to_be(simulate, folder, activate, imports, why):
    plugin(folder, imports=imports, activate=activate)
    said = simulate(NIGHTLY + MINE + PLUGINS.format(file="./mine.py"), "--days", "30", "--json")
    assert said.code == 1 and len(said.requested) == 30
    assert why in json.loads(said.out)["left_out"]["own"]
    assert "scheduler 'own' is left out: it cannot be activated" in said.err


def test_what_waits_for_people_is_left_out(simulate):
    said = simulate(NIGHTLY + "  - {type: Try_Userpass, name: try, builderNames: [unit], port: 1, userpass: {a: b}}\n")
    assert said.code in (0, 1) and "try" in said.err


# -- in several processes

SEVERAL = (
    "  - {type: SingleBranchScheduler, name: quick, branch: main, builderNames: [unit]}\n"
    "  - {type: Nightly, name: nightly, hour: 3, builderNames: [unit]}\n"
    "  - {type: Periodic, name: early, periodicBuildTimer: 3h, builderNames: [deploy]}\n"
    "  - {type: Nightly, name: changed, hour: '*', onlyIfChanged: true, builderNames: [unit]}\n"
    "  - {type: Nightly, name: also, hour: 3, builderNames: [unit, deploy], overlap: queue}\n"
)


def in_process_of_its_own(*arguments, code=0):
    """``fork`` is for processes without threads, which this one is not."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done


def test_several_processes_show_what_one_shows(simulate, folder):
    changes = lines_of(folder, *({"when": f"2026-03-28T1{n}:00:00+01:00"} for n in range(5)))
    alone = simulate(SEVERAL, "--days", "2", "--changes", changes, "--json", "--jobs", "1")
    requested = json.loads(alone.out)["requested"]
    assert {r["scheduler"] for r in requested} == {"quick", "nightly", "early", "changed", "also"}
    assert [who for when, who, _ in alone.requested if when == "2026-03-28T03:00"] == ["nightly", "early", "also"]
    arguments = ["simulate", "master.yaml", "--from", "2026-03-28", "--days", "2", "--changes", changes, "--json"]
    assert in_process_of_its_own("-m", "locum", *arguments, "--jobs", "3").stdout == alone.out


def test_schedulers_that_hear_of_others_stay_in_one_process(simulate, folder):
    changes = lines_of(folder, {"when": "2026-03-28T10:00:00+01:00"})
    said = simulate(QUICK + NIGHTLY + AFTER, "--days", "1", "--changes", changes, "--json", "--jobs", "2")
    assert [who for _, who, _ in said.requested] == ["nightly", "quick", "after"]


def test_what_a_process_raises_is_raised_and_one_that_is_killed_is_named():
    begin = "import os, sys, time; from locum.master.simulation_parts import in_processes\n"
    slow = "lambda: time.sleep(50)"
    raises = begin + f"in_processes([{slow}, lambda: 1 / 0, {slow}], 2)"
    assert "ZeroDivisionError" in in_process_of_its_own("-c", raises, code=1).stderr
    ends = begin + f"in_processes([{slow}, lambda: os._exit(3)], 2)"
    assert "without an answer (exit code 3); try '--jobs 1'" in in_process_of_its_own("-c", ends, code=1).stderr
    many = begin + "print(sum(map(len, in_processes([lambda n=n: 'x' * n * 100_000 for n in range(9)], 2))))"
    assert in_process_of_its_own("-c", many).stdout == "3600000\n"


# -- a repository


def git(repository, *arguments, when=None):
    dates = {"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when} if when else {}
    names = {f"GIT_{who}_{what}": "ann" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return subprocess.run(
        ["git", "-c", "init.defaultBranch=main", *arguments],
        cwd=repository, check=True, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", **names, **dates},
    ).stdout.strip()  # fmt: skip


@pytest.fixture
def repository(tmp_path):
    path = tmp_path / "clone"
    path.mkdir()
    git(path, "init", "--quiet")
    for number, when in enumerate(
        ("2026-03-27T12:00:00+01:00", "2026-03-28T12:00:00+01:00", "2026-03-28T14:00:00+01:00")
    ):
        (path / "file").write_text(str(number))
        git(path, "add", "file")
        git(path, "commit", "--quiet", "-m", f"number {number}", when=when)
    git(path, "checkout", "--quiet", "-b", "side")
    git(path, "commit", "--quiet", "--allow-empty", "-m", "aside", when="2026-03-28T13:00:00+01:00")
    git(path, "checkout", "--quiet", "main")
    return path


def test_commits_are_changes_at_the_time_at_which_they_were_committed(simulate, repository):
    every = "  - {type: AnyBranchScheduler, name: every, builderNames: [unit]}\n"
    said = simulate(QUICK + every, "--days", "1", "--repository", str(repository), "--json")
    assert said.requested == [
        ("2026-03-28T12:00", "every", "change 1"),
        ("2026-03-28T12:01", "quick", "tree-stable timer"),
        ("2026-03-28T13:00", "every", "change 2"),
        ("2026-03-28T14:00", "every", "change 3"),
        ("2026-03-28T14:01", "quick", "tree-stable timer"),
    ]
    stamps = [row["sourcestamps"][0] for row in json.loads(said.out)["requested"]]
    assert [stamp["branch"] for stamp in stamps] == ["main", "main", "side", "main", "main"]
    assert stamps[0]["revision"] == git(repository, "rev-parse", "main~1")
    assert stamps[0]["repository"] == str(repository)


def test_a_change_source_of_the_file_says_which_commits_and_as_what(simulate, repository):
    every = "  - {type: AnyBranchScheduler, name: every, builderNames: [unit], codebases: [app]}\n"
    source = f"change_sources:\n  - {{type: GitPoller, name: app, repository: {repository}, branches: [side], codebase: app}}\n"
    said = simulate(every + source, "--days", "1", "--repository", str(repository), "--json")
    stamps = [row["sourcestamps"][0] for row in json.loads(said.out)["requested"]]
    assert [(s["codebase"], s["branch"]) for s in stamps] == [("app", "side")] * 3  # all that 'side' has of that day
    said = simulate(every + source.replace("[side]", "[none]"), "--repository", str(repository), "--source", "app")
    assert said.code == 1 and "has no branch that app follows; it has main, side" in said.err


def test_a_repository_cannot_have_a_program_run(simulate, repository, folder):
    git(repository, "config", "core.fsmonitor", f"touch {folder}/ran")
    git(repository, "config", "core.pager", f"touch {folder}/ran")
    git(repository, "config", "log.showSignature", "true")
    git(repository, "config", "gpg.program", f"touch {folder}/ran")
    assert simulate(QUICK, "--repository", str(repository)).code == 0


# -- bad input


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (["--days", "-1"], 2, "--days: expected more than 0 and at most 3660 days, got -1."),
        (["--days", "nan"], 2, "--days: expected more than 0"),
        (["--until", "2025-01-01"], 2, "--until: 2025-01-01 does not lie behind --from, 2026-03-28."),
        (["--until", "2226-01-01"], 2, "--until: 2226-01-01 lies more than 3660 days behind"),
        (["--until", "2027-01-01", "--days", "3"], 2, "give either it or --days"),
        (["--timezone", "Mars"], 2, "--timezone: unknown time zone 'Mars'"),
        (["--outcome", "unit=fine"], 2, "--outcome: expected BUILDER=RESULT"),
        (["--outcome", "nobody=failure"], 2, "there is no builder 'nobody'; there are deploy, unit"),
        (["--changes", "nowhere"], 1, "cannot read nowhere: No such file"),
        (["--changes", "."], 1, "cannot read .: Is a directory"),
        (["--repository", "."], 1, "--repository: . is not a git repository"),
        (["--repository", "nowhere"], 1, "--repository: nowhere is not a git repository"),
        (["--repository", ".", "--changes", "x"], 2, "give either it or --changes"),
        (["--source", "app"], 2, "--source: it says whose commits"),
        (["--against", "nowhere.yaml"], 1, "nowhere.yaml"),
        (["--limit", "-1"], 2, "--limit"),
    ],
)
def test_bad_input_is_refused_with_the_option_and_the_cure(simulate, arguments, code, what):
    said = simulate(NIGHTLY, *arguments)
    assert said.code == code and what in said.err and said.out == "", said


def test_a_time_that_is_none_and_one_too_late(simulate):
    assert "--from: expected a time such as" in simulate(NIGHTLY, begin="yesterday").err
    assert "--from: 9999-12-31 is too late" in simulate(NIGHTLY, begin="9999-12-31").err


def test_unreadable_changes_are_named_line_by_line(simulate, folder):
    (folder / "changes").write_text('{"who": 1}\nx\n\n{"who": "a"}\n{"who": "a", "when": 5}\n')
    said = simulate(NIGHTLY, "--changes", "changes")
    assert said.code == 1 and said.out == ""
    assert said.err.splitlines()[:3] == [
        "changes, line 1: who: expected text, got a number",
        "changes, line 2: not JSON: Expecting value: line 1 column 1 (char 0)",
        "changes, line 4: when: is missing; the simulation must know at which time it came",
    ]


def test_a_file_with_faults_is_not_simulated(simulate):
    said = simulate(NIGHTLY.replace("hour: 3", "hour: 25"))
    assert said.code == 1 and "master.yaml:" in said.err and "hour" in said.err and said.out == ""


def test_committing_late_changes_nothing(simulate, folder, monkeypatch):
    changes = lines_of(
        folder,
        *({"when": f"2026-03-28T{h:02}:{m:02}:00+01:00", "branch": b} for h in range(5) for m, b in ((5, "main"), (50, "x"))),
    )  # fmt: skip
    everything = (
        NIGHTLY
        + QUICK
        + AFTER
        + "  - {type: Periodic, name: often, periodicBuildTimer: 25m, overlap: queue, builderNames: [unit]}\n"
        "  - {type: Nightly, name: only, onlyIfChanged: true, minute: 30, branch: x, builderNames: [unit]}\n"
        "  - {type: AnyBranchScheduler, name: any, treeStableTimer: 600, builderNames: [unit, deploy]}\n"
        "  - {type: Dependent, name: last, upstream: any, builderNames: [unit], passProperties: true}\n"
        "  - {type: OldBuildCanceller, name: old, filters: [{builders: [unit]}]}\n"
    )
    outcomes = []
    for gathered in (1, 400):
        monkeypatch.setattr("locum.master.simulation.GATHERED", gathered)
        outcomes.append(json.loads(simulate(everything, "--days", "0.3", "--changes", changes, "--json").out))
    late = outcomes.pop()
    assert {row["scheduler"] for row in late["requested"]} == {
        "nightly",
        "quick",
        "after",
        "often",
        "only",
        "any",
        "last",
    }
    assert len(late["requested"]) > 40 and late["skipped"]

    def in_order(rows):
        return sorted(json.dumps(row, sort_keys=True) for row in rows)

    for outcome in outcomes:
        assert in_order(outcome["requested"]) == in_order(late["requested"])
        assert in_order(outcome["skipped"]) == in_order(late["skipped"])


def test_a_plugin_whose_service_does_not_start_is_named(simulate, folder):
    plugin(folder)
    text = (folder / "mine.py").read_text()
    (folder / "mine.py").write_text(
        f"{text}\n    def startService(self):\n        super().startService()\n        raise OSError('no file')\n"
    )
    said = simulate(MINE + PLUGINS.format(file="./mine.py"))
    assert said.code == 1 and said.out == ""
    assert "master.yaml: startService of 'own' failed: OSError: no file; nothing was simulated" in said.err


@pytest.mark.parametrize("begin", ["1969-12-31T23:59:59Z", "1960-01-01", "0001-01-01"])
def test_a_beginning_before_1970_is_refused(simulate, begin):
    said = simulate(NIGHTLY, begin=begin)
    assert (said.code, said.out) == (2, "")
    assert f"--from: {begin} lies before 1970, where Locum's times begin; give a later time" in said.err


def test_a_tree_stable_timer_of_a_branch_is_told_as_next_tells_of_it(simulate, folder):
    changes = lines_of(folder, {"branch": "main", "repository": "repo", "when": "2026-03-28T10:00:00+01:00"})
    every = "  - {type: AnyBranchScheduler, name: each, treeStableTimer: 60, builderNames: [unit]}\n"
    said = simulate(every, "--changes", changes)
    assert "tree-stable timer of branch 'main', change 1 " in said.out and "[" not in said.out
    assert ", 1 change of " in said.out.splitlines()[0]
