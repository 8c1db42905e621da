"""The git step against real repositories."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from locum.config.secret import Secret
from locum.db.effects import Stamp
from locum.db.task_views import ShownTask
from locum.tests.support import reactors
from locum.tests.support.cluster_rows import execute
from locum.tests.support.task_bench import Bench, git, log_of, section, shell

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Repository:
    """A real repository, and commits in it."""

    def __init__(self, folder) -> None:
        self.folder = folder
        folder.mkdir()
        self("init", "-q", "-b", "main")
        self.commit("first")

    def __call__(self, *arguments: str) -> str:
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        done = subprocess.run(["git", *who, *arguments], cwd=self.folder, env=env, check=True, capture_output=True)
        return done.stdout.decode().strip()

    def commit(self, text: str, name: str = "file") -> str:
        (self.folder / name).write_text(text + "\n")
        self("add", ".")
        self("commit", "-q", "-m", text)
        return self("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "repository")


@pytest.fixture
def build(db, tmp_path):
    """Runs one task for each of some sourcestamps, one after another on one runner; each as it is at rest."""

    def run(*stamps, steps=None, between=lambda n: None, **keys) -> list[ShownTask]:
        async def go(surroundings):
            unit = section("unit", *(steps or (git(), shell("cat file"))), **keys)
            made = Bench(db, surroundings, tmp_path / "work", unit)
            ended = []
            try:
                for number, stamp in enumerate(stamps):
                    between(number)
                    ended += await made.ended(*made.submit(stamps=[stamp] if stamp else []))
                return ended
            finally:
                await made.runner.kill()

        return reactors.run(go, 60)

    return run


def stamp(repository, branch=None, revision=None):
    return Stamp.of("", str(getattr(repository, "folder", repository)), branch, revision)


def checked(db, task):
    assert task.task.result == "success", log_of(db, task.task.id)
    return log_of(db, task.task.id, step=1), task.properties["got_revision"]


def why(task):
    assert (task.task.state, task.task.result) == ("failed", "failure")
    assert len(task.steps) == 1
    return task.steps[0].why


def test_revisions_branches_and_the_default_branch_are_checked_out(db, repository, build, tmp_path):
    first = repository("rev-parse", "HEAD")
    second = repository.commit("second")
    repository("checkout", "-q", "-b", "feature/x")
    third = repository.commit("third")
    repository("checkout", "-q", "main")
    repository("tag", "v1", first)
    later = []

    def between(number):
        if number == 5:
            later.append(repository.commit("fourth"))

    tasks = build(
        stamp(repository, "main", second),
        stamp(repository, "main", first),
        stamp(repository, "feature/x"),
        stamp(repository),
        stamp(repository, None, "v1"),
        stamp(repository, "main"),
        stamp(f"file://{repository.folder}", "feature/x", third[:12]),
        between=between,
    )
    assert [checked(db, t) for t in tasks] == [
        ("second\n", second),
        ("first\n", first),
        ("third\n", third),
        ("second\n", second),
        ("first\n", first),
        ("fourth\n", later[0]),
        ("third\n", third),
    ]
    assert [p.name for p in (tmp_path / "work" / "unit").iterdir()] == ["0"]


def test_a_revision_that_a_forced_push_took_away_and_one_that_never_was(db, repository, build):
    gone = repository.commit("gone")
    repository("reset", "-q", "--hard", "HEAD~1")
    kept = repository.commit("kept instead")
    tasks = build(stamp(repository, "main", gone), stamp(repository, "main", kept), stamp(repository, "main", "f" * 40))
    assert checked(db, tasks[0]) == ("gone\n", gone)
    assert checked(db, tasks[1]) == ("kept instead\n", kept)
    assert why(tasks[2]) == f"'{'f' * 40}' is not in {repository.folder}"


def test_a_branch_that_was_forced_is_followed(db, repository, build):
    repository.commit("old")
    moved = []

    def between(number):
        if number == 1:
            repository("reset", "-q", "--hard", "HEAD~1")
            moved.append(repository.commit("new"))

    tasks = build(stamp(repository, "main"), stamp(repository, "main"), between=between)
    assert checked(db, tasks[1]) == ("new\n", moved[0])


def test_files_that_are_not_in_the_repository_are_removed_unless_told_otherwise(db, repository, build):
    (repository.folder / ".gitignore").write_text("ignored\n")
    repository.commit("with ignored")
    look = "ls; echo x > left; echo x > ignored; mkdir -p sub; git init -q sub; echo y > file"
    tasks = build(stamp(repository), stamp(repository), steps=(git(), shell(look)))
    assert checked(db, tasks[1])[0] == "file\n"
    tasks = execute(db, "SELECT count(*) FROM tasks WHERE result = 'success'")
    assert tasks[0][0] == 2


def test_what_is_kept_stays(db, repository, build):
    look = "ls; echo x > left"
    tasks = build(stamp(repository), stamp(repository), steps=(git(clean=False), shell(look)))
    assert checked(db, tasks[1])[0] == "file\nleft\n"


@pytest.mark.parametrize(
    "damage",
    [
        "echo > .git/index.lock",
        "mkdir -p .git/refs/locum; echo > .git/refs/locum/wanted.lock",
        "echo rubbish > .git/HEAD",
        "echo rubbish > .git/config",
        "echo rubbish > .git/index",
        "rm -rf .git/objects; mkdir .git/objects",
        "rm -rf .git/refs .git/packed-refs",
        "rm .git/HEAD",
        "rm -rf .git; echo rubbish > .git",
        "find .git/objects -type f | while read f; do chmod u+w $f; echo x > $f; done",
    ],
)
@pytest.mark.parametrize("wanted", ["", "revision"])
def test_a_damaged_work_directory_heals(db, repository, build, tmp_path, damage, wanted):
    revision = repository.commit("second")

    def between(number):
        if number:
            subprocess.run(["sh", "-c", damage], cwd=tmp_path / "work" / "unit" / "0", check=True)

    tasks = build(stamp(repository, "main"), stamp(repository, "main", wanted and revision), between=between)
    assert [checked(db, task) for task in tasks] == [("second\n", revision)] * 2


def test_a_remote_that_is_away_does_not_cost_the_work_directory(db, repository, build, tmp_path):
    hidden = tmp_path / "hidden"

    def between(number):
        if number == 1:
            repository.folder.rename(hidden)
            (tmp_path / "work" / "unit" / "0" / ".git" / "kept").touch()
        elif number == 2:
            hidden.rename(repository.folder)

    tasks = build(stamp(repository), stamp(repository), stamp(repository), between=between)
    assert why(tasks[1]) == f"git fetch ({repository.folder}) failed: exit code 128"
    checked(db, tasks[2])
    assert (tmp_path / "work" / "unit" / "0" / ".git" / "kept").exists()


def test_a_task_without_a_sourcestamp_fails_clearly(build):
    (task,) = build(None)
    assert why(task) == (
        "the task has no sourcestamp with a repository; submit it with one, or set 'repository' in the git step"
    )


def test_a_step_may_name_its_own_repository_branch_and_folder(db, repository, build):
    repository("checkout", "-q", "-b", "other")
    revision = repository.commit("other")
    steps = (git(repository=str(repository.folder), branch="other", workdir="a/b"), shell("cat file", workdir="a/b"))
    (task,) = build(None, steps=steps)
    assert checked(db, task) == ("other\n", revision)


def test_a_shallow_checkout(db, repository, build):
    old = repository("rev-parse", "HEAD")
    for n in range(3):
        new = repository.commit(f"n{n}")
    url = f"file://{repository.folder}"
    count = shell("git rev-list --count HEAD")
    tasks = build(stamp(url, "main"), stamp(url, "main", new), stamp(url, "main", old), steps=(git(depth=1), count))
    assert checked(db, tasks[0]) == ("1\n", new)
    assert checked(db, tasks[1]) == ("1\n", new)
    assert checked(db, tasks[2]) == ("1\n", old)


@pytest.mark.parametrize(
    "url, branch, revision",
    [
        ("-uPWNED", None, None),
        ("--upload-pack=touch PWNED", None, None),
        ("ext::sh -c touch% PWNED", None, None),
        ("ext::sh -c 'touch PWNED'", "main", "f" * 40),
        ("fd::17", None, None),
        ("REPO", "--upload-pack=touch PWNED", None),
        ("REPO", "-f", None),
        ("REPO", "main:refs/heads/evil", None),
        ("REPO", "a b\nc", None),
        ("REPO", "main", "--help"),
        ("REPO", "main", "HEAD^{/first}"),
        ("REPO", "main", "@{-1}"),
        ("ssh://-oProxyCommand=touch%20PWNED/x", None, None),
    ],
)
def test_names_and_urls_cannot_become_options_commands_or_transports(
    db, repository, build, tmp_path, url, branch, revision
):
    (task,) = build(stamp(url.replace("REPO", str(repository.folder)), branch, revision))
    assert task.task.result == "failure"
    assert not [p for p in tmp_path.rglob("*") if "PWNED" in p.name]


def test_hooks_of_the_work_directory_do_not_run(db, repository, build, tmp_path):
    hook = (
        f"printf '#!/bin/sh\\ntouch {tmp_path}/PWNED\\n' > .git/hooks/post-checkout; chmod +x .git/hooks/post-checkout"
    )
    tasks = build(stamp(repository), stamp(repository), steps=(git(), shell("mkdir -p .git/hooks; " + hook)))
    assert [t.task.result for t in tasks] == ["success", "success"]
    assert not (tmp_path / "PWNED").exists()


def test_a_password_in_a_url_reaches_the_server_and_no_process_s_arguments(db, build):
    asked, arguments = [], []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    arguments.append(process.read_bytes())
            asked.append(self.headers.get("Authorization"))
            self.send_response(404 if asked[-1] else 401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        build(stamp(f"http://user:hunter2%40x@127.0.0.1:{server.server_port}/app.git", "main"))
        server.shutdown()
    assert "Basic " + b64encode(b"user:hunter2@x").decode() in asked
    assert any(b"remote-http" in one for one in arguments)
    assert not any(b"hunter2" in one for one in arguments)


@pytest.mark.parametrize("where", ["stamp", "step"])
def test_a_password_in_a_url_is_seen_nowhere(db, build, tmp_path, where):
    url = "http://user:hunter2%40x@127.0.0.1:1/app.git"
    if where == "stamp":
        (task,) = build(stamp(url, "main"))
    else:
        (task,) = build(None, steps=(git(repository=Secret(url)),))
    assert why(task) == "git fetch (http://user:***@127.0.0.1:1/app.git) failed: exit code 128"
    seen = log_of(db, task.task.id) + repr(task.steps) + task.task.status_line
    assert "127.0.0.1" in seen
    assert "hunter2" not in seen
    assert not [p for p in (tmp_path / "work").rglob("*") if p.is_file() and b"hunter2" in p.read_bytes()]
