"""The table of who tests what: complete, and every test that it names is there."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import locum
import pytest
from locum.config.builders import StepSection
from locum.config.settings import settings_of
from locum.master.configuring import STANDARD, parameters
from locum.schedulers import NightlyTriggerable, Triggerable, compat, recurrence
from locum.schedulers.compat.absent import INSTEAD
from locum.schedulers.filters import _STAMP_TEXTS as STAMP_CONDITIONS
from locum.schedulers.filters import Conditions
from locum.schedulers.parameters import KINDS, BaseParameter

ROOT = Path(locum.__file__).parent
PAGE = (ROOT / "docs" / "from-buildbot.md").read_text()
COVERED = PAGE.partition("## Which test covers what")[2]
CANCELLERS = ("OldBuildCanceller", "FailingBuildsetCanceller")
CLASSES = [name for name in STANDARD if name != "GitPoller"]
FIELDS = {cls.__name__: cls for cls in KINDS.values()}
RECURRENCES = {
    name: cls for name, cls in vars(recurrence).items() if name in recurrence.__all__ and name[:8] == "Schedule"
}
OF_NO_USE = {"workdir"}
"""Keys that every kind of step takes, and that a ``trigger`` step makes nothing of."""


def rows(heading):
    """(who, what) of each row below a heading: the names in the first column, and those in the second."""
    table = COVERED.partition(f"### {heading}\n")[2].partition("### ")[0]
    found = re.findall(r"^\| ([^|]+) \| ([^|]+) \| (?:`test_\w+::test_\w+`(?:, )?)+ \|$", table, re.M)
    return [(who.replace("`", "").split(", "), set(re.findall(r"`(\w+)`", what))) for who, what in found]


def covered(heading, *names):
    """What the rows of any of those names say is tested."""
    return {one for who, what in rows(heading) if set(who) & set(names) for one in what}


def arguments(function):
    """The names of what a function takes, without ``self`` and ``**kwargs``."""
    found = list(inspect.signature(function).parameters.values())[1:]
    return {one.name for one in found if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)}


@pytest.mark.parametrize("name", CLASSES)
def test_every_parameter_of_every_class_has_a_test_in_the_table(name):
    everybody = () if name in CANCELLERS else ("all but the cancellers",)
    assert covered("Schedulers", name, *everybody) == parameters(STANDARD[name])[0]


@pytest.mark.parametrize("name", FIELDS)
def test_every_option_of_every_kind_of_field_has_a_test_in_the_table(name):
    own = FIELDS[name].__dict__.get("__init__")
    assert covered("Fields of a form", name), "it has a row of its own"
    assert covered("Fields of a form", "every field") == arguments(BaseParameter.__init__)
    if own is not None:
        assert covered("Fields of a form", name) == arguments(own)


def test_every_condition_of_the_filters_has_a_test_in_the_table():
    assert covered("Filters", "ChangeFilter") == {"filter_fn", *Conditions.__annotations__}
    assert covered("Filters", "SourceStampFilter") == set(STAMP_CONDITIONS)


@pytest.mark.parametrize("cls", [Triggerable, NightlyTriggerable])
def test_every_argument_of_a_trigger_has_a_test_in_the_table(cls):
    assert covered("Triggers", f"{cls.__name__}.trigger") == arguments(cls.trigger)


def test_every_key_of_the_trigger_step_has_a_test_in_the_table():
    assert covered("Triggers", "trigger step") == set(settings_of(StepSection, "trigger")) - OF_NO_USE


@pytest.mark.parametrize("name", RECURRENCES)
def test_every_argument_of_every_recurrence_has_a_test_in_the_table(name):
    assert covered("Recurrences", name) == arguments(RECURRENCES[name].__init__)


def test_the_recurrences_are_those_that_can_be_stored():
    assert set(RECURRENCES.values()) == set(recurrence.KINDS.values())


@pytest.mark.parametrize(
    ("heading", "known"),
    [
        ("Schedulers", {*CLASSES, "all but the cancellers"}),
        ("Fields of a form", {*FIELDS, "every field"}),
        ("Filters", {"ChangeFilter", "SourceStampFilter"}),
        ("Triggers", {"Triggerable.trigger", "NightlyTriggerable.trigger", "trigger step"}),
        ("Recurrences", set(RECURRENCES)),
    ],
)
def test_every_row_is_of_something_that_is_there_and_names_a_test(heading, known):
    found = rows(heading)
    assert {one for who, _ in found for one in who} == known
    lines = COVERED.partition(f"### {heading}\n")[2].partition("### ")[0].strip().splitlines()
    assert len(found) == len(lines) - 2, "each line below the head is a row"


def test_every_name_of_every_module_for_code_written_for_buildbot_is_listed():
    listed = {
        row[0]: set(re.findall(r"`(\w+)`", row[1]))
        for row in re.findall(r"^\| `([\w.]+)` \| ([^|]+) \| [^|]* \|$", PAGE.partition("### What is there")[2], re.M)
        if "." not in row[1]
    }
    offered = {}
    for found in pkgutil.walk_packages(compat.__path__, f"{compat.__name__}."):
        names = getattr(importlib.import_module(found.name), "__all__", None)
        if names:
            offered[found.name.removeprefix(f"{compat.__name__}.")] = set(names)
    assert {name: listed.get(name) for name in offered} == offered


def test_what_is_not_there_is_listed_with_what_to_use_instead():
    listed = re.findall(
        r"^\| (`[^|]+`) \| ([^|]+) \|$", PAGE.partition("| not there |")[2].partition("So does")[0], re.M
    )
    found = {name: why for names, why in listed for name in re.findall(r"`([\w.]+)`", names)}
    assert found == INSTEAD


def test_each_of_the_peer_s_defects_has_its_row_and_its_test():
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| [^|]+ \| `test_defects::test_(\d\d)_\w+` \|$", PAGE, re.M)
    assert [(int(number), int(named)) for number, named in rows] == [(n, n) for n in range(1, 22)]


def test_every_test_that_the_page_names_is_there():
    named = re.findall(r"`(test_\w+)::(test_\w+)`", PAGE)
    assert len(named) > 50
    files = {path.stem: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    there = {
        (stem, test) for stem, text in files.items() for test in re.findall(r"^(?:async )?def (test_\w+)\(", text, re.M)
    }
    assert [f"{file}::{test}" for file, test in named if (file, test) not in there] == []
