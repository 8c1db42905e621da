"""What users read is true: commands exist, YAML passes ``locum check``, Python imports, tables are those of the code.

``LOCUM_WRITE_DOCS=1`` writes the generated tables (configuration, task states) into the docs instead of comparing them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from locum.config import (
    ClusterSection,
    DatabaseSection,
    LogSection,
    MasterSection,
    StepSection,
    TasksSection,
    format_duration,
)
from locum.config.builders import STEP_KINDS, BuilderSection
from locum.config.kinds import Choice, Duration, Flag, ListOf, MapOf, Size, Text, Whole, Zone
from locum.config.loader import SECTIONS
from locum.config.settings import Setting, settings_of
from locum.db.task_states import MOVES
from locum.master.commands.main import cli, run
from locum.master.configuring import STANDARD, parameters
from locum.schedulers import BaseScheduler
from locum.schedulers.base import Clustered
from locum.schedulers.hooks import HOOKS
from locum.schedulers.interface import MasterInterface
from locum.schedulers.testing import SchedulerHarness

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
WRITE = bool(os.environ.get("LOCUM_WRITE_DOCS"))
SET_UP = [
    "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/locum demo",
    "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/python -m pytest",
]
BUILDERS = "\nbuilders:\n  - {name: unit, steps: [{shell: [make]}]}\n  - {name: notify, steps: [{shell: [echo]}]}\n"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page; ``note`` is the comment on the line before it."""

    page: Path
    line: int
    language: str
    text: str
    note: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str, pages: list[Path] = PAGES) -> list[Block]:
    return [block for page in pages for block in _blocks_of(page) if block.language in languages]


def _blocks_of(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    start: int | None = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if start is None:
            start = number
            continue
        before = lines[start - 1] if start else ""
        note = before.removeprefix("<!-- ").removesuffix(" -->") if before.startswith("<!-- ") else ""
        yield Block(page, start + 1, lines[start][3:].strip(), "\n".join(lines[start + 1 : number]) + "\n", note)
        start = None
    assert start is None, f"{page}: a block is not closed"


def described(block: Block) -> str:
    return str(block)


# -- commands ---------------------------------------------------------------------------------------------------------


def parsed(words: list[str]) -> None:
    """Parse a command line against the tree of commands, carrying nothing out. click.UsageError if it is wrong."""
    context = click.Context(cli, info_name="locum")
    command: click.Command = cli
    arguments = words
    while isinstance(command, click.Group):
        context = command.make_context(command.name or "locum", list(arguments), parent=context.parent and context)
        rest = [*context._protected_args, *context.args]
        name, found, arguments = command.resolve_command(context, rest)
        assert found is not None
        command = found
        if not isinstance(command, click.Group):
            command.make_context(name, list(arguments), parent=context)


def locum_lines(block: Block) -> Iterator[list[str]]:
    for line in block.text.replace("\\\n", " ").splitlines():
        for part in re.split(r"\||&&|;", line.split(" #")[0]):
            part = part.strip().removesuffix("&").strip()
            if part.startswith(("locum ", "sudo -u locum locum ")):
                yield shlex.split(part[part.index("locum ") :].replace("sudo -u locum locum", "locum"))[1:]


@pytest.mark.parametrize("block", blocks("sh", "shell"), ids=described)
def test_every_command_in_a_block_can_be_parsed(block: Block) -> None:
    for words in locum_lines(block):
        parsed([word.split("<")[0] for word in words if word != "<"])


def options_of(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_in_the_text_exists_with_its_options(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for found in re.findall(r"`locum ([^`]+)`", text):
        words = re.sub(r"[\[\],]", " ", found).split()
        command: click.Command = cli
        options = options_of(cli) | {"--help", "-h"}
        for word in words:
            if isinstance(command, click.Group) and not word.startswith("-") and word.islower():
                assert word in command.commands, f"{page.name}: locum {found}"
                command = command.commands[word]
                options |= options_of(command)
            elif word.startswith("-") and len(word) > 1:
                assert word.split("=")[0] in options, f"{page.name}: locum {found}: no {word}"


def test_the_readme_lists_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text[text.index("## Commands") : text.index("Exit codes:")]
    for name, command in cli.commands.items():
        line = next((line for line in table.splitlines() if line.startswith(f"| `locum {name}")), None)
        assert line is not None, name
        if isinstance(command, click.Group):
            missing = [one for one in command.commands if f"`{one}" not in line and f" {one}" not in line]
            assert missing == [], f"{name}: {missing}"


def test_the_readme_has_exactly_the_two_set_up_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if "-m venv" in line] == SET_UP
    assert text.count("pip install") == len(SET_UP)


# -- YAML and Python --------------------------------------------------------------------------------------------------


def completed(text: str) -> str:
    """A part of a configuration, with builders if it names some and has none."""
    return text if "\nbuilders:" in f"\n{text}" or "builderNames" not in text else text + BUILDERS


@pytest.fixture
def check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[[str], tuple[int, str]]]:
    """Runs ``locum check`` on a text: its exit code, and what it said on standard error."""
    monkeypatch.chdir(tmp_path)
    for name in ("DEPLOY_TOKEN", "GIT_TOKEN"):
        monkeypatch.setenv(name, "t")
    monkeypatch.setenv("LOCUM_DATABASE_URL", "postgresql://locum:p@db.example.org/locum")
    before = set(sys.modules)

    def checked(text: str) -> tuple[int, str]:
        (tmp_path / "master.yaml").write_text(completed(text), encoding="utf-8")
        code = run(["--config", "master.yaml", "check"])
        return code, capsys.readouterr().err

    yield checked
    for name in set(sys.modules) - before:  # plugins of the same name must not be taken for each other
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize("block", blocks("yaml"), ids=described)
def test_every_yaml_block_passes_locum_check(
    block: Block, tmp_path: Path, check: Callable[[str], tuple[int, str]]
) -> None:
    for other in blocks("python", pages=[block.page]):
        first = other.text.splitlines()[0]
        if first.startswith("# ") and first.endswith(".py"):
            (tmp_path / first[2:]).write_text(other.text, encoding="utf-8")
    assert check(block.text) == (0, ""), str(block)


@pytest.mark.parametrize("block", blocks("python"), ids=described)
def test_every_python_block_can_be_imported(block: Block) -> None:
    exec(compile(block.text, str(block), "exec"), {"__name__": "example"})


def test_the_faults_that_the_docs_show_are_those_that_people_get(check: Callable[[str], tuple[int, str]]) -> None:
    (wrong,) = (b for b in blocks("yml", pages=[ROOT / "docs" / "configuration.md"]))
    (said,) = (b for b in blocks("text", pages=[wrong.page]) if b.note == "said")
    assert check(wrong.text) == (1, said.text)


# -- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_of_ours_that_a_page_names_exists(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for name in re.findall(r"`((?:config|db|schedulers|master|tests|docs|\.ci)/[\w./-]*)`", text):
        assert (ROOT / name).exists(), name


# -- tables that the code has -----------------------------------------------------------------------------------------

_SECTIONS: dict[str, type] = {
    "master": MasterSection,
    "database": DatabaseSection,
    "cluster": ClusterSection,
    "tasks": TasksSection,
    "log": LogSection,
    "builders": BuilderSection,
}


def value_of(kind: Any) -> str:
    """What a key may hold, in words."""
    null = ", or null" if getattr(kind, "null", False) else ""
    match kind:
        case Text():
            return kind.wanted + (" (may be a secret)" if kind.secret else "")
        case Choice():
            return " or ".join(f"`{word}`" for word in kind.words)
        case Flag():
            return "`true` or `false`"
        case Whole():
            return f"a whole number, {kind.least:,} to {kind.most:,}{null}"
        case Duration():
            most = "" if kind.most_s > 10**9 else f", at most {format_duration(kind.most_s)}"
            least = f", at least {format_duration(kind.least_s)}" if kind.least_s else ""
            return f"a duration{least}{most}{null}"
        case Size():
            return "a size such as `500kB` or `10MiB`"
        case Zone():
            return "an IANA time zone"
        case ListOf():
            inner = f": {value_of(kind.item)}" if isinstance(kind.item, Choice) else ""
            return kind.wanted + inner
        case MapOf():
            return "a mapping"
    return {"_Command": "a list of arguments, or one line of shell", "_Folder": "a folder below the work directory"}[
        type(kind).__name__
    ]


def default_of(one: Setting) -> str:
    if one.required:
        return "required"
    value = one.default
    if value is None or value in ((), "", {}):
        return "-"
    if isinstance(one.kind, Duration):
        return f"`{format_duration(value)}`"
    if isinstance(one.kind, Size):
        return f"`{value // 2**20}MiB`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`[{', '.join(value)}]`" if isinstance(value, tuple) else f"`{value}`"


def section_table(section: type, only: str = "") -> str:
    rows = [
        f"| `{one.name}` | {value_of(one.kind)} | {default_of(one)} | {one.doc} |"
        for one in settings_of(section, only).values()
    ]
    return "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows])


def moves_table() -> str:
    rows = [f"| {old or '-'} | {move} | {new} |" for (old, move), new in MOVES.items()]
    return "\n".join(["| from | move | to |", "|---|---|---|", *rows])


GENERATED: dict[str, tuple[str, Callable[[], str]]] = {
    **{name: ("configuration.md", lambda s=section: section_table(s)) for name, section in _SECTIONS.items()},
    **{f"{kind} step": ("configuration.md", lambda k=kind: section_table(StepSection, k)) for kind in STEP_KINDS},
    "moves": ("tasks.md", moves_table),
}


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_table_is_the_one_of_the_code(name: str) -> None:
    page, table = GENERATED[name]
    path = ROOT / "docs" / page
    text = path.read_text(encoding="utf-8")
    begin, end = f"<!-- table: {name} -->\n", "<!-- end -->"
    start = text.index(begin) + len(begin)
    stop = text.index(end, start)
    if WRITE:
        path.write_text(text[:start] + table() + "\n" + text[stop:], encoding="utf-8")
        return
    assert text[start:stop] == table() + "\n"


def test_the_configuration_page_has_every_section() -> None:
    headings = re.findall(r"^## `(\w+)`", (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8"), re.M)
    assert sorted(headings) == sorted(SECTIONS)
    assert {field.name for field in dataclasses.fields(StepSection)} - {"kind"} <= {
        key for kind in STEP_KINDS for key in settings_of(StepSection, kind)
    }


@pytest.mark.parametrize("name", STANDARD)
def test_every_argument_of_the_standard_classes_is_described(name: str) -> None:
    page = ROOT / "docs" / ("changes.md" if name == "GitPoller" else "schedulers.md")
    text = page.read_text(encoding="utf-8")
    assert f"`{name}`" in text
    names, _, _ = parameters(STANDARD[name])
    assert [argument for argument in sorted(names) if f"`{argument}`" not in text] == []


# -- the first cluster by hand ----------------------------------------------------------------------------------------

_WAIT_UNTIL_UP = """
for _ in $(seq 600); do [ "$(locum status 2>/dev/null | grep -c '^m[12]  *up ')" = 2 ] && break; sleep 0.1; done
"""


def test_the_readme_s_first_cluster_works_as_written(tmp_path: Path) -> None:
    """The very commands, in one shell. What runs in a person's terminal is waited for; nothing else is added."""
    walk = [block for block in blocks("sh", pages=[ROOT / "README.md"]) if block.note.startswith("walk: ")]
    assert [block.note for block in walk] == ["walk: 1", "walk: 2", "walk: 3"]
    script = tmp_path / "walk.sh"
    first, second, third = (block.text for block in walk)
    script.write_text(
        f"set -u\n{first}{_WAIT_UNTIL_UP}echo '== 2'\n{second}echo '== 3'\n{third}echo '== 4'\n"
        'kill %2; wait %2; echo "code $?"\n',
        encoding="utf-8",
    )
    folder = tmp_path / "empty"
    folder.mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell = subprocess.Popen(
        ["bash", str(script)],
        cwd=folder,
        env={"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = shell.communicate(timeout=240)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)  # the masters in its background too
        shell.wait()
    _, handed_over, killed, stopped = re.split(r"== \d\n", out)
    everything = out + err
    assert "change 1\n" in handed_over, everything
    assert re.search(r"^buildset \d+: success$", handed_over, re.M), everything
    newest = r"^(hello from minutely|revision abc123 of branch main)$"  # whichever scheduler's task began last
    assert re.search(newest, handed_over, re.M), everything
    assert re.search(r"^m1 +lost: its process ended", killed, re.M), everything
    assert re.search(r"^active on: +m2$", killed, re.M), everything
    assert stopped == "code 0\n", everything


# -- the tutorial for authors of schedulers ---------------------------------------------------------------------------

AUTHORS = ROOT / "docs" / "writing-schedulers.md"


@dataclass
class Reader:
    """Does what the tutorial says, in an empty folder. pip installs into ``site`` instead of the venv; what only Locum has
    to carry out is carried out in this process, as a start of one costs a second, until the package is installed."""

    folder: Path
    site: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def type(self, line: str) -> str:
        """What a command says; it must not fail."""
        words = shlex.split(line)
        if words[0] == "PYTHONPATH=.":
            self.monkeypatch.syspath_prepend(str(self.folder))
            del words[0]
        if words[0] == "locum" and not self.site.exists():
            code = run(words[1:])
            said = self.capsys.readouterr()
            assert code == 0, said.err
            return said.out
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, line + done.stdout + done.stderr
        return done.stdout

    def tests_pass(self) -> None:
        """What the reader has tested goes on working: after every step of the tutorial, as soon as there is a test."""
        if (self.folder / "test_nth_change.py").exists():
            assert "2 passed" in self.type("python -m pytest test_nth_change.py")

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder.parent),
            **{"PYTHONPATH": str(self.site), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_ADDOPTS": "-p no:cacheprovider"},
            **{"PIP_TARGET": str(self.site), "PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"},
            **{"PIP_NO_CACHE_DIR": "1", "PIP_NO_COMPILE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        }


def step_of(block: Block) -> int:
    """In which step of the tutorial it stands; one more than the last: behind it."""
    before = "\n".join(block.page.read_text(encoding="utf-8").splitlines()[: block.line])
    return len(re.findall(r"^### \d+\. |^## Examples$", before, re.M))


def test_the_tutorial_works_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    reader = Reader(folder, tmp_path / "site", monkeypatch, capsys)
    said: list[str] = []
    try:
        step = 0
        for block in blocks("python", "py", "yaml", "yml", "toml", "text", "sh", pages=[AUTHORS]):
            kind, _, what = block.note.partition(": ")
            if step != step_of(block):
                reader.tests_pass()
                step = step_of(block)
            if kind == "tutorial" and what == "run":
                said += [reader.type(line) for line in block.text.splitlines()]
            elif kind == "tutorial" and what == "said":
                assert block.text in said[-1], block
            elif kind == "tutorial":
                (folder / what).write_text(block.text, encoding="utf-8")
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] in ("nth_change", "acme_schedulers")]:
            del sys.modules[name]
    assert sum("2 passed" in one for one in said) == 2, "of the file, and of the module that it became"
    assert sum("Successfully installed acme-schedulers-1.0" in one for one in said) == 1
    assert sum(one == said[0] for one in said) == 3, "the check says the same of the file, the module and the package"
    assert not (folder / "locum.sqlite").exists()


def test_every_block_of_the_tutorial_has_its_place_in_it() -> None:
    text = AUTHORS.read_text(encoding="utf-8")
    tutorial = text[text.index("## Tutorial") : text.index("## Examples")]
    assert len(re.findall(r"^```\w+$", tutorial, re.M)) == tutorial.count("\n<!-- tutorial: ") == 17


def test_the_authors_page_names_all_that_a_scheduler_has_and_may_use() -> None:
    text = AUTHORS.read_text(encoding="utf-8")
    of_the_product = {"considering", "gotSchedule"}  # for simulations; of the calendar
    names = {name for name in vars(BaseScheduler) | vars(Clustered) if not name.startswith("_")} | set(HOOKS)
    assert [name for name in sorted(names - of_the_product) if not re.search(rf"`{name}\b", text)] == []
    offered = re.findall(r"`(\w+)\(", text[text.index("| of `self.master` |") : text.index("Arguments are read as")])
    assert len(offered) >= 9 and [name for name in offered if not callable(getattr(MasterInterface, name, None))] == []


def test_every_worked_example_is_in_the_table_of_the_authors_page() -> None:
    found = set(re.findall(r"\]\(examples/(\w+\.py)\)", AUTHORS.read_text(encoding="utf-8")))
    assert found == {path.name for path in (ROOT / "docs" / "examples").glob("*.py") if path.name[:5] != "test_"}


def test_the_watcher_of_the_authors_page_survives_errors_and_takeovers() -> None:
    (block,) = (b for b in blocks("python", pages=[AUTHORS]) if b.text.startswith("# watcher.py"))
    space: dict[str, Any] = {"__name__": "watcher"}
    exec(compile(block.text, str(block), "exec"), space)
    answers = ["one", "one", OSError("away"), "two"]

    def ask(self: object) -> str:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer

    space["Watcher"].ask = ask
    with SchedulerHarness(lambda: space["Watcher"]("watcher", ["unit"])) as harness:
        harness.advance("1m")
        assert [made.reason for made in harness.buildsets] == ["new: one"]
        with harness.expect_failure(OSError):  # it logs that
            harness.advance("1m")
        harness.advance("1m")
        harness.fail_over()
        harness.hand_over()
        assert [made.reason for made in harness.buildsets] == ["new: one", "new: two"]
