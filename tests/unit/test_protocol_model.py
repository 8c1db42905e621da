"""The protocol's models hold, and each known mistake breaks them: what docs/protocol/README.md says in its tables is run.

The tables are the list of runs. Those marked "by hand" take minutes: ``LOCUM_PROTOCOL=all`` runs them too. Without Spin
all is skipped, unless ``LOCUM_PROTOCOL`` is set (as ``.ci/run`` does): then it is a failure.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "protocol"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
WANTED = os.environ.get("LOCUM_PROTOCOL", "")
MISSING = [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]
NEVER_REACHED = {'"ok = 0"', '"-end-"'}
"""By the protocol as it is: a cause that is gone behind a fence that let the turn pass, and the end of what never ends."""


@dataclass(frozen=True, slots=True)
class Run:
    """A row of the page: a model with its flags, and what comes of it (a number of states, or what breaks)."""

    model: str
    flags: tuple[str, ...]
    answer: str
    by_hand: bool = False

    def __str__(self) -> str:
        return " ".join([self.model, *self.flags])


def _rows(heading: str) -> list[Run]:
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    cells = [
        [c.strip() for c in line.strip("|").split(" | ")] for line in section.splitlines() if line.startswith("| `")
    ]
    return [
        Run(c[0].strip("`"), tuple(re.findall(r"-D\w+(?:=\d+)?", c[1])), c[3].strip("` "), "by hand" in c[-1])
        for c in cells
    ]


RIGHT = _rows("What was checked")
WRONG = _rows("Mistakes that the models find")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the generated checker said."""

    said: str

    @property
    def states(self) -> int:
        return int(re.search(r"(\d+) states, stored", self.said)[1])  # type: ignore[index]

    @property
    def exhaustive(self) -> bool:
        return "errors: 0" in self.said and not re.search(r"too small|out of memory|Exceeded|truncated", self.said)


def checked(run: Run, folder: Path) -> Answer:
    """Go through all states of ``run``."""
    if MISSING:
        sentence = f"{' and '.join(MISSING)} missing: apt-get install spin gcc"
        if WANTED:
            pytest.fail(sentence)
        pytest.skip(sentence)
    safety = run.model == "lease.pml" or "-DNO_LIVENESS" in run.flags
    kind = ["-DSAFETY"] if safety else []
    shutil.copy(FOLDER / run.model, folder)
    for command in (
        ["spin", "-a", *run.flags, run.model],
        ["gcc", "-w", "-O1", "-DNOREDUCE", "-DMEMLIM=4000", *kind, "-o", "pan", "pan.c"],
    ):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    command = ["./pan", "-m4000000", "-w24", "-E" if safety else "-a"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=3000, check=False)
    return Answer(done.stdout + done.stderr)


@pytest.mark.parametrize("run", RIGHT, ids=str)
def test_the_protocol_keeps_its_promises_in_every_state(run: Run, tmp_path: Path) -> None:
    if run.by_hand and WANTED != "all":
        pytest.skip("takes minutes: LOCUM_PROTOCOL=all runs it")
    answer = checked(run, tmp_path)
    assert answer.exhaustive, answer.said
    assert f"{answer.states:,}" == run.answer, f"the page says {run.answer} states, there are {answer.states:,}"


@pytest.mark.parametrize("run", WRONG, ids=str)
def test_each_mistake_breaks_it_as_the_page_says(run: Run, tmp_path: Path) -> None:
    said = checked(run, tmp_path).said
    if run.answer == "nothing":
        assert "errors: 0" in said, said
        return
    assert "errors: 1" in said, said
    found = re.search(r"assertion violated (.*) \(at depth|(acceptance cycle)", said)
    assert found, said
    assert re.sub(r"[()]", "", found[1] or found[2]) == run.answer


def test_everything_that_the_model_can_do_is_done(tmp_path: Path) -> None:
    run = Run("turns.pml", ("-DN=2", "-DNO_LIVENESS"), "")
    unreached = re.findall(r"turns\.pml:\d+, state \d+, (\".*\")", checked(run, tmp_path).said)
    assert set(unreached) == NEVER_REACHED


def test_the_page_tells_of_every_flag_and_every_line_of_code_is_there() -> None:
    for model in ("turns.pml", "lease.pml"):
        text = (FOLDER / model).read_text(encoding="utf-8")
        flags = set(re.findall(r"#if(?:n?def| defined\() ?(\w+)|defined\((\w+)\)", text))
        for flag in {a or b for a, b in flags}:
            assert f"`-D{flag}" in PAGE or f" -D{flag}" in PAGE, f"{model}: {flag} is not on the page"
    root = FOLDER.parents[1]
    for path, name in re.findall(r"`((?:db|master)/\w+\.py)`, `(\w+)`", PAGE):
        assert re.search(
            rf"^\s*(?:async )?(?:def |class )?{name}\b", (root / path).read_text(encoding="utf-8"), re.MULTILINE
        ), f"{path} has no {name}"
