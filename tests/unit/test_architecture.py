"""The folders are the architecture: every import, every clock and every delayed call is where it may be."""

import ast
import re
import tomllib
from pathlib import Path

import locum

ROOT = Path(locum.__file__).parent
MAY_IMPORT = {
    "config": set(),
    "db": set(),
    "schedulers": {"config"},
    "master": {"config", "db", "schedulers"},
}
MAY_READ_CLOCKS = {
    "master/process_main.py",  # the entry point hands clocks to everything else
    "master/commands/opening.py",  # a command's own entry: what it waits for is the person at the terminal
    "master/tasks/guard.py",  # a process of its own
    "master/notify.py",  # systemd's protocol wants CLOCK_MONOTONIC of the very moment
}
CLOCKS = re.compile(
    r"\btime\.(time|time_ns|monotonic|monotonic_ns|perf_counter|perf_counter_ns|clock_gettime|clock_gettime_ns|localtime"
    r"|gmtime)\(|\b(datetime|date)\.(now|utcnow|today)\("
)
MAY_CALL_LATER = {
    "master/loop.py",  # the one repeated step
    "master/alarms.py",  # the one alarm
    "master/committer.py",  # the next group
    "master/membership.py",  # the lapse of the lease
    "master/tenure.py",  # time-outs and retries of turns
    "master/activation.py",  # second looks and bounded waits
    "master/incarnation.py",  # pause()
    "master/rehearsal.py",  # the reactor of a master that is only rehearsed
    "schedulers/testing/threads.py",  # the same for schedulers' code
    "master/tasks/output.py",
    "master/tasks/runner.py",
    "master/tasks/running.py",
    "master/tasks/command.py",
}
SQL = re.compile(
    r"^\s*(SELECT\s.+\sFROM\s|INSERT INTO\s|UPDATE\s+\w+\s+SET\s|DELETE FROM\s|CREATE TABLE\s|ALTER TABLE\s|PRAGMA\s)",
    re.DOTALL,
)


def product_files():
    for path in sorted(ROOT.rglob("*.py")):
        relative = path.relative_to(ROOT)
        if relative.parts[0] not in ("tests", "build", "docs") and not any(p.startswith(".") for p in relative.parts):
            yield relative


FILES = list(product_files())
TREES = {file: ast.parse((ROOT / file).read_text()) for file in FILES}


def each_file(test):
    """One test of all files, which names every file that fails it: a thousand tests would take longer than they tell."""

    def of_all():
        failed = []
        for file in FILES:
            try:
                test(file)
            except AssertionError as error:
                failed.append(f"{file}: {str(error).splitlines()[0] if str(error) else 'does not hold'}")
        assert not failed, "\n".join(failed)

    of_all.__name__, of_all.__doc__ = test.__name__, test.__doc__
    return of_all


def imported(file):
    """The rooms of ours, and the other modules, that a file imports wherever in it."""
    package = ["locum", *file.parts[:-1]]
    for node in ast.walk(TREES[file]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def room(module):
    parts = module.split(".")
    return parts[1] if parts[0] == "locum" and len(parts) > 1 and parts[1] in MAY_IMPORT else None


def test_there_is_something_to_read():
    assert len(FILES) > 60 and {f.parts[0] for f in FILES if len(f.parts) > 1} >= set(MAY_IMPORT)


@each_file
def test_imports_point_one_way(file):
    here = file.parts[0] if len(file.parts) > 1 else None
    if here not in MAY_IMPORT or file.parts[:2] == ("schedulers", "testing"):
        return  # the package itself; and the testing harness, a room of its own
    rooms = {room(module) for module in imported(file)} - {None, here}
    assert rooms <= MAY_IMPORT[here], f"{file} imports {sorted(rooms - MAY_IMPORT[here])}"


@each_file
def test_nothing_of_ours_imports_the_tests(file):
    assert not [m for m in imported(file) if m.startswith("locum.tests")]


@each_file
def test_only_the_entry_point_has_the_real_reactor(file):
    taken = [m for m in imported(file) if m.startswith("twisted.internet.reactor")]
    assert not taken or file.as_posix() == "master/process_main.py"


def code(file):
    """The source without texts and comments, so that a word in a message is no fault."""
    return ast.unparse(_WithoutTexts().visit(ast.parse((ROOT / file).read_text())))


class _WithoutTexts(ast.NodeTransformer):
    def visit_Constant(self, node):
        return ast.copy_location(ast.Constant(""), node) if isinstance(node.value, str) else node

    def visit_JoinedStr(self, node):
        return ast.copy_location(ast.Constant(""), node)


@each_file
def test_no_module_reads_a_clock_that_was_not_handed_in(file):
    if file.as_posix() in MAY_READ_CLOCKS or file.parts[:2] == ("master", "demo"):
        return  # the demo is a program that plays with real masters
    found = CLOCKS.search(code(file))
    assert not found, f"{file}: {found and found.group()}"


@each_file
def test_nothing_repeats_but_the_loop_and_nothing_else_calls_later(file):
    text = code(file)
    assert "LoopingCall" not in text and "TimerService" not in text and "deferLater" not in text
    if file.as_posix() not in MAY_CALL_LATER:
        assert "callLater(" not in text


def test_the_lists_of_exceptions_name_files_that_need_them():
    for name in MAY_CALL_LATER:
        assert "callLater" in (ROOT / name).read_text(), name
    for name in MAY_READ_CLOCKS:
        assert CLOCKS.search((ROOT / name).read_text()), name


@each_file
def test_sql_stands_in_the_db_folder_only(file):
    if file.parts[0] == "db":
        return
    texts = [n.value for n in ast.walk(TREES[file]) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    assert not [t for t in texts if SQL.search(t)]
    assert not [m for m in imported(file) if m.split(".")[0] in ("sqlite3", "psycopg2", "alembic")]


@each_file
def test_every_module_says_what_it_is_for(file):
    docstring = ast.get_docstring(TREES[file])
    assert docstring or (file.name == "__init__.py" and not TREES[file].body), file
    if docstring:
        assert docstring.splitlines()[0].rstrip()[-1] in ".:,;?!" or len(docstring.splitlines()[0]) > 80


def test_no_module_is_named_for_nothing():
    ours = [file for file in FILES if file.parts[:2] != ("schedulers", "compat")]  # there the names are Buildbot's
    names = {part.removesuffix(".py") for file in ours for part in file.parts}
    assert not names & {"utils", "util", "common", "helpers", "helper", "manager", "managers", "misc"}


def test_modules_are_of_a_size_that_one_can_read():
    long = {str(f): n for f in FILES if (n := len((ROOT / f).read_text().splitlines())) > 720}
    assert not long


def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_in_the_wheel():
    folders = {f.parent for f in FILES if f.name == "__init__.py"}
    packages = {".".join(("locum", *folder.parts)) for folder in folders}
    assert packages == set(pyproject()["tool"]["setuptools"]["packages"])
    assert {f.parent for f in FILES} == folders, "a folder with modules, but without an __init__.py"


def test_the_version_is_said_once():
    assert pyproject()["project"]["version"] == locum.__version__


def test_what_is_public_is_there():
    for name in locum.__all__:
        assert getattr(locum, name) is not None


def test_every_dependency_that_is_imported_is_declared():
    declared = {re.split(r"[\[<>=!~ ]", d)[0].lower().replace("-", "_") for d in pyproject()["project"]["dependencies"]}
    called = {"yaml": "pyyaml", "psycopg2": "psycopg2_binary", "zope": "twisted"}
    import sys

    used = {m.split(".")[0] for f in FILES for m in imported(f)} - set(sys.stdlib_module_names) - {"locum", ""}
    assert {called.get(m, m) for m in used} <= declared
