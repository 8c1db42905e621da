"""The demo's git repository, and somebody who commits to it while the masters come and go."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

_AS_SOMEBODY = ("-c", "user.name=Demo", "-c", "user.email=demo@example.org", "-c", "commit.gpgsign=false")
_ENVIRONMENT = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C"}


class Repository:
    """A git repository with a first commit on ``main``; needs neither a configured user nor a home folder."""

    def __init__(self, path: Path, git: str) -> None:
        self.path = path
        self._git_program = git
        self._environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(path.parent), **_ENVIRONMENT}
        path.mkdir()
        self._git("init", "--quiet")
        self._git("symbolic-ref", "HEAD", "refs/heads/main")
        self.commit("the beginning")

    def commit(self, message: str) -> str:
        """Change the one file and commit it; the new revision."""
        with (self.path / "notes.txt").open("a", encoding="utf-8") as file:
            file.write(message + "\n")
        self._git("add", "notes.txt")
        self._git("commit", "--quiet", "--message", message)
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *arguments: str) -> str:
        command = [self._git_program, *_AS_SOMEBODY, *arguments]
        return subprocess.run(
            command, cwd=self.path, env=self._environment, capture_output=True, text=True, check=True, timeout=30
        ).stdout


class Author(threading.Thread):
    """Commits every ``pause_s`` seconds until ``finish()``, which gives the revisions, oldest first."""

    def __init__(self, repository: Repository, pause_s: float) -> None:
        super().__init__(name="demo-author", daemon=True)
        self._repository = repository
        self._pause_s = pause_s
        self._enough = threading.Event()
        self._revisions: list[str] = []
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            while not self._enough.wait(self._pause_s):
                self._revisions.append(self._repository.commit(f"commit {len(self._revisions) + 1}"))
        except Exception as error:
            self._error = error

    def finish(self) -> list[str]:
        """Stop committing; raises what git failed with, if it did."""
        self._enough.set()
        self.join()
        if self._error is not None:
            raise self._error
        return self._revisions
