"""The ``git`` step: brings the work directory to a sourcestamp's revision.

Branches, revisions and URLs are strangers' text: none can become an option, a command or a transport that runs one.
A password in a URL reaches git by the environment only (arguments can be read by everybody on the host), and no log.
"""

from __future__ import annotations

import base64
import contextlib
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ...config.builders import StepSection
from ...config.secret import Secret, mask_credentials
from ...db.tasks import SourceStamp
from ...schedulers.patches import level_fault, subdir_fault
from ..sources.address import Address
from .command import Ending
from .rendering import UnknownProperty, render
from .step_run import StepFailed, StepRun

PROTOCOLS = "file:git:http:https:ssh"
WANTED = "refs/locum/wanted"
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "safe.directory": "*",
    "advice.detachedHead": "false",
    "gc.autoDetach": "false",  # what it would leave running is killed with the step
    "maintenance.autoDetach": "false",
    "init.defaultBranch": "main",
    "fetch.recurseSubmodules": "false",
    "remote.origin.fetch": "+refs/heads/*:refs/remotes/origin/*",
    "transfer.credentialsInUrl": "allow",
}
_HELPER = re.compile(r"^[A-Za-z0-9+.-]*::")
_BAD_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.lock(?:/|$)|/$|\.$")
_COMMIT = re.compile(r"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}")
_LOCKS = ("index.lock", "HEAD.lock", "config.lock", "shallow.lock", "packed-refs.lock", "FETCH_HEAD.lock")


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be checked out; branch and revision None: the tip of the default branch."""

    url: str
    branch: str | None
    revision: str | None

    @property
    def shown(self) -> str:
        """The URL fit to be shown."""
        return mask_credentials(self.url)

    @property
    def secrets(self) -> list[str]:
        """What of the URL must not be seen."""
        with contextlib.suppress(ValueError):
            parts = urlsplit(self.url)
            if parts.password:
                return [parts.password, unquote(parts.password)]
            if parts.username and parts.scheme in ("http", "https"):
                return [parts.username, unquote(parts.username)]
        return []


class _Trouble(Exception):
    """A git command failed; ``remote``: it was one that talks to the repository."""

    def __init__(self, ending: Ending, what: str, remote: bool) -> None:
        super().__init__(f"{what} failed: {ending.sentence()}")
        self.ending = ending
        self.remote = remote


async def run_git(run: StepRun, section: StepSection) -> int:
    """Check the source out and set ``got_revision``. Raises StepFailed, Interrupted."""
    source = source_of(run, section)
    run.output.hide(source.secrets)
    checkout = _Checkout(run, section, source, run.place(section.workdir))
    revision = await checkout.bring()
    run.output.line(f"checked out {revision} of {source.shown}")
    stamp = _stamp(run, section)
    if stamp is not None and "patch" in stamp:
        await checkout.apply(stamp["patch"])
    run.found({"got_revision": revision})
    return 0


def source_of(run: StepRun, section: StepSection) -> Source:
    """What the step's settings and the task's sourcestamps ask for. StepFailed: nothing, or what no git should see."""
    stamp = _stamp(run, section)
    given = section.repository.reveal() if isinstance(section.repository, Secret) else section.repository
    url = given or (stamp["repository"] if stamp else "")
    if not url:
        codebase = f" of codebase {section.codebase!r}" if section.codebase else ""
        raise StepFailed(
            f"the task has no sourcestamp{codebase} with a repository;"
            " submit it with one, or set 'repository' in the git step"
        )
    try:
        branch = render(section.branch, run.properties) if section.branch else None
    except UnknownProperty as error:
        raise StepFailed(str(error)) from None
    source = Source(url, (stamp["branch"] if stamp else None) or branch, (stamp["revision"] if stamp else None) or None)
    if url.startswith("-") or _HELPER.match(url) or not url.isprintable():
        raise StepFailed(f"{source.shown!r} is not a repository that may be fetched")
    for what, name in (("branch", source.branch), ("revision", source.revision)):
        if name is not None and (name.startswith(("-", "/", ".")) or _BAD_IN_REF.search(name)):
            raise StepFailed(f"{name[:200]!r} is not the name of a {what}")
    return source


def _stamp(run: StepRun, section: StepSection) -> SourceStamp | None:
    for stamp in run.sourcestamps:
        if stamp["codebase"] == section.codebase:
            return stamp
    if not section.codebase and len(run.sourcestamps) == 1:
        return run.sourcestamps[0]
    return None


@dataclass(slots=True)
class _Checkout:
    run: StepRun
    section: StepSection
    source: Source
    folder: Path

    async def bring(self) -> str:
        """The revision that is checked out now. A work directory that git cannot use is made anew, once."""
        fresh = await self.run.in_thread(_prepared, self.folder)
        try:
            return await self._bring()
        except _Trouble as trouble:
            if fresh or (trouble.remote and not await self._remote_answers()):
                raise StepFailed(str(trouble), trouble.ending.number) from None
            self.run.output.line(f"{trouble}; starting over in an empty work directory")
        await self.run.in_thread(_emptied, self.folder)
        try:
            return await self._bring()
        except _Trouble as trouble:
            raise StepFailed(str(trouble), trouble.ending.number) from None

    async def _bring(self) -> str:
        await self._git("init", "--quiet", what="git init")
        revision = await self._fetched()
        await self._git("checkout", "--force", "--detach", "--quiet", revision, "--", what="git checkout")
        if self.section.clean:
            await self._git("clean", "-ffdxq", what="git clean")
        return revision

    async def apply(self, given: Mapping[str, Any]) -> None:
        """Change what is checked out as a source stamp's patch says. StepFailed: it does not apply.

        It goes into the index too, so that the next checkout takes all of it away again. Git itself refuses what would
        lead out of the work directory.
        """
        patch, level, subdir = _patch(given)
        file = self.folder / ".git" / "locum.patch"
        await self.run.in_thread(file.write_bytes, patch)
        where = [f"--directory={subdir}"] if subdir else []
        arguments = ("apply", "--index", "--whitespace=nowarn", f"-p{level}", *where, "--", str(file))
        ending = await self._run(arguments)
        await self.run.in_thread(file.unlink)
        if not ending.succeeded:
            raise StepFailed(f"the source stamp's patch does not apply to {self.source.shown}", ending.number)
        self.run.output.line(f"applied a patch of {len(patch)} bytes")

    async def _fetched(self) -> str:
        """The wanted commit's full name, after what had to be fetched."""
        source = self.source
        if source.revision is None:
            await self._fetch(f"+{_full(source.branch)}:{WANTED}")
            return await self._commit(WANTED) or await self._missing(WANTED)
        exact = _COMMIT.fullmatch(source.revision) is not None
        for attempt in self._ways(exact):
            if attempt:
                await self._fetch(*attempt)
            found = await self._commit(source.revision)
            if found:
                return found
        if exact:  # no branch has it any more (a forced push), but the repository may still give it out
            with contextlib.suppress(_Trouble):
                await self._fetch(f"+{source.revision}:{WANTED}")
                return await self._commit(WANTED) or await self._missing(source.revision)
        return await self._missing(source.revision)

    def _ways(self, exact: bool) -> list[tuple[str, ...]]:
        """What to fetch until the revision is there, the cheapest first; what is here already costs nothing."""
        everything = ("--tags", "--prune", "+refs/heads/*:refs/remotes/origin/*")
        if self.section.depth is not None:
            return [(), ("--tags", "+refs/heads/*:refs/remotes/origin/*")] if exact else [everything]
        return [(), everything] if exact else [everything]

    async def _missing(self, name: str) -> str:
        """Raises: the repository does not have it, or what we have of the repository cannot be used."""
        heard = bytearray()
        ending = await self._run(("config", "--local", "--get", "core.repositoryFormatVersion"), heard.extend)
        if name == WANTED or not heard.strip().isdigit():  # it was fetched, and is not there; or git complains
            raise _Trouble(ending, "using the work directory's repository", False)
        raise StepFailed(f"{name!r} is not in {self.source.shown}")

    async def _fetch(self, *what: str) -> None:
        depth = ["--depth", str(self.section.depth)] if self.section.depth else []
        await self._git(
            "fetch",
            "--quiet",
            "--force",
            "--no-write-fetch-head",
            *depth,
            "origin",
            *what,
            what="git fetch",
            remote=True,
        )

    async def _commit(self, name: str) -> str | None:
        """The full name of a commit that is here."""
        heard = bytearray()
        ending = await self._run(
            ("rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{commit}"), heard.extend
        )
        found = heard.decode("ascii", "replace").strip().rpartition("\n")[2]  # complaints come before
        return found if ending.succeeded and _COMMIT.fullmatch(found) else None

    async def _remote_answers(self) -> bool:
        ending = await self._run(("ls-remote", "--quiet", "origin", "HEAD"), lambda _: None, Path("/"))
        return ending.succeeded

    async def _git(self, *arguments: str, what: str, remote: bool = False) -> None:
        ending = await self._run(arguments)
        if not ending.succeeded:
            raise _Trouble(ending, f"{what} ({self.source.shown})" if remote else what, remote)

    async def _run(
        self, arguments: tuple[str, ...], heard: Callable[[bytes], None] | None = None, folder: Path | None = None
    ) -> Ending:
        return await self.run.command(["git", *arguments], folder or self.folder, self._environment(), heard)

    def _environment(self) -> Mapping[str, str]:
        url, credentials, secrets = _apart(self.source.url)
        settings = {**_SETTINGS, **credentials, "remote.origin.url": url}
        made = {
            **secrets,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": PROTOCOLS,
            "GIT_CEILING_DIRECTORIES": str(self.folder.parent),  # never a repository around the work directory
            "GIT_CONFIG_COUNT": str(len(settings)),
        }
        for number, (key, value) in enumerate(settings.items()):
            made |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        return made


def _patch(given: Mapping[str, Any]) -> tuple[bytes, int, str]:
    """(diff, level, folder) of a source stamp's patch. StepFailed."""
    level, subdir = given.get("level", 1), given.get("subdir") or ""
    try:
        encoded = given.get("body_base64")
        patch = str(given.get("body") or "").encode() if encoded is None else base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError):
        raise StepFailed("the source stamp's patch cannot be read") from None
    for what, fault in (("level", level_fault(level)), ("subdir", subdir_fault(subdir))):
        if fault:
            raise StepFailed(f"the source stamp's patch has no usable {what}: {fault}")
    return patch, level, subdir


def _apart(url: str) -> tuple[str, Mapping[str, str], Mapping[str, str]]:
    """(url without user and password, git settings, environment): git hands a URL on to its helpers' arguments."""
    try:
        address = Address.parse(url)
    except ValueError:  # nothing that takes a password over HTTP
        return url, {}, {}
    return address.url, *address.credentials()


def _full(branch: str | None) -> str:
    if branch is None:
        return "HEAD"
    return branch if branch.startswith("refs/") else f"refs/heads/{branch}"


def _prepared(folder: Path) -> bool:
    """Make the folder and take away what a killed git has left locked; True: there was no repository yet."""
    folder.mkdir(parents=True, exist_ok=True)
    repository = folder / ".git"
    if not (repository / "HEAD").is_file() or not (repository / "config").is_file():
        if repository.is_dir() and not repository.is_symlink():
            shutil.rmtree(repository)  # half a repository: git was killed while it made it
        else:
            repository.unlink(missing_ok=True)
        return True
    for lock in (*(repository / name for name in _LOCKS), *(repository / "refs").rglob("*.lock")):
        lock.unlink(missing_ok=True)
    return False


def _emptied(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
