"""The table of who tests what: complete, and every test that it names is there."""

import re
from pathlib import Path

import locum
import pytest
from locum.master.configuring import STANDARD, parameters

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


def test_every_test_that_the_page_names_is_there():
    named = re.findall(r"`(test_\w+)::(test_\w+)`", PAGE)
    assert len(named) > 50
    files = {path.stem: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    assert [f"{file}::{test}" for file, test in named if f"def {test}(" not in files.get(file, "")] == []
