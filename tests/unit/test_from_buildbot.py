"""The table of who tests what: complete, and every test that it names is there."""

import importlib
import pkgutil
import re
from pathlib import Path

import locum
import pytest
from locum.master.configuring import STANDARD, parameters
from locum.schedulers import compat
from locum.schedulers.compat.absent import INSTEAD

ROOT = Path(locum.__file__).parent
PAGE = (ROOT / "docs" / "from-buildbot.md").read_text()
TABLE = PAGE.partition("## Which test covers what")[2].partition("| of schedulers |")[0]
CANCELLERS = ("OldBuildCanceller", "FailingBuildsetCanceller")
CLASSES = [name for name in STANDARD if name != "GitPoller"]


def covered():
    """{class: the parameters that a row says are tested}."""
    found = {name: set() for name in CLASSES}
    for row in re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$", TABLE, re.M):
        classes = [c for c in CLASSES if c not in CANCELLERS] if row[0].startswith("all") else row[0].split(", ")
        for name in classes:
            if name in found:
                found[name] |= set(re.findall(r"`(\w+)`", row[1]))
    return found


@pytest.mark.parametrize("name", CLASSES)
def test_every_parameter_of_every_class_has_a_test_in_the_table(name):
    assert covered()[name] == parameters(STANDARD[name])[0]


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
    assert [f"{file}::{test}" for file, test in named if f"def {test}(" not in files.get(file, "")] == []
