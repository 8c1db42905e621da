"""``locum import-buildbot``: what becomes of configurations as people have them, and of broken ones."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from locum.master.commands.main import run
from locum.master.importing import running

FILES = Path(__file__).resolve().parents[1] / "support" / "master_cfgs"


@pytest.fixture
def imported(tmp_path, capsys):
    """``imported(text or file, *options)``: (exit code, YAML or None, report), after 'locum check' has accepted the YAML."""

    def call(source, *options):
        file = source
        if isinstance(source, str):
            file = tmp_path / "master.cfg"
            file.write_text(source, encoding="utf-8")
        made = tmp_path / "locum.yaml"
        made.unlink(missing_ok=True)
        capsys.readouterr()
        code = run(["import-buildbot", str(file), "-o", str(made), *options])
        said = capsys.readouterr()
        if not made.exists():
            return code, None, said.out + said.err
        assert run(["check", "--config", str(made)]) == 0, capsys.readouterr().err + made.read_text()
        capsys.readouterr()
        return code, yaml.safe_load(made.read_text()), said.out

    return call


def names(found, section="schedulers"):
    return [entry["name"] for entry in found.get(section, ())]


def lines_with(report, word):
    return [line for line in report.splitlines() if word in line]


# -- configurations as people have them


def test_a_build_farm_s_tables_become_entries_and_functions_are_listed_with_a_plugin_to_be(imported):
    code, found, report = imported(FILES / "branches.cfg")
    assert code == 0 and len(found["builders"]) == 6
    assert names(found) == [
        "all main",
        "main-refleak",
        "force-main",
        "all 3.12",
        "3.12-refleak",
        "force-3_12",
        "upload",
    ]
    by_name = {entry["name"]: entry for entry in found["schedulers"]}
    assert by_name["all main"]["treeStableTimer"] == 300  # a timedelta
    assert by_name["upload"]["properties"] == {"where": "%(prop:branch)s/up"}
    assert by_name["force-main"]["properties"][1] == {
        "type": "ChoiceString",
        "name": "level",
        "choices": ["quick", "full"],
        "default": "quick",
    }
    assert lines_with(report, "is_important_change")[0].startswith("branches.cfg:97: SingleBranchScheduler 'main'")
    assert "not looked at: configurators, db_url, services, title, www" in report and "cannot import" not in report


def test_what_is_suggested_for_functions_is_a_plugin_that_works(imported, tmp_path, capsys):
    assert run(["import-buildbot", str(FILES / "branches.cfg"), "--json"]) == 0
    suggested = json.loads(capsys.readouterr().out)["suggested"][0]
    python, _, entry = suggested.removeprefix("my_schedulers.py:\n").partition("\n\nin the YAML:\n")
    (tmp_path / "my_schedulers.py").write_text("def is_important_file(name):\n    return True\n\n" + python)
    names = ["amd64 Debian 3.x", "arm64 macOS 3.x"]
    builders = "".join(f"  - {{name: {name}, steps: [{{shell: [make]}}]}}\n" for name in names)
    (tmp_path / "one.yaml").write_text(f"{entry}builders:\n{builders}")
    assert run(["check", "--config", str(tmp_path / "one.yaml")]) == 0, capsys.readouterr().err


def test_an_older_configuration_is_turned_and_faults_are_said_at_their_lines(imported):
    code, found, report = imported(FILES / "old.cfg", "--timezone", "Europe/Berlin")
    assert code == 0 and found["cluster"] == {"timezone": "Europe/Berlin"}
    assert names(found) == ["quick", "packaged", "hourly", "nightly", "release", "force", "tryjobs", "try"]
    quick, packaged, _, nightly, release, force, tryjobs, userpass = found["schedulers"]
    assert quick == {
        "type": "SingleBranchScheduler",
        "name": "quick",
        "branch": "main",
        "treeStableTimer": 120,
        "builderNames": ["linux"],
    }
    assert packaged["upstream"] == "quick" and (nightly["hour"], nightly["dayOfWeek"]) == ([3, 15], "0-4")
    assert nightly["properties"] == {"cost": "$${HOME}"}  # no variable of the environment
    assert release["change_filter"] == {"branch_re": "(?i)release/.*", "category": ["a", "b"]}
    assert force["builderNames"] == ["linux", "docs", "dist"] and force["codebases"][0]["branch"]["default"] == "main"
    assert tryjobs["jobdir"] == "jobs" and userpass.keys() == {"type", "name", "builderNames"}
    assert found["change_sources"] == [
        {
            "type": "GitPoller",
            "name": "tool",
            "repository": "https://git.example.org/tool.git",
            "branches": ["main", "release"],
            "poll_interval": 300,
            "project": "tool",
        }
    ]
    assert [b.get("collapse_requests") for b in found["builders"]] == [None, None, True]
    for line, word in (
        (15, "'private'"),
        (24, "password"),
        (25, "PBChangeSource"),
        (62, "0-23"),
        (63, "no such builder"),
    ):
        assert lines_with(report, word)[0].startswith(f"old.cfg:{line}: "), word
    assert "hidden" not in report + str(found) and "there is no scheduler 'gone'" in report


def test_modules_and_files_beside_it_are_read_and_classes_of_ones_own_are_listed(imported):
    code, found, report = imported(FILES / "by_json" / "master.cfg")
    assert code == 0 and names(found, "builders") == ["mac-release-build", "gtk-release-tests"]
    assert found["schedulers"][0] == {
        "type": "AnyBranchScheduler",
        "name": "all",
        "change_filter": {"branch": ["main", None]},
        "builderNames": ["gtk-release-tests"],
    }
    (platform,) = lines_with(report, "PlatformScheduler 'mac'")
    assert platform.startswith("loadConfig.py:47: ") and "have its constructor take 'name'" in platform
    assert lines_with(report, "GitPoller 'engine': branches: a function")
    assert "change_sources" not in found


def test_a_canceller_s_rules_and_its_filters_are_turned(imported):
    code, found, _ = imported(
        """
from buildbot.plugins import schedulers, util
c = BuildmasterConfig = {}
c["builders"] = [util.BuilderConfig(name=n, workernames=["w"], factory=util.BuildFactory()) for n in ("a", "b")]
c["services"] = [util.OldBuildCanceller("old", [(["a"], util.SourceStampFilter(branch_not_eq=["main"]))])]
c["schedulers"] = [
    schedulers.FailingBuildsetCanceller("fail", filters=[(["a"], ["b"], util.SourceStampFilter())]),
]
"""
    )
    assert code == 0
    assert {entry["name"]: entry["filters"] for entry in found["schedulers"]} == {
        "fail": [{"builders": ["a"], "builders_to_cancel": ["b"], "filter": {}}],
        "old": [{"builders": ["a"], "filter": {"branch_not_eq": ["main"]}}],
    }


def test_odd_ways_of_writing_come_to_the_same(imported, tmp_path):
    (tmp_path / "shared").mkdir()
    tables = "import not_installed\nNAMES = ('unit', 'lint')\nLIMIT = not_installed.x\n"
    (tmp_path / "shared" / "tables.py").write_text(tables)
    code, found, report = imported(
        """
import sys; sys.path.append("shared")
from buildbot.plugins import schedulers, steps, util
from buildbot.schedulers.basic import SingleBranchScheduler
from missing_base import Base
from tables import LIMIT, NAMES

class Step(steps.ShellCommand):
    renderables = steps.ShellCommand.renderables + ["x"]

class Mixed(Base, SingleBranchScheduler):
    compare_attrs = SingleBranchScheduler.compare_attrs + ("x",)

class Quiet(SingleBranchScheduler):
    def __init__(self, name, builders):
        self.builders = builders

f = util.BuildFactory([Step()])
f.addSteps([Step(command=util.Interpolate("%(prop:x)s"))])
BuildmasterConfig = dict(
    builders=tuple(util.BuilderConfig(name, workernames=["w"], factory=f) for name in NAMES),
    schedulers=(
        schedulers.AnyBranchScheduler("a", builderNames=[util.BuilderConfig(name="unit")], treeStableTimer=LIMIT),
        schedulers.Nightly("n", builderNames=NAMES, codebases={"": {"repository": "r", "project": ""}}, hour="*/2"),
        schedulers.Nightly("m", builderNames=NAMES, codebases={"": {"repository": "r", "project": "p"}}),
        schedulers.Triggerable("t", ["unit"], priority=lambda builders, changes: 1),
        schedulers.Nothing("x"), Mixed(name="mixed", branch=None, builderNames=["unit"]), Quiet("quiet", ["unit"]),
    ),
)
"""
    )
    assert code == 0 and names(found, "builders") == ["unit", "lint"]
    assert [(s["name"], s["builderNames"]) for s in found["schedulers"]] == [
        ("a", ["unit"]),
        ("n", ["unit", "lint"]),
        ("t", ["unit"]),
    ]
    assert found["schedulers"][1]["codebases"] == {"": {"repository": "r"}}
    assert lines_with(report, "cannot import 'not_installed'")[0].startswith("shared/tables.py:1: ")
    for said in (
        "AnyBranchScheduler 'a': treeStableTimer: not_installed.x is not known here",
        "Nightly 'm' is left out: '': unknown key 'project'",
        "Triggerable 't': priority: a function has no form in the YAML",
        "Nothing 'x' is left out: there is no Nothing here",
        "Mixed 'mixed' is left out: Mixed is a class of your own",
        "Quiet 'quiet' is left out: Quiet is a class of your own",
    ):
        assert said in report, said


# -- what it never does


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import socket; socket.create_connection(('127.0.0.1', 9))", "opens a connection"),
        ("import subprocess; subprocess.run(['touch', 'made'])", "starts or ends a process"),
        ("import os; os.system('touch made')", "starts or ends a process"),
        ("import os; os.kill(os.getppid(), 9)", "starts or ends a process"),
        ("open('made', 'w').write('x')", "writes to the disk"),
        ("import pathlib; pathlib.Path('made').touch()", "writes to the disk"),
        ("import os; os.remove('master.cfg')", "writes to the disk"),
        ("import sqlite3; sqlite3.connect('made')", "writes to the disk"),
    ],
)
def test_connections_processes_and_writes_are_refused(imported, tmp_path, code, what):
    exit_code, found, report = imported(f"c = BuildmasterConfig = {{}}\n{code}\n")
    assert (exit_code, found) == (1, None) and report.startswith("master.cfg:2: it " + what)
    assert [path.name for path in tmp_path.iterdir()] == ["master.cfg"]


# -- files that are broken

GOOD = """
from buildbot.plugins import *
c = BuildmasterConfig = {}
c["builders"] = [util.BuilderConfig(name="unit", workernames=["w"], factory=util.BuildFactory())]
c["schedulers"] = [schedulers.Periodic(name="p", builderNames=["unit"], periodicBuildTimer=60)]
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("c = {\n", "master.cfg:1: SyntaxError: '{' was never closed"),
        ("print 'hello'\n", "turn it into Python 3 first, with '2to3' say"),
        ("x = 1\n", "it defines no dictionary BuildmasterConfig"),
        ("import os\nos._exit(3)\n", "it ended its process"),
        ("import sys\nsys.exit('no')\n", "master.cfg:2: SystemExit: no"),
        ("c = {}\nopen('secret.txt')\n", "master.cfg:2: FileNotFoundError"),
        ("c = {}\nc['x'] = undefined\n", "master.cfg:2: NameError: name 'undefined' is not defined"),
        ("from buildbot.config import error\nerror('no workers')\n", "config.error: no workers"),
        ("def f(): f()\nf()\n", "RecursionError"),
        ("c = []\n", "it defines no dictionary"),
    ],
)
def test_what_stops_a_file_is_said_with_its_line(imported, text, said):
    code, found, report = imported(text)
    assert (code, found) == (1, None) and said in report and report.count("Traceback") == 0


def test_what_had_been_made_before_a_file_failed_is_written_and_marked(imported, tmp_path):
    code, found, report = imported(GOOD + "c['x'] = 1 / 0\n")
    assert code == 1 and names(found) == ["p"] and "master.cfg:6: ZeroDivisionError" in report
    assert "incomplete" in (tmp_path / "locum.yaml").read_text().partition("\n")[0]


def test_an_endless_loop_ends_where_it_is(imported):
    code, found, report = imported(GOOD + "while True:\n    pass\n", "--timeout", "0.3")
    assert code == 1 and names(found) == ["p"]
    assert report.startswith("master.cfg:") and "did not come to its end in time" in report


def test_an_endless_loop_that_catches_everything_is_ended_all_the_same(imported, monkeypatch):
    monkeypatch.setattr(running, "GRACE_S", 0.3)
    code, found, report = imported(
        "while True:\n    try:\n        while True: pass\n    except: pass\n", "--timeout", "0.2"
    )
    assert (code, found) == (1, None) and "did not come to its end in time" in report


def test_what_is_not_installed_is_listed_and_what_comes_from_it_is_not_known(imported):
    code, found, report = imported(
        "import no_such_module_here as m\nfrom nor_this import *\n"
        + GOOD
        + "c['schedulers'].append(schedulers.Triggerable(name='t', builderNames=m.names))\n"
        + "c['schedulers'].append(schedulers.Triggerable(name='u', builderNames=NAMES))\n"
        + "try:\n    import also_not\nexcept ImportError:\n    c['title'] = 'fallback'\n"
    )
    assert code == 0 and names(found) == ["p"]
    assert lines_with(report, "cannot import 'no_such_module_here'")[0].startswith("master.cfg:1: ")
    assert "Triggerable 't' is left out: builderNames: no_such_module_here.names is not known here" in report
    assert "Triggerable 'u' is left out: builderNames: NAMES is not known here" in report and "also_not" not in report


def test_it_runs_in_its_own_folder_wherever_the_command_runs(imported, tmp_path, monkeypatch):
    folder = tmp_path / "master"
    folder.mkdir()
    (folder / "names.txt").write_text("unit\n")
    (folder / "master.cfg").write_text(GOOD.replace('["unit"]', 'open("names.txt").read().split()'))
    monkeypatch.chdir(tmp_path)
    code, found, _ = imported(folder / "master.cfg")
    assert code == 0 and names(found) == ["p"] and not (folder / "__pycache__").exists()


def test_a_file_that_is_there_is_never_overwritten_and_one_that_is_not_is_said(tmp_path, capsys):
    shutil.copy(FILES / "old.cfg", tmp_path / "master.cfg")
    (tmp_path / "locum.yaml").write_text("mine")
    assert run(["import-buildbot", str(tmp_path / "master.cfg"), "-o", str(tmp_path / "locum.yaml")]) == 1
    assert (tmp_path / "locum.yaml").read_text() == "mine" and "is there already" in capsys.readouterr().err
    assert run(["import-buildbot", str(tmp_path / "no.cfg")]) == 1 and "cannot read" in capsys.readouterr().err
    assert run(["import-buildbot", str(FILES / "old.cfg"), "--timezone", "Nowhere"]) == 2


def test_the_yaml_goes_to_standard_output_and_the_list_to_standard_error(tmp_path, capsys):
    (tmp_path / "master.cfg").write_text(GOOD)
    assert run(["import-buildbot", str(tmp_path / "master.cfg")]) == 0
    said = capsys.readouterr()
    assert names(yaml.safe_load(said.out)) == ["p"] and "1 schedulers, 1 builders, 0 change sources" in said.err
    assert run(["import-buildbot", str(tmp_path / "master.cfg"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert names(yaml.safe_load(answer["yaml"])) == ["p"] and answer["error"] is None
    assert {key: answer["not_turned"][-1][key] for key in ("file", "line")} == {"file": "master.cfg", "line": None}


_HEAD = """
from buildbot.plugins import schedulers, util
from twisted.internet import defer
c = BuildmasterConfig = {"builders": [util.BuilderConfig(name="b")]}
"""


def test_a_scheduler_whose_times_or_limits_are_not_known_is_left_out_rather_than_fire_more_often(imported):
    lines = [
        "schedulers.Nightly('hours', ['b'], hour=lambda: 3)",
        "schedulers.Nightly('forced', ['b'], hour=3, onlyIfChanged=True, force_at_minute=object())",
        "schedulers.AnyBranchScheduler('some', ['b'], categories=lambda: 3)",
        "schedulers.Nightly('ranges', ['b'], hour=range(1, 4), minute=range(0, 60, 15))",
    ]
    code, found, report = imported(f"{_HEAD}c['schedulers'] = [\n" + ",\n".join(lines) + "]\n")
    assert code == 0 and names(found) == ["ranges"]
    assert found["schedulers"][0]["hour"] == [1, 2, 3] and found["schedulers"][0]["minute"] == [0, 15, 30, 45]
    assert report.count("is left out: ") == 3


def test_a_field_that_cannot_be_turned_takes_no_other_along(imported):
    form = """c['schedulers'] = [schedulers.ForceScheduler("force", ["b"], properties=[
        util.InheritBuildParameter(name="inherit", compatible_builds=lambda *a: []),
        util.NestedParameter(name="n", fields=[util.StringParameter("s"), util.StringParameter("f", default=lambda: 1)]),
        util.IntParameter(name="i", default=3)])]
    """
    code, found, report = imported(_HEAD + form)
    nested, whole = found["schedulers"][0]["properties"]
    assert code == 0 and [one["name"] for one in nested["fields"]] == ["s"] and whole["name"] == "i"
    assert "properties: field 'inherit' is left out: " in report and "properties: field 'f' is left out: " in report


def test_what_is_suggested_brings_its_imports_along(imported, tmp_path, capsys):
    code = """
from buildbot.schedulers.basic import AnyBranchScheduler
class Mine(AnyBranchScheduler):
    @defer.inlineCallbacks
    def gotChange(self, change, important):
        yield super().gotChange(change, important)
@util.renderer
def names(props):
    return ["b"]
c["schedulers"] = [Mine("mine", ["b"]), schedulers.AnyBranchScheduler("dynamic", builderNames=names)]
"""
    (tmp_path / "master.cfg").write_text(_HEAD + code)
    assert run(["import-buildbot", str(tmp_path / "master.cfg"), "--json"]) == 0
    suggested = json.loads(capsys.readouterr().out)["suggested"]
    for number, one in enumerate(suggested):
        one = one.replace("my_schedulers", f"brought_along_{number}")
        python, _, entry = one.removeprefix(f"brought_along_{number}.py:\n").partition("\n\nin the YAML:\n")
        (tmp_path / f"brought_along_{number}.py").write_text(python)
        (tmp_path / "one.yaml").write_text(f"{entry}builders: [{{name: b, steps: [{{shell: [make]}}]}}]\n")
        assert run(["check", "--config", str(tmp_path / "one.yaml")]) == 0, capsys.readouterr().err
    assert len(suggested) == 2


# -- texts with properties in them


def test_a_property_whose_default_is_no_text_is_listed_and_never_a_text_that_cannot_work(imported):
    lines = [
        "schedulers.AnyBranchScheduler('list', builderNames=util.Property('bn', default=['b']))",
        "schedulers.AnyBranchScheduler('given', builderNames=util.Property('bn'))",
        "schedulers.AnyBranchScheduler('each', builderNames=[util.Property('bn', default='b'), 'b'])",
        "schedulers.AnyBranchScheduler('p', ['b'], priority=util.Property('u', default=3), properties={"
        "'n': util.Property('x', default=3), 'c': util.Property('x', default='a)b'), 'd': util.Property('x', 'y')})",
    ]
    code, found, report = imported(f"{_HEAD}c['schedulers'] = [\n" + ",\n".join(lines) + "]\n")
    by_name = {entry["name"]: entry for entry in found["schedulers"]}
    assert code == 0 and set(by_name) == {"given", "each", "p"}
    assert by_name["given"]["builderNames"] == "%(prop:bn)s"
    assert by_name["each"]["builderNames"] == ["%(prop:bn:-b)s", "b"]
    assert by_name["p"]["properties"] == {"d": "%(prop:x:-y)s"} and by_name["p"]["priority"] == "%(prop:u:-3)s"
    (left,) = lines_with(report, "'list' is left out")
    assert left.startswith("master.cfg:6: ") and "name the builders, or make it a plugin's" in left
    assert lines_with(report, "properties: 'n' is left out: Property 'x' has a default that is no text")
    assert lines_with(report, "properties: 'c' is left out: Property 'x' has a ')' in its default")


def test_a_plain_text_that_would_be_replaced_here_is_listed(imported):
    lines = [
        "schedulers.AnyBranchScheduler('s', ['b'], reason='for %(prop:x)s', properties={'pct': '100%(prop:x)s', "
        "'i': util.Interpolate('100%%(prop:x)s'), 'ok': util.Interpolate('100%%%(prop:x)s'), 'too': '100%',"
        "'nested': util.Interpolate('%(prop:x:-%(prop:y)s)s')})",
        "schedulers.AnyBranchScheduler('r', ['b'], reason=util.Interpolate('%(prop:x)s'))",
    ]
    code, found, report = imported(f"{_HEAD}c['schedulers'] = [\n" + ",\n".join(lines) + "]\n")
    assert code == 0 and found["schedulers"][0]["properties"] == {"ok": "100%%(prop:x)s", "too": "100%"}
    assert found["schedulers"][0]["reason"] == "for %(prop:x)s", "a reason is shown as it is written"
    assert "reason" not in found["schedulers"][1] and lines_with(report, "AnyBranchScheduler 'r': reason: Interpolate")
    for key in ("pct", "i"):
        (line,) = lines_with(report, f"properties: {key!r} is left out")
        assert "has '%(prop:x)s' as plain text, which would be replaced by a property here" in line
    assert lines_with(report, "properties: 'nested' is left out")


def test_a_property_that_cannot_be_turned_takes_no_other_along(imported):
    code, found, report = imported(
        _HEAD
        + """
c["builders"].append(util.BuilderConfig(name="d", properties={"a": 1, "b": object()}, env={"A": "1", "B": lambda: 2}))
c["schedulers"] = [schedulers.AnyBranchScheduler("s", ["b"], properties={
    "kept": 1, "lost": util.Interpolate("%(kw:a)s", a="q"), "code": lambda: 3})]
"""
    )
    assert code == 0 and found["schedulers"][0]["properties"] == {"kept": 1}
    assert (found["builders"][1]["properties"], found["builders"][1]["env"]) == ({"a": 1}, {"A": "1"})
    for said in (
        "AnyBranchScheduler 's': properties: 'lost' is left out: Interpolate of Buildbot's has no form",
        "AnyBranchScheduler 's': properties: 'code' is left out: a function has no form",
        "builder 'd': properties: 'b' is left out: ",
        "builder 'd': env: 'B' is left out: ",
    ):
        assert lines_with(report, said), said


# -- names and refusals


def test_all_names_of_a_module_of_buildbot_s_are_there(imported, tmp_path):
    (tmp_path / "helpers.py").write_text("Interval = 60\nOther = 61\n")
    code, found, report = imported(
        """
from buildbot.config import *
from buildbot.schedulers.basic import *
from buildbot.schedulers.timed import *
from buildbot.changes.filter import *
from buildbot.process.properties import *
from buildbot.process.factory import *
from helpers import *
from buildbot.steps.shell import *
class Mine(AnyBranchScheduler):
    pass
f = BuildFactory([ShellCommand(command=["make", Test()])])
c = BuildmasterConfig = {"builders": [BuilderConfig(name="b", factory=f)]}
c["schedulers"] = [
    SingleBranchScheduler("s", change_filter=ChangeFilter(branch="main"), builderNames=["b"],
                          properties={"x": Property("y"), "z": Other}),
    Periodic("p", ["b"], Interval),
    Mine("m", ["b"]),
]
"""
    )
    assert code == 0, report
    assert names(found) == ["s", "p"] and found["schedulers"][0]["properties"] == {"x": "%(prop:y)s", "z": 61}
    assert found["schedulers"][1]["periodicBuildTimer"] == 60
    assert "Mine 'm' is left out: Mine is a class of your own" in report


def test_a_misspelt_name_is_still_said_after_import_star(imported):
    code, _, report = imported(
        "from buildbot.schedulers.basic import *\nfrom buildbot.steps.shell import *\nundefined\n"
    )
    assert code == 1 and "master.cfg:3: NameError: name 'undefined' is not defined" in report


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import socket; socket.create_connection(('127.0.0.1', 9))", "opens a connection"),
        ("import subprocess; subprocess.run(['git', 'describe'])", "starts or ends a process"),
        ("open('made', 'w')", "writes to the disk"),
    ],
)
def test_a_refusal_that_the_file_catches_is_listed(imported, tmp_path, code, what):
    exit_code, found, report = imported(f"{GOOD}try:\n    {code}\nexcept OSError:\n    c['title'] = 'fallback'\n")
    assert exit_code == 0 and names(found) == ["p"] and not (tmp_path / "made").exists()
    (line,) = lines_with(report, what)
    assert line.startswith(f"master.cfg:7: it {what}") and "was refused" in line
    assert line.endswith("the file went on without it: look at what it makes of that")


def test_a_suggestion_imports_nothing_twice_and_says_what_is_to_be_filled_in(imported, tmp_path, capsys):
    code = """
@util.renderer
def names(props):
    return ["b"]
c["schedulers"] = [schedulers.AnyBranchScheduler("s", builderNames=names, properties={"kept": 1, "code": lambda: 2},
                   change_filter=util.ChangeFilter(filter_fn=lambda change: True))]
"""
    (tmp_path / "master.cfg").write_text(_HEAD + code)
    assert run(["import-buildbot", str(tmp_path / "master.cfg"), "--json"]) == 0
    (suggested,) = json.loads(capsys.readouterr().out)["suggested"]
    assert len([line for line in suggested.splitlines() if " import util" in line]) == 1
    comment, call = suggested.partition("\n\nin the YAML:")[0].splitlines()[-2:]
    assert comment.strip().startswith("# each '...' is to be filled in: with the function above")
    assert "change_filter=util.ChangeFilter(filter_fn=...)" in call and "\n      properties" not in suggested
