"""From a file to scheduler objects: whatever is wrong with plugins, types and arguments is found by the check, in its place."""

import json
import os
import re
import sys
import textwrap

import pytest
from locum import config as configuration
from locum.config import ConfigError
from locum.master import configuring
from locum.master.commands.main import run
from locum.master.configuring import Catalogue, check, wanted

HEAD = """\
database: { url: sqlite:///locum.sqlite }
builders: [{ name: unit, steps: [{ shell: [make] }] }]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for master.yaml and its plugins; what is imported from it is forgotten afterwards."""
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def faults(folder):
    """``faults(yaml)`` gives the faults, each as one line without the file's folder."""

    def found(text, **plugins):
        write(folder, text, **plugins)
        try:
            config = configuration.load(folder / "master.yaml", dict(os.environ))
        except ConfigError as error:
            listed = error.faults
        else:
            listed = check(config)
        return [str(fault).replace(f"{folder}/", "") for fault in listed]

    return found


def write(folder, text, **plugins):
    (folder / "master.yaml").write_text(HEAD + textwrap.dedent(text))
    for name, source in plugins.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(source))


def scheduler(arguments, kind="Nightly"):
    return (
        f"schedulers:\n  - {{ type: {kind}, name: s, builderNames: [unit]{', ' + arguments if arguments else ''} }}\n"
    )


# -- types


def test_a_well_formed_file_has_no_faults(faults):
    assert faults(scheduler("hour: 3")) == []
    assert faults(scheduler("branch: null", "SingleBranchScheduler")) == []
    assert faults(scheduler("", "AnyBranchScheduler")) == []
    assert faults(scheduler("periodicBuildTimer: 5m", "Periodic")) == []


def test_an_unknown_type_is_answered_with_what_was_meant(faults):
    (fault,) = faults(scheduler("hour: 3", "Nigthly"))
    assert fault.startswith("master.yaml:4:13: schedulers[0].type: unknown type 'Nigthly'")
    assert "did you mean 'Nightly'?" in fault
    (fault,) = faults(scheduler("", "Zzz"))
    assert "known are" in fault and "SingleBranchScheduler" in fault


def test_a_change_source_is_no_scheduler_and_the_other_way_round(faults):
    (fault,) = faults(scheduler("repository: x", "GitPoller"))
    assert "not a subclass of BaseScheduler" in fault
    (fault,) = faults("change_sources:\n  - { type: Nightly, name: s }\n")
    assert "not a subclass of ChangeSource" in fault


# -- arguments


def test_an_unknown_key_is_a_fault_at_the_key_with_what_was_meant(faults):
    (fault,) = faults(scheduler("hour: 3, minutes: 5"))
    assert re.match(r"master\.yaml:4:\d+: schedulers\[0\]\.minutes: unknown key; did you mean 'minute'\?", fault)
    (fault,) = faults(scheduler("hour: 3, xyzzy: 5"))
    assert "unknown key; Nightly takes" in fault and "dayOfWeek" in fault


def test_a_required_key_that_is_missing_is_named(faults):
    (fault,) = faults("schedulers:\n  - { type: Nightly, name: s }\n")
    assert "the key 'builderNames' is missing" in fault


def test_a_class_may_give_its_base_what_that_requires(faults):
    own = """\
        from locum.schedulers import BaseScheduler

        class Fixed(BaseScheduler):
            def __init__(self, name, **kwargs):
                super().__init__(name, ["unit"], **kwargs)

        class Open(BaseScheduler):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
    """
    text = "plugins: [./own.py]\nschedulers:\n  - {name: a, type: own.Fixed}\n  - {name: b, type: own.Open}\n"
    (fault,) = faults(text, own=own)
    assert "schedulers[1]" in fault and "the key 'builderNames' is missing; Open requires it" in fault


@pytest.mark.parametrize(
    ("kind", "arguments", "key", "said"),
    [
        ("Nightly", "hour: 25", "hour", "25"),
        ("Nightly", "minute: [5, 61]", "minute", "61"),
        ("Nightly", "dayOfMonth: 31, month: 2", "dayOfMonth", ""),
        ("Nightly", "dayOfWeek: someday", "dayOfWeek", "someday"),
        ("Nightly", "cron: '0 25 * * *'", "cron", "25"),
        ("Nightly", "cron: '0 3 31 2 *'", "cron", ""),
        ("Nightly", "cron: 'x'", "cron", ""),
        ("Nightly", "cron: '0 3 * * *', hour: 4", "cron", "not both"),
        ("Nightly", "hour: 3, timezone: Mars/Olympus", "timezone", "Mars/Olympus"),
        ("Nightly", "hour: 3, catch_up: sometimes", "catch_up", "none, one or all"),
        ("SingleBranchScheduler", "", "branch", "it is required unless change_filter is given"),
        ("SingleBranchScheduler", "branch: a, treeStableTimer: -1", "treeStableTimer", ""),
        ("SingleBranchScheduler", "branch: a, change_filter: { branch: b }", "change_filter", "not both"),
        ("SingleBranchScheduler", "change_filter: { branch_re: '(' }", "change_filter", ""),
        ("Periodic", "", "periodicBuildTimer", "it is required"),
        ("Periodic", "periodicBuildTimer: 0", "periodicBuildTimer", "positive"),
        ("Periodic", "periodicBuildTimer: 5, priority: high", "priority", "whole number"),
        ("Periodic", "periodicBuildTimer: 5, codebases: { a: { brunch: x } }", "codebases", "unknown key 'brunch'"),
        ("Periodic", "periodicBuildTimer: 5, properties: [a]", "properties", "mapping"),
    ],
)
def test_what_a_constructor_refuses_is_a_fault_of_that_argument(faults, kind, arguments, key, said):
    """Defect 13: hour=25, 31 February or a missing branch passed the check and died at run time."""
    (fault,) = faults(scheduler(arguments, kind))
    assert re.match(r"master\.yaml:4:\d+: schedulers\[0\]", fault) and said in fault and key in fault
    if f"{key}:" in arguments:  # it points at the value itself
        column = (HEAD + scheduler(arguments, kind)).splitlines()[3].index(f" {key}:") + len(f" {key}:") + 2
        assert fault.startswith(f"master.yaml:4:{column}: schedulers[0].{key}: "), fault


def test_every_fault_is_told_at_once_in_the_order_of_the_file(faults):
    found = faults(
        """
        schedulers:
          - { type: Nightly, name: a, builderNames: [unit], hour: 25 }
          - { type: Nigthly, name: b, builderNames: [unit] }
          - { type: Periodic, name: c, builderNames: [unit], periodicBuildTimer: 5, jiter: 1 }
          - { type: SingleBranchScheduler, name: d, builderNames: [unit] }
        """
    )
    assert [re.search(r"schedulers\[(\d)\]", f).group(1) for f in found] == ["0", "1", "2", "3"]


# -- plugins

COOLDOWN = """
    from locum.schedulers import BaseScheduler

    class Cooldown(BaseScheduler):
        compare_attrs = ("minutes",)

        def __init__(self, name, builderNames, minutes=10, **kwargs):
            super().__init__(name, builderNames, **kwargs)
            if minutes <= 0:
                raise ValueError("minutes: expected more than 0, got %r" % minutes)
            self.minutes = minutes
"""


def test_a_plugin_may_be_a_file(faults):
    text = "plugins: [./my_cooldown.py]\n" + scheduler("minutes: 5", "my_cooldown.Cooldown")
    assert faults(text, my_cooldown=COOLDOWN) == []


def test_a_plugin_may_be_a_module_on_the_path(faults, folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    text = "plugins: [my_module_plugin]\n" + scheduler("minutes: 5", "my_module_plugin.Cooldown")
    assert faults(text, my_module_plugin=COOLDOWN) == []


def test_a_class_may_come_from_an_installed_packages_entry_point(faults, folder, monkeypatch):
    info = folder / "site/cool-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cool\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[locum.schedulers]\nCooldown = cool_package:Cooldown\nBroken = no_such_package:X\n"
    )
    (folder / "site/cool_package.py").write_text(textwrap.dedent(COOLDOWN))
    monkeypatch.syspath_prepend(str(folder / "site"))
    configuring._entry_points.cache_clear()
    try:
        assert faults(scheduler("minutes: 5", "Cooldown")) == []
        (fault,) = faults(scheduler("", "Cooldwn"))
        assert "did you mean 'Cooldown'?" in fault
        (fault,) = faults(scheduler("", "Broken"))
        assert "no_such_package:X cannot be imported: ModuleNotFoundError" in fault
    finally:
        monkeypatch.undo()
        configuring._entry_points.cache_clear()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1\n\nraise LookupError('at import')\n", r"importing it failed \(line 3\): LookupError: at import"),
        ("x = 1\nimport sys\nsys.exit(3)\n", r"importing it failed \(line 3\): SystemExit: 3"),
        ("x = 1\n\ndef broken(:\n    pass\n", r"importing it failed \(line 3\): SyntaxError"),
        ("import nothing_of_that_name\n", r"importing it failed \(line 1\): ModuleNotFoundError"),
        ("a = b'\\xff'\n\0", r"importing it failed.*(SyntaxError|ValueError)"),
        ("def f():\n    return f()\nf()\n", r"importing it failed.*RecursionError"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_one_fault_with_its_line(faults, source, said):
    found = faults("plugins: [./broken_one.py]\n" + scheduler("", "broken_one.Cooldown"), broken_one=source)
    assert len(found) == 1 and found[0].startswith("master.yaml:3:11: plugins")
    assert re.search(said, found[0]), found[0]
    assert "broken_one" not in sys.modules


def test_a_plugin_file_that_is_not_there_is_a_fault(faults):
    found = faults("plugins: [./nowhere.py]\n" + scheduler("hour: 3"))
    assert len(found) == 1 and "nowhere.py" in found[0]


def test_a_class_or_plugin_that_does_not_exist_is_answered_with_what_was_meant(faults):
    plugins = "plugins: [./my_second.py]\n"
    (fault,) = faults(plugins + scheduler("", "my_second.Cooldwn"), my_second=COOLDOWN)
    assert "plugin 'my_second' has no class 'Cooldwn'; did you mean my_second.Cooldown?" in fault
    (fault,) = faults(plugins + scheduler("", "my_secnd.Cooldown"), my_second=COOLDOWN)
    assert "there is no plugin 'my_secnd'; did you mean 'my_second.Cooldown'?" in fault
    (fault,) = faults(plugins + scheduler("", "my_second.textwrap"), my_second=COOLDOWN + "\n    textwrap = 5\n")
    assert "not a subclass of BaseScheduler" in fault


def test_a_plugins_constructor_that_refuses_is_a_fault_of_its_argument(faults):
    text = "plugins: [./my_third.py]\n" + scheduler("minutes: -5", "my_third.Cooldown")
    (fault,) = faults(text, my_third=COOLDOWN)
    assert "schedulers[0].minutes: expected more than 0, got -5" in fault


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("self.other = undefined_name", "NameError"),
        ("raise SystemExit(4)", "its constructor calls sys.exit(4)"),
        ("raise Exception()", "Exception"),
    ],
)
def test_a_constructor_that_fails_in_any_other_way_is_a_fault_of_the_entry(faults, body, said):
    source = f"""
    from locum.schedulers import BaseScheduler

    class Odd(BaseScheduler):
        def __init__(self, name, builderNames, **kwargs):
            super().__init__(name, builderNames, **kwargs)
            {body}
    """
    (fault,) = faults("plugins: [./odd_one.py]\n" + scheduler("", "odd_one.Odd"), odd_one=source)
    assert "schedulers[0]: Odd refuses its arguments" in fault and said in fault


def test_an_attribute_to_compare_that_the_constructor_never_sets_is_a_fault(faults):
    source = COOLDOWN.replace("self.minutes = minutes", "pass")
    (fault,) = faults("plugins: [./unset_one.py]\n" + scheduler("", "unset_one.Cooldown"), unset_one=source)
    assert "compare_attrs lists 'minutes', which the constructor never sets" in fault


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("def gotChange(self, change): pass", "it is called as 'def gotChange(self, change, important)'"),
        ("async def gotTimer(self): pass", "it is called as 'def gotTimer(self, key, due)'"),
        ("def activate(self, more): pass", "it is called as 'def activate(self)'"),
        ("gotBuildsetComplete = 5", "not a method"),
        ("def gotChange(self, change, important):\n            yield", "is a generator, so calling it does nothing"),
    ],
)
def test_a_hook_that_could_never_be_called_is_found_by_the_check(faults, hook, said):
    source = f"""
    from locum.schedulers import BaseScheduler

    class Hooked(BaseScheduler):
        {hook}
    """
    (fault,) = faults("plugins: [./hooked_one.py]\n" + scheduler("", "hooked_one.Hooked"), hooked_one=source)
    assert said in fault and "schedulers[0].type" in fault


def test_hooks_with_more_room_than_needed_are_well(faults):
    source = """
    from locum.schedulers import BaseScheduler
    from twisted.internet.defer import inlineCallbacks

    class Roomy(BaseScheduler):
        def gotChange(self, *args, **kwargs): pass
        @staticmethod
        def listing(): pass
        @inlineCallbacks
        def gotTimer(self, key, due=None):
            yield
        async def gotBuildsetComplete(self, finished, extra=None): pass
    """
    assert faults("plugins: [./roomy_one.py]\n" + scheduler("", "roomy_one.Roomy"), roomy_one=source) == []


def test_arguments_go_up_through_every_base_that_passes_them_on(faults):
    source = (
        COOLDOWN
        + """
    class Warmer(Cooldown):
        def __init__(self, name, builderNames, degrees, **kwargs):
            super().__init__(name, builderNames, **kwargs)

    class Closed(Cooldown):
        def __init__(self, name, builderNames):
            super().__init__(name, builderNames)
    """
    )
    plugins = "plugins: [./going_up.py]\n"
    assert faults(plugins + scheduler("degrees: 3, minutes: 4", "going_up.Warmer"), going_up=source) == []
    (fault,) = faults(plugins + scheduler("minutes: 4", "going_up.Warmer"))
    assert "the key 'degrees' is missing" in fault
    (fault,) = faults(plugins + scheduler("minutes: 4", "going_up.Closed"))
    assert "unknown key" in fault


def test_a_plugin_that_changed_since_it_was_imported_needs_a_restart(folder):
    text = "plugins: [./changing.py]\n" + scheduler("", "changing.Cooldown")
    write(folder, text, changing=COOLDOWN)
    catalogue = Catalogue()
    load = lambda: configuration.load(folder / "master.yaml", {})  # noqa: E731
    before = load()
    assert wanted(before, catalogue)[1] == [] and catalogue.restart_needed(before) == []
    assert wanted(load(), catalogue)[1] == [] and catalogue.restart_needed(load()) == []
    assert catalogue.as_imported(load()) == before
    write(folder, text, changing=COOLDOWN + "\n    # another")
    after = load()
    assert wanted(after, catalogue)[1] == [] and catalogue.restart_needed(after) == ["./changing.py"]
    assert after.digest != before.digest
    assert catalogue.as_imported(after) == before, "its digest says what runs, so that others are seen to differ"
    write(folder, text, changing=COOLDOWN)
    assert catalogue.restart_needed(load()) == []


def test_a_plugin_with_the_name_of_another_module_is_refused(faults):
    (fault,) = faults("plugins: [./json.py]\n" + scheduler("hour: 3"), json="x = 1")
    assert "a module named 'json' is imported already; rename the file" in fault


# -- the command


def checked(folder, capsys):
    capsys.readouterr()
    code = run(["check", "--config", str(folder / "master.yaml")])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_check_says_well_or_every_fault_with_its_place_and_exits_accordingly(folder, capsys):
    write(folder, scheduler("hour: 3"))
    code, out, err = checked(folder, capsys)
    assert code == 0 and "well: 1 schedulers, 1 builders" in out and not err
    write(folder, scheduler("hour: 25") + "  - { type: Nope, name: n, builderNames: [unit] }\n")
    code, out, err = checked(folder, capsys)
    lines = [line for line in (out + err).splitlines() if "master.yaml:" in line]
    assert code == 1 and len(lines) == 2 and ":4:" in lines[0] and ":5:" in lines[1]
    assert "Traceback" not in out + err


def test_check_survives_a_plugin_that_exits_and_starts_nothing(folder, capsys):
    write(folder, "plugins: [./leaving.py]\n" + scheduler("hour: 3"), leaving="raise SystemExit(0)")
    code, out, err = checked(folder, capsys)
    assert code == 1 and "SystemExit" in out + err
    assert not (folder / "locum.sqlite").exists()


def test_the_schema_knows_what_each_class_takes():
    found = configuring.schema()
    json.dumps(found)
    for section in ("schedulers", "change_sources"):
        entry = found["properties"][section]["anyOf"][0]["items"]
        for rule in entry["allOf"]:
            cls = configuring.STANDARD[rule["if"]["properties"]["type"]["const"]]
            names, required, _ = configuring.parameters(cls)
            assert set(rule["then"]["properties"]) == names | {"type"} and rule["then"]["description"]
            assert set(rule["then"]["required"]) == required | {"type"}
    known = {rule["if"]["properties"]["type"]["const"] for rule in entry["allOf"]}
    assert known == {"GitPoller"}


def test_what_schedulers_are_to_one_another_is_checked(faults):
    found = faults("""
        schedulers:
          - {type: Dependent, name: a, upstream: b, builderNames: [unit]}
          - {type: Dependent, name: b, upstream: a, builderNames: [unit]}
          - {type: Dependent, name: c, upstream: nobody, builderNames: [unit]}
        """)
    assert found == [
        "master.yaml:5:42: schedulers[0].upstream: these schedulers wait for one another: a -> b -> a; none would ever begin",
        "master.yaml:6:42: schedulers[1].upstream: these schedulers wait for one another: b -> a -> b; none would ever begin",
        "master.yaml:7:42: schedulers[2].upstream: there is no scheduler 'nobody'",
    ]


def test_trigger_steps_must_name_schedulers_that_can_be_triggered(faults, monkeypatch):
    monkeypatch.setitem(globals(), "HEAD", HEAD.replace("{ shell: [make] }", "{ trigger: [deply, p, '%(prop:x)s'] }"))
    found = faults("""
        schedulers:
          - {type: Triggerable, name: deploy, builderNames: [unit]}
          - {type: Periodic, name: p, periodicBuildTimer: 5, builderNames: [unit]}
        """)
    assert found == [
        "master.yaml:2:12: builder 'unit', step 0: there is no scheduler 'deply' to trigger; did you mean 'deploy'?",
        "master.yaml:2:12: builder 'unit', step 0: 'p' is a Periodic; only Triggerable and NightlyTriggerable can be"
        " triggered",
    ]


def test_of_two_schedulers_of_one_name_each_is_told_what_is_wrong_with_itself(folder, capsys):
    (folder / "master.yaml").write_text(
        HEAD
        + "schedulers:\n"
        + "  - {type: Periodic, name: a, periodicBuildTimer: -1, builderNames: [unit]}\n"
        + "  - {type: Nightly, name: a, hour: 25, builderNames: [unit]}\n"
    )
    assert run(["check", "--config", str(folder / "master.yaml")]) == 1
    said = capsys.readouterr().err
    assert re.search(r":4:\d+: schedulers\[0\].periodicBuildTimer: a duration cannot be negative", said)
    assert re.search(r":5:\d+: schedulers\[1\].hour: 25 is out of range", said)


def test_a_database_url_that_libpq_cannot_read_is_a_fault_at_its_place_without_the_password(folder, capsys):
    (folder / "master.yaml").write_text("database:\n  url: 'postgresql://u:50%hush@h/db'\n")
    assert run(["check", "--config", str(folder / "master.yaml")]) == 1
    said = capsys.readouterr().err
    assert ":2:8: database.url: the database's URL has a '%' that stands for itself; write '%' as %25" in said
    assert "hush" not in said


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ("branch: x, reason: {secret: {env: HOME}}", "SingleBranchScheduler", "reason: expected text, got ***"),
        ("periodicBuildTimer: 60, reason: yes", "Periodic", "reason: expected text, got True"),
        ("reason: [a]", "Triggerable", "reason: expected text, got ['a']"),
        ("upstream: u, reason: 0", "Dependent", "reason: expected text, got 0"),
        ("branch: x, categories: 0", "SingleBranchScheduler", "categories: expected a list of names, got 0"),
        ("branches: {a: b}", "AnyBranchScheduler", "branches: expected a list of names, got {'a': 'b'}"),
        ("hour: 3, timezone: 0", "Nightly", "timezone: expected a time zone such as Europe/Berlin, got 0"),
        ("hour: 3, timezone: ''", "Nightly", "timezone: expected a time zone such as Europe/Berlin, got ''"),
        ("codebases: {'': {branch: 1.5}}", "Triggerable", "codebases: '': branch: expected text, got 1.5"),
        (
            "codebases: {'': {repository: {secret: {env: HOME}}}}",
            "Triggerable",
            "codebases: '': repository: expected text, got ***",
        ),
    ],
)
def test_what_could_only_fail_when_it_is_used_is_found_by_the_check(faults, arguments, kind, said):
    (fault,) = faults(scheduler(arguments, kind))
    assert fault.endswith(said)
