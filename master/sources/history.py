"""A git repository's past as changes: every commit at the time at which it was committed. Reads, and runs nothing but git."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...db.effects import NewChange
from ...db.naming import Refused
from ..changes import BadChange, validated
from .branches import Branches, Refs
from .commits import FORMAT, Commit, change_fields, parse, request_id

READ_AT_ONCE = 500
# Neither hooks nor programs of the repository's own configuration; a partial clone must not fetch what it lacks.
_SETTINGS = ("core.hooksPath=/dev/null", "core.fsmonitor=false", "safe.directory=*", "log.showSignature=false")
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_REPLACE_OBJECTS": "1",
}


@dataclass(frozen=True, slots=True)
class Follows:
    """What a change source makes of commits: of which branches, with which fields, and the link to one."""

    name: str
    branches: Branches
    common: Mapping[str, Any]
    revlink: str = ""


class History:
    """The repository at ``path``. Refused: there is none, or git cannot read it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            found = self._git("rev-parse", "--absolute-git-dir")
        except Refused as error:
            raise Refused(f"--repository: {path} is not a git repository: {error}; give the path of a clone") from None
        self._folder = found.decode("utf-8", "surrogateescape").rstrip("\n")

    def origin(self) -> str:
        """Where it was cloned from; '' if it was not."""
        done = self._run("config", "--get", "remote.origin.url")
        return "" if done.returncode else done.stdout.decode("utf-8", "replace").strip()

    def refs(self) -> Refs:
        """Its branches: its own, and those that it has of where it was cloned from."""
        tips: dict[str, str] = {}
        for prefix in ("refs/remotes/origin/", "refs/heads/"):
            listed = self._git("for-each-ref", "--format=%(objectname) %(objecttype) %(refname)", prefix)
            for line in listed.decode("utf-8", "replace").splitlines():
                commit, kind, name = line.split(" ", 2)
                branch = name.removeprefix(prefix)
                if kind == "commit" and branch != "HEAD":
                    tips[branch] = commit
        head = None
        for name, prefix in (("refs/remotes/origin/HEAD", "refs/remotes/origin/"), ("HEAD", "refs/heads/")):
            done = self._run("symbolic-ref", "--quiet", name)
            found = done.stdout.decode("utf-8", "replace").strip().removeprefix(prefix)
            if not done.returncode and found in tips:
                head = head or found
        return Refs(head, tips)

    def changes(self, follows: Follows, start_us: int, end_us: int) -> list[NewChange]:
        """One for each commit in that time, in its order. A commit is of the first branch that has it: the default branch
        comes first, then the others as ``follows`` has them."""
        refs = self.refs()
        tips = follows.branches.chosen(refs)
        if not tips:
            there = ", ".join(sorted(refs.tips)[:10]) or "none"
            raise Refused(f"--repository: {self._path} has no branch that {follows.name} follows; it has {there}")
        ordered = sorted(tips, key=lambda branch: branch != refs.head)
        found: list[tuple[int, Commit, str]] = []
        before: list[str] = []
        for branch in ordered:
            for commit in self._read(self._in_time(tips[branch], before, start_us, end_us)):
                found.append((commit.when or 0, commit, branch))
            before.append(tips[branch])
        found.sort(key=lambda one: one[0])
        return [_change(commit, branch, follows) for _, commit, branch in found]

    def _in_time(self, tip: str, before: Sequence[str], start_us: int, end_us: int) -> list[str]:
        """Parents before children; commits of branches that came before are left out."""
        given = "".join([f"{tip}\n", *(f"^{commit}\n" for commit in before)])
        listed = self._git("rev-list", "--timestamp", "--reverse", "--topo-order", "--stdin", given=given)
        words = (line.split() for line in listed.decode("ascii").splitlines())
        return [commit for when, commit in words if start_us <= int(when) * 1_000_000 <= end_us]

    def _read(self, commits: Sequence[str]) -> list[Commit]:
        shape = ("-z", "--raw", "--no-abbrev", "--no-renames", "-m", "--first-parent", "--root", f"--format={FORMAT}")
        found: list[Commit] = []
        for start in range(0, len(commits), READ_AT_ONCE):
            given = "".join(f"{commit}\n" for commit in commits[start : start + READ_AT_ONCE])
            found += parse(self._git("log", "--no-walk=unsorted", "--stdin", *shape, given=given))
        return found

    def _git(self, *arguments: str, given: str = "") -> bytes:
        done = self._run(*arguments, given=given)
        if done.returncode:
            why = " ".join(done.stderr.decode("utf-8", "replace").split())
            raise Refused(f"git {arguments[0]}: {why or f'exit code {done.returncode}'}")
        return done.stdout

    def _run(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[bytes]:
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | _ENVIRONMENT
        try:
            return subprocess.run(
                ["git", *settings, *arguments],
                cwd=self._path, env=environment, input=given.encode(), capture_output=True, check=False,
            )  # fmt: skip
        except OSError as error:
            raise Refused(f"cannot run git there: {error.strerror}") from None


def _change(commit: Commit, branch: str, follows: Follows) -> NewChange:
    link = follows.revlink.replace("%(revision)s", commit.revision)
    request = request_id(follows.name, branch, commit.revision)
    fields = {**change_fields(commit, branch, follows.common, link), "request_id": request}
    try:
        return validated(fields)
    except BadChange:  # one odd commit must not keep all others away
        bare = {**follows.common, "who": "unknown", "branch": branch, "revision": commit.revision, "when": commit.when}
        return validated({**bare, "request_id": request})
