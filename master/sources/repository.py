"""A remote git repository and this master's copy of it: every git command that a poller runs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..surroundings import Surroundings
from .address import Address
from .branches import LONGEST_NAME, Refs
from .commits import FORMAT, FORMAT_WITHOUT_COMMENTS, Commit, parse, without
from .polling import PollFailed
from .processes import MOST_OUTPUT, Call, Outcome, Processes

LOCAL_S = 600.0
"""What git may take for a question that this host alone answers."""
PACKING_S = 3600.0
_AGAIN_S = 3600.0
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "safe.directory": "*",
    "protocol.ext.allow": "never",
    "fetch.recurseSubmodules": "false",
    "fetch.fsckObjects": "false",  # one odd commit of long ago must not keep all new ones away
    "gc.autoDetach": "false",
    "maintenance.autoDetach": "false",
    "i18n.logOutputEncoding": "UTF-8",
    "credential.interactive": "false",
}
# To reach a remote, git may need what is set up for this user: proxies, certificates, keys. Nothing else is read of it.
# (A setting in the environment does not reach the git that serves a path on this host, one in this file does.)
_GIT_CONFIG = "[include]\n\tpath = ~/.config/git/config\n[include]\n\tpath = ~/.gitconfig\n[safe]\n\tdirectory = *\n"
_ALWAYS = ("PATH", "HOME", "LANG", "TZ")
_TO_CONNECT = (
    *("SSH_AUTH_SOCK", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH"),
    *("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"),
)
_KEPT = "refs/locum"


class GitTrouble(PollFailed):
    """A git command failed. ``remote``: it was one that needs the remote, which may be to blame."""

    def __init__(self, text: str, remote: bool) -> None:
        super().__init__(text)
        self.remote = remote


class _TooLong(Exception):
    """A command wrote more than is kept."""


class Repository:
    """A remote repository, and a bare copy of its followed branches in ``folder``, which is a cache."""

    def __init__(self, surroundings: Surroundings, folder: Path, address: Address, timeout_s: float) -> None:
        self._in_thread = surroundings.in_thread
        self._boottime = surroundings.boottime
        self._folder = folder
        self._copy = folder / "copy.git"
        self._address = address
        self._timeout_s = timeout_s
        self._format = ""
        self._tidied_at = self._mended_at = float("-inf")
        self._processes = Processes(surroundings, folder, {"gitconfig": _GIT_CONFIG})

    def stop(self) -> None:
        """Kill the git that runs; start no further one."""
        self._processes.stop()

    # -- the remote -----------------------------------------------------------------------------------------------

    async def refs(self) -> Refs:
        """The remote's branches now. GitTrouble."""
        url = self._address.url
        output = await self._remote("ls-remote", "--symref", "--", url, "HEAD", "refs/heads/*")
        head: str | None = None
        tips: dict[str, str] = {}
        detached = ""
        left_out = 0
        for line in output.split(b"\n"):
            what, _, raw_name = line.partition(b"\t")
            if raw_name == b"HEAD":
                if what.startswith(b"ref: refs/heads/"):
                    head = what.removeprefix(b"ref: refs/heads/").decode("utf-8", "replace")
                else:
                    detached = what.decode("ascii", "replace")
            elif raw_name.startswith(b"refs/heads/"):
                name = _branch(raw_name.removeprefix(b"refs/heads/"))
                if name is None:
                    left_out += 1
                else:
                    tips[name] = what.decode("ascii", "replace")
        if head is None and detached:  # an old server does not tell which branch it is
            same = [name for name, tip in tips.items() if tip == detached]
            head = next((name for name in ("main", "master") if name in same), same[0] if len(same) == 1 else None)
        return Refs(head if head in tips else None, tips, left_out)

    async def fetch(self, tips: Mapping[str, str]) -> dict[str, str]:
        """Bring these branches here: {branch: commit}, which may be newer than asked for. GitTrouble."""
        await self._ensure_copy("sha256" if any(len(tip) == 64 for tip in tips.values()) else "sha1")
        names = {_kept(branch): branch for branch in tips}
        wanted = "".join(f"+refs/heads/{branch}:{kept}\n" for kept, branch in names.items())
        await self._fetch("--stdin", "--", self._address.url, given=wanted)
        listed = await self._local("for-each-ref", "--format=%(objectname) %(objecttype) %(refname)", _KEPT)
        found = {}
        for line in listed.decode("ascii", "replace").splitlines():
            commit, kind, kept = line.split(" ", 2)
            if kept in names and kind == "commit":
                found[names[kept]] = commit
        return {branch: found[branch] for branch in tips if branch in found}

    async def fetch_commit(self, commit: str) -> bool:
        """Bring a commit here that no branch may have any more. False: the remote does not give it out. GitTrouble."""
        try:
            await self._fetch("--", self._address.url, commit)
        except GitTrouble:
            await self.refs()  # raises if the remote is away: that is no answer
            return False
        return True

    async def _fetch(self, *arguments: str, given: str = "") -> None:
        options = ("--no-tags", "--force", "--progress", "--no-recurse-submodules", "--no-write-fetch-head")
        call = self._call(["fetch", *options, "--no-auto-maintenance", *arguments], True, given, lively=True)
        await self._done(call, True)

    # -- the copy -------------------------------------------------------------------------------------------------

    async def has_copy(self) -> bool:
        """Whether there is something like a copy here."""
        found: bool = await self._in_thread((self._copy / "HEAD").is_file)
        return found

    async def present(self, commits: Iterable[str]) -> set[str]:
        """Those of the commits that the copy has."""
        given = "".join(f"{commit}\n" for commit in commits)
        if not given:
            return set()
        output = await self._local("cat-file", "--batch-check", given=given)
        answers = (line.split() for line in output.decode("ascii", "replace").splitlines())
        return {words[0] for words in answers if len(words) == 3 and words[1] == "commit"}

    async def new_commits(self, tips: Iterable[str], known: Iterable[str]) -> list[str] | None:
        """All commits reachable from ``tips`` and from none of the known ones, parents before children. None: millions."""
        given = "".join([*(f"{commit}\n" for commit in tips), *(f"^{commit}\n" for commit in known)])
        call = self._call(["rev-list", "--reverse", "--topo-order", "--stdin"], False, given)
        try:
            outcome = await self._done(replace(call, most_output=4 * MOST_OUTPUT), False)
        except _TooLong:
            return None
        return outcome.output.decode("ascii").split()

    async def gained(self, tip: str, old: str) -> bool:
        """Whether ``tip`` has any commit that ``old`` does not have."""
        return bool(await self._local("rev-list", "--max-count=1", "--stdin", given=f"{tip}\n^{old}\n"))

    async def related(self, one: str, other: str) -> bool:
        """Whether two commits have any history in common."""
        outcome = await self._processes.run(self._call(["merge-base", one, other], False))
        return outcome.ending.succeeded

    async def read(self, commits: Sequence[str]) -> list[Commit]:
        """These commits, in this order; what would be too much to read of one is left out, with a note."""
        try:
            return await self._read(commits, FORMAT, "--raw")
        except _TooLong:
            pass
        if len(commits) > 1:
            half = len(commits) // 2
            return [*await self.read(commits[:half]), *await self.read(commits[half:])]
        for style, files, note in (
            (FORMAT, "--no-patch", "its files were too many to be read"),
            (FORMAT_WITHOUT_COMMENTS, "--raw", "its text was too long to be read"),
            (FORMAT_WITHOUT_COMMENTS, "--no-patch", "its text and its files were too long to be read"),
        ):
            try:
                return [without(commit, note) for commit in await self._read(commits, style, files)]
            except _TooLong:
                pass
        return [Commit(commits[0], (), "", "", None, "", (), "it was too long to be read")]

    async def _read(self, commits: Sequence[str], style: str, files: str) -> list[Commit]:
        given = "".join(f"{commit}\n" for commit in commits)
        shape = ("-z", files, "--no-abbrev", "--no-renames", "-m", "--first-parent", "--root", f"--format={style}")
        output = await self._local("log", "--no-walk=unsorted", "--stdin", *shape, given=given)
        found: list[Commit] = await self._in_thread(parse, output)
        if [commit.revision for commit in found] != list(commits):
            raise GitTrouble("git log did not tell about the commits that it was asked for", False)
        return found

    async def tidy(self) -> None:
        """Pack what many fetches have left, if it is much; at most once in a while."""
        now = self._boottime()
        if now - self._tidied_at < _AGAIN_S:
            return
        self._tidied_at = now
        await self._processes.run(replace(self._call(["gc", "--auto"], False, lively=True), timeout_s=PACKING_S))

    async def mend(self, trouble: GitTrouble) -> bool:
        """After a failure: take away what a killed git left behind, and, at most once in a while, a broken copy.

        True: it is worth trying again at once.
        """
        if await self._in_thread(_unlock, self._copy):
            return True
        now = self._boottime()
        if now - self._mended_at < _AGAIN_S:
            return False
        self._mended_at = now
        if trouble.remote:
            check = ["fsck", "--connectivity-only", "--no-dangling", "--no-progress"]
            outcome = await self._processes.run(self._call(check, False, lively=True))
            if outcome.ending.succeeded or outcome.late:
                return False
        await self._in_thread(_remove, self._copy)
        return True

    async def _ensure_copy(self, object_format: str) -> None:
        if await self.has_copy():
            if self._format == object_format:
                return
            self._format = object_format
            output = await self._local("rev-parse", "--show-object-format")
            if output.decode("ascii", "replace").strip() == object_format:
                return
        await self._in_thread(_remove, self._copy)
        how = ("--bare", "--quiet", "--template=", f"--object-format={object_format}")
        await self._done(self._call(["init", *how, str(self._copy)], False, lively=True), False)

    # -- commands -------------------------------------------------------------------------------------------------

    async def _remote(self, *arguments: str) -> bytes:
        return (await self._done(self._call(list(arguments), True), True)).output

    async def _local(self, *arguments: str, given: str = "") -> bytes:
        return (await self._done(self._call(list(arguments), False, given), False)).output

    async def _done(self, call: Call, remote: bool) -> Outcome:
        try:
            outcome = await self._processes.run(call)
        except OSError as error:
            raise GitTrouble(f"the folder {self._folder} cannot be used: {error.strerror}", False) from None
        if outcome.too_long:
            if remote:
                raise GitTrouble(f"git {call.arguments[1]} got too much from {self._address.shown}", True)
            raise _TooLong
        if outcome.ending.succeeded:
            return outcome
        raise GitTrouble(self._sentence(call, outcome, remote), remote)

    def _sentence(self, call: Call, outcome: Outcome, remote: bool) -> str:
        what = f"git {call.arguments[1]}" + (f" {self._address.shown}" if remote else "")
        if outcome.late:
            return f"{what}: no answer within {call.timeout_s:g} s, it was killed"
        lines = [line.strip() for line in outcome.errors.splitlines() if line.strip()]
        telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote: ", "ssh:"))] or lines
        why = self._address.scrubbed("; ".join(dict.fromkeys(telling[-3:])))
        return f"{what}: {outcome.ending.sentence()}" + (f": {why[:500]}" if why else "")

    def _call(self, arguments: list[str], remote: bool, given: str = "", lively: bool = False) -> Call:
        settings = dict(_SETTINGS)
        names = (*_ALWAYS, *(_TO_CONNECT if remote else ()))
        environment = {name: os.environ[name] for name in names if name in os.environ}
        environment |= {
            "LC_ALL": "C",  # errors are compared from one poll to the next
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "SSH_ASKPASS_REQUIRE": "never",
            "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
            "GIT_CEILING_DIRECTORIES": str(self._folder.parent),  # never a repository around this folder
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_CONFIG_GLOBAL": str(self._folder / "gitconfig") if remote else os.devnull,
        }
        if remote:
            more, secrets = self._address.credentials()
            settings |= more
            environment |= secrets
        else:
            environment["GIT_CONFIG_NOSYSTEM"] = "1"
        if arguments[0] not in ("ls-remote", "init"):
            environment["GIT_DIR"] = str(self._copy)
        environment["GIT_CONFIG_COUNT"] = str(len(settings))
        for number, (key, value) in enumerate(settings.items()):
            environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        timeout_s = self._timeout_s if remote else max(LOCAL_S, self._timeout_s)
        return Call(["git", *arguments], environment, timeout_s, given.encode(), lively, MOST_OUTPUT)


def _branch(raw: bytes) -> str | None:
    try:
        return raw.decode() if len(raw) <= LONGEST_NAME else None
    except UnicodeDecodeError:
        return None


def _kept(branch: str) -> str:
    """Where the copy keeps a branch: by a digest, so that ``a/b`` can come when ``a`` has gone."""
    return f"{_KEPT}/{hashlib.sha256(branch.encode()).hexdigest()[:32]}"


def _unlock(copy: Path) -> bool:
    """Take away what a killed git left: whether there were locks."""
    with contextlib.suppress(OSError):
        for unfinished in (copy / "objects" / "pack").glob("tmp_*"):
            unfinished.unlink(missing_ok=True)
        locks = [*copy.glob("*.lock"), *(copy / "refs").rglob("*.lock")]
        for lock in locks:
            lock.unlink(missing_ok=True)
        return bool(locks)
    return False


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
