"""Those who push commits to the git repository that the masters' GitPoller watches."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

from locum.db.database import Database
from locum.master.sources.commits import request_id
from sqlalchemy import text
from sqlalchemy.engine import Connection

from . import configuration
from .asking import Asker
from .history import ChangeAnswered, ChangeAsked, now

_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_{what}": v for who in ("AUTHOR", "COMMITTER") for what, v in (("NAME", "Gil"), ("EMAIL", "g@x"))},
}


class Commits:
    """Each commit is written down before its branch points to it, and is a change from then on."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._path = asker.masters.cluster.folder / configuration.REPOSITORY
        self._tips: dict[str, str] = {}
        self._pushed: list[str] = []

    def begin(self) -> None:
        """The repository as the poller finds it first: what is there then is no change."""
        self._path.mkdir()
        self._git("init", "--quiet", "--bare")
        for branch in configuration.GIT_BRANCHES:
            self._point(branch, self._commit(branch))

    def push(self, database: Database, rng: random.Random) -> None:
        """One to three commits at once on one branch."""
        branch = rng.choice(configuration.GIT_BRANCHES)
        tip, unique = self._tips[branch], []
        for _ in range(rng.choice((1, 1, 2, 3))):
            tip = self._commit(branch, tip)
            unique.append(request_id(configuration.SOURCE, branch, tip))
            fields = {"branch": branch, "revision": tip, "category": None, "files": ["src/a.c"]}
            self._asker.truth.add(ChangeAsked(now(), unique[-1], f"git {branch}", fields))
        self._point(branch, tip)
        self._pushed += unique
        for one in unique:
            self._asker.truth.add(ChangeAnswered(now(), one, "yes", None))

    def unheard(self, conn: Connection) -> list[str]:
        """Commits that are no change yet."""
        known = set(conn.execute(text("SELECT request_id FROM changes WHERE request_id LIKE 'git:%'")).scalars())
        return [one for one in self._pushed if one not in known]

    def _commit(self, branch: str, parent: str = "") -> str:
        """A new commit, to which nothing points yet."""
        number = self._asker.number(f"git {branch}")
        blob = self._git("hash-object", "-w", "--stdin", given=f"{branch} {number}\n")
        folder = self._git("mktree", given=f"100644 blob {blob}\ta.c\n")
        tree = self._git("mktree", given=f"040000 tree {folder}\tsrc\n")
        return self._git("commit-tree", tree, *(["-p", parent] if parent else []), given=f"commit {number}\n")

    def _point(self, branch: str, commit: str) -> None:
        self._git("update-ref", f"refs/heads/{branch}", commit)
        self._tips[branch] = commit

    def _git(self, *words: str, given: str = "") -> str:
        done = subprocess.run(
            ["git", *words],
            cwd=Path(self._path),
            env=_ENVIRONMENT,
            input=given,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()
