"""The worked examples in docs/examples: each is whole, is loaded by ``locum check``, and has tests of what must be survived."""

from __future__ import annotations

import ast
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from locum.master.commands.main import run
from locum.schedulers import (
    BaseScheduler,
    ChangeFilter,
    NotActive,
    SchedulerFault,
    StampFields,
    duration_argument,
    filter_argument,
    to_datetime,
)
from locum.schedulers.testing import SchedulerHarness
from twisted.internet.threads import deferToThread

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(p for p in (ROOT / "docs" / "examples").glob("*.py") if not p.name.startswith("test_"))
BUILDERS = ["compile", "devices", "gpu-tests", "integration", "lint", "notify", "package", "unit"]

WRONG = {
    "batches": ("most", "most: 5", "most: 0"),
    "bisecting": ("upstream", "upstream: quick", "upstream: quack"),
    "chain": ("needs", "unit: [compile]", "unit: [package]"),
    "cool_down": ("pause", "pause: 20m", "pause: -1"),
    "external_tryjobs": ("url", "url: https:", "url: ftp:"),
    "merge_requests": ("labels", "labels:", "labels: []\n    properties:"),
}


def named(path: Path) -> str:
    return path.stem


def yaml_of(path: Path) -> str:
    """The entry in the example's docstring, made a whole file by builders."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    entry = textwrap.dedent(docstring[docstring.index("    plugins:") :]) + "\n"
    return entry + "builders:\n" + "".join(f"  - {{name: {name}, steps: [{{shell: [make]}}]}}\n" for name in BUILDERS)


@pytest.fixture
def in_its_folder(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, Path]]:
    """(the example, a folder with a copy of it and its master.yaml); what is imported there is forgotten afterwards."""
    example: Path = request.param
    (tmp_path / example.name).write_bytes(example.read_bytes())
    (tmp_path / "master.yaml").write_text(yaml_of(example), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REVIEW_TOKEN", "t")
    monkeypatch.delitem(sys.modules, example.stem, raising=False)
    yield example, tmp_path
    sys.modules.pop(example.stem, None)


def test_there_are_six_and_each_has_its_tests() -> None:
    assert len(EXAMPLES) == 6
    assert {f"test_{path.name}" for path in EXAMPLES} == {p.name for p in EXAMPLES[0].parent.glob("test_*.py")}


@pytest.mark.parametrize("in_its_folder", EXAMPLES, ids=named, indirect=True)
def test_it_is_loaded_by_the_check_with_the_entry_that_it_shows(
    in_its_folder: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--config", "master.yaml", "check"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("in_its_folder", EXAMPLES, ids=named, indirect=True)
def test_an_argument_that_makes_no_sense_is_told_at_its_key(
    in_its_folder: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    example, folder = in_its_folder
    key, right, wrong = WRONG[example.stem]
    text = (folder / "master.yaml").read_text()
    assert right in text
    (folder / "master.yaml").write_text(text.replace(right, wrong))
    assert run(["--config", "master.yaml", "check"]) == 1
    assert f".{key}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "in_its_folder", [path for path in EXAMPLES if "locum change add" in path.read_text()], ids=named, indirect=True
)
def test_the_change_that_it_shows_can_be_handed_over(
    in_its_folder: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    example, _ = in_its_folder
    (line,) = re.findall(r"^    locum (change add .*)", example.read_text(encoding="utf-8"), re.M)
    database = ["--database", "sqlite:///locum.sqlite"]
    assert run([*database, "db", "upgrade"]) == 0
    assert run([*database, *shlex.split(line)]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("path", EXAMPLES, ids=named)
def test_its_tests_have_a_takeover_a_failed_commit_and_a_reconfiguration(path: Path) -> None:
    text = path.with_name(f"test_{path.name}").read_text(encoding="utf-8")
    tests = re.findall(r"^def (test_\w+)", text, re.M)
    for what, called in {
        "takeover": r"\.(take_over|fail_over)\(",
        "failed_commit": r"fail_next_commit.*lose_next_answer",
        "reconfiguration": r"\.reconfigure\(",
    }.items():
        assert any(what in test for test in tests), what
        assert re.search(called, text), called


@pytest.mark.parametrize("path", EXAMPLES, ids=named)
def test_it_is_short_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 170
    (cls,) = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef))
    assert ast.get_docstring(cls)
    assert f"type: {path.stem}.{cls.name}" in yaml_of(path)


# -- what they need of the API ----------------------------------------------------------------------------------------


class Seeing(BaseScheduler):
    """What it sees of its timer, and what another buildset builds, built again."""

    async def startActivity(self) -> None:
        self.seen = [self.timerDue("a")]
        await self.setTimer("a", to_datetime(1_767_225_660_000_000))
        self.seen.append(self.timerDue("a"))

    async def gotTimer(self, key: str, due: object) -> None:
        self.seen.append(self.timerDue("a"))
        stamps = await self.master.stamps_of((await self.addBuildsetForSourceStamps(sourcestamps=[{"branch": "b"}]))[0])
        assert stamps == []  # it is not committed yet
        await self.addBuildsetForSourceStamps(
            sourcestamps=[StampFields(branch="c", revision="r", patch_json='{"a": 1}')]
        )


def test_a_timer_is_seen_as_the_turn_sees_it_and_stamps_can_be_handed_on() -> None:
    with SchedulerHarness(lambda: Seeing("seeing", ["unit"])) as harness:
        harness.advance("1m")
        assert harness.scheduler.seen == [None, harness.now, harness.now]
        assert harness.scheduler.timerDue("a") is None
        (stamp,) = harness.buildsets[1].sourcestamps
        assert (stamp.branch, stamp.revision, stamp.patch_json) == ("c", "r", '{"a": 1}')


class Hooked(BaseScheduler):
    """Hooks that one may define, and effects where there may be none."""

    refused: ClassVar[list[type[Exception]]] = []

    async def activate(self) -> None:
        await super().activate()
        await self.master.consume_failed_tasks(lambda failed: failed.builder == "lint")

    async def deactivate(self) -> None:
        await self._try()
        await super().deactivate()

    async def trigger(self, waited_for: bool, **given: Any) -> Any:
        return await self.addBuildsetForSourceStampsWithDefaults("triggered", given["sourcestamps"])

    async def runNow(self) -> Mapping[str, Any]:
        with pytest.raises(SchedulerFault, match="another thread"):
            await deferToThread(self.getState, "asked", 0)
        await self.setState("asked", await self.getState("asked", 0) + 1)
        return {"error": "not today"}

    async def gotTaskFailed(self, failed: Any) -> None:
        tasks = await self.master.unfinished_tasks_of(failed.buildset_id)
        await self.master.cancel_tasks([task.id for task in tasks], "lint failed")

    async def _try(self) -> None:
        try:
            await self.setState("asked", 99)
        except NotActive:
            self.refused.append(NotActive)


def test_hooks_that_one_may_define_are_called_in_turns_and_nothing_is_done_where_there_is_none() -> None:
    with SchedulerHarness(lambda: Hooked("hooked", ["lint", "unit"])) as harness:
        made = harness.trigger(sourcestamps=[{"revision": "r"}]).buildset
        assert made is not None and made.revision == "r"
        harness.finish(made, "failure", builder="lint")
        assert [task.result for task in harness.buildset(made.id).tasks] == ["failure", "cancelled"]
        assert harness.run_now().error == "not today"
        harness.hand_over()
        assert harness.state == {"asked": 1} and Hooked.refused == [NotActive]


def test_arguments_are_read_as_the_standard_schedulers_read_them() -> None:
    assert duration_argument("wait", "5m") == 300.0 and duration_argument("wait", None) is None
    with pytest.raises(ValueError, match="wait: expected a positive duration"):
        duration_argument("wait", 0)
    assert filter_argument({"branch": "main"}) == ChangeFilter(branch="main") and filter_argument(None) is None
    with pytest.raises(ValueError, match=r"change_filter: .*brunch"):
        filter_argument({"brunch": "main"})
