"""Trying a diff before it is committed: ``locum try``, HTTP, the maildir, and the git step that applies it."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from locum.tests.support.cluster import Cluster
from locum.tests.support.ports import free_port

Make = Callable[..., Cluster]
GIT = ("git", "-c", "user.name=ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run([*GIT, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone of a repository with a few files."""
    origin = tmp_path / "origin"
    origin.mkdir()
    git(origin, "init", "-q", "-b", "main")
    (origin / "text").write_text("old\n")
    (origin / "gone").write_text("to be deleted\n")
    (origin / "binary").write_bytes(bytes(range(256)))
    git(origin, "add", ".")
    git(origin, "commit", "-q", "-m", "first")
    git(tmp_path, "clone", "-q", str(origin), "mine")
    return tmp_path / "mine"


def configuration(*more: dict[str, Any], shell: str = "cat text && ls && cksum binary") -> dict[str, Any]:
    return {
        "builders": [{"name": "unit", "steps": [{"git": {}}, {"shell": shell}]}],
        "schedulers": [{"type": "Try_Userpass", "name": "try", "builderNames": ["unit"]}, *more],
    }


def log(c: Cluster) -> str:
    rows = c.rows("SELECT text FROM log_chunks ORDER BY task_id, attempt, step, sequence")
    return "".join(row[0] for row in rows)


def test_an_uncommitted_diff_is_built_and_leaves_nothing_behind(cluster: Make, checkout: Path) -> None:
    c = cluster(**configuration())
    c.start("m1")
    c.wait_held("try")
    base = git(checkout, "rev-parse", "HEAD")
    assert "nothing differs" in c.quick("try", "try", "--checkout", str(checkout), code=1).stderr
    (checkout / "text").write_text("new\n")
    (checkout / "sub").mkdir()
    (checkout / "sub" / "added").write_text("x")
    (checkout / "gone").unlink()
    (checkout / "binary").write_bytes(bytes(range(255, -1, -1)))
    git(checkout, "add", "sub")
    (checkout / "notes").write_text("git does not know this one\n")
    tried = c.quick("try", "try", "--checkout", str(checkout), "--dry-run")
    assert f"against {base}, branch main" in tried.stdout and "+new" in tried.stdout.splitlines()
    assert "left out, because git does not know it: notes;" in tried.stderr
    (checkout / "notes").unlink()
    found = c.quick("try", "try", "--checkout", str(checkout / "sub"), "--comment", "please", "--wait")
    assert found.stdout.endswith(": success\n")
    said = log(c)
    assert "new\nbinary\nsub\ntext\n" in said and "applied a patch" in said
    expected = subprocess.run(
        ["cksum"], input=bytes(range(255, -1, -1)), capture_output=True, check=True
    ).stdout.split()
    assert expected[0].decode() in said
    (row,) = c.rows("SELECT reason, external_id FROM buildsets")
    assert "please" in row[0] and row[1]
    # Committed here, but not there: what differs from upstream is what is tried.
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "mine")
    assert c.quick("try", "try", "--checkout", str(checkout), "--wait").stdout.endswith(": success\n")
    assert log(c).count("new\nbinary\nsub\ntext\n") == 2
    # The next task of the same work directory sees nothing of the patch.
    empty = checkout.parent / "empty.diff"
    empty.write_text("diff --git a/note b/note\nnew file mode 100644\n--- /dev/null\n+++ b/note\n@@ -0,0 +1 @@\n+n\n")
    c.quick(
        "try", "try", "--base", base, "--patch", str(empty), "--repository", str(checkout.parent / "origin"), "--wait"
    )
    assert "old\nbinary\ngone\nnote\ntext\n" in log(c)


def test_a_patch_that_does_not_apply_or_leads_outside_fails_the_step(
    cluster: Make, checkout: Path, tmp_path: Path
) -> None:
    c = cluster(**configuration())
    c.start("m1")
    c.wait_held("try")
    bad, outside = tmp_path / "bad.diff", tmp_path / "outside.diff"
    bad.write_text("--- a/text\n+++ b/text\n@@ -1 +1 @@\n-never there\n+x\n")
    outside.write_text("--- /dev/null\n+++ b/../../../../escaped\n@@ -0,0 +1 @@\n+x\n")
    at = ["--base", git(checkout, "rev-parse", "HEAD"), "--repository", str(tmp_path / "origin")]
    for patch in (bad, outside):
        assert c.quick("try", "try", "--patch", str(patch), *at, "--wait", code=1).stdout.endswith(": failure\n")
    assert [r[0] for r in c.rows("SELECT why FROM steps WHERE state = 'failed'")] == [
        f"the source stamp's patch does not apply to {tmp_path / 'origin'}"
    ] * 2
    assert not list(tmp_path.rglob("escaped"))


def test_a_job_is_kept_while_nobody_is_up_and_served_once(cluster: Make, checkout: Path) -> None:
    c = cluster(**configuration())
    c.start("m1")
    c.wait_held("try")
    assert c.stop("m1") == [0]
    (checkout / "text").write_text("new\n")
    for _ in range(2):
        said = c.quick("try", "try", "--checkout", str(checkout), "--request-id", "one", "--timeout", "0")
        assert "nobody who is up holds try" in said.stderr
    c.start("m2")
    c.until(lambda: [r[0] for r in c.rows("SELECT result FROM buildsets")] == ["success"], "the job is built")
    assert c.json("try", "try", "--checkout", str(checkout), "--request-id", "one", "--wait")["known"] is True
    assert len(c.rows("SELECT 1 FROM buildsets")) == 1
    c.quick("scheduler", "disable", "try", "--reason", "later")
    assert "later" in c.quick("try", "try", "--checkout", str(checkout), code=1).stderr


def post(port: int, job: dict[str, Any], user: str = "ann:secret") -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", json.dumps(job).encode(), method="POST")
    request.add_header("Authorization", "Basic " + base64.b64encode(user.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_jobs_come_over_http_too_to_whoever_is_active(cluster: Make, tmp_path: Path) -> None:
    port = free_port()
    c = cluster(
        builders=[{"name": "unit", "steps": [{"shell": ["true"]}]}],
        schedulers=[
            {
                "type": "Try_Userpass",
                "name": "try",
                "builderNames": ["unit"],
                "port": port,
                "userpass": {"ann": "secret"},
            }
        ],
    )
    c.start("m1", "m2")
    holder = c.wait_held("try")

    def answered(*arguments: Any) -> Any:
        try:
            return post(port, *arguments)
        except (OSError, urllib.error.URLError):
            return None

    code, first = c.until(lambda: answered({"jobid": "j1", "comment": "hello"}), "it listens")
    assert code == 201 and set(first["tasks"]) == {"unit"}
    assert post(port, {"jobid": "j1"}) == (201, first), "the same job again"
    assert post(port, {}, "ann:wrong")[0] == 401
    assert post(port, {"builders": ["x"]})[0] == 400 and post(port, {"brunch": 1})[0] == 400
    assert post(port, {"jobid": "j2"})[0] == 201, "a bad job has harmed nothing"
    c.kill(holder)
    c.until(lambda: answered({"jobid": "j1"}) == (201, first), "the next owner listens, and knows what was served")
    assert [r[0] for r in c.rows("SELECT external_id FROM buildsets ORDER BY submitted_at")] == ["j1", "j2"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_maildir_is_served_by_whoever_is_active(cluster: Make, tmp_path: Path) -> None:
    c = cluster(
        builders=[{"name": "unit", "steps": [{"shell": ["true"]}]}],
        schedulers=[
            {
                "type": "Try_Jobdir",
                "name": "files",
                "builderNames": ["unit"],
                "jobdir": "jobs",
                "poll_interval": "100ms",
            }
        ],
    )
    c.start("m1", "m2")
    for number in range(3):
        holder = c.wait_held("files", by=c.processes if number == 0 else None)
        new = tmp_path / "jobs" / "new"
        c.until(new.is_dir, "the maildir is there")
        (tmp_path / "jobs" / "tmp" / f"{number}").write_text(json.dumps({"comment": str(number)}))
        (tmp_path / "jobs" / "tmp" / f"{number}").rename(new / f"{number}.job")
        if number == 1:
            c.kill(holder)
        c.until(lambda n=number: len(c.rows("SELECT 1 FROM buildsets")) == n + 1, "one more buildset")
    c.until(lambda: len(list((tmp_path / "jobs" / "cur").iterdir())) == 3, "all are put away")


def test_a_port_that_somebody_else_has_is_shown_and_taken_when_it_is_free(cluster: Make) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        by_http = {"type": "Try_Userpass", "name": "http", "builderNames": ["unit"], "port": port}
        c = cluster(**configuration({**by_http, "userpass": {"ann": "secret"}}))
        c.start("m1")
        c.wait_held("http")
        c.until(lambda: "cannot listen" in (c.line("http").trouble or ""), "the trouble is shown")
        assert c.log("m1").count("cannot listen yet") == 1
    c.until(lambda: c.line("http").trouble is None, "it listens")
    assert post(port, {"comment": "now"})[0] == 201
