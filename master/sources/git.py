"""``GitPoller``: every new commit of the followed branches of a git repository becomes one change.

What is kept as state: ``revisions`` {branch: commit} up to which all is reported; ``reported`` commits up to which a push
that takes several turns has been reported; ``gone`` the last commits of deleted branches; ``scope`` what was followed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from ..changes import TEXT_LIMIT, properties_json
from .address import Address
from .branches import Branches, Refs
from .commits import Commit, change_fields, request_id
from .polling import Polled, PollingSource, duration
from .repository import GitTrouble, Repository

T = TypeVar("T")

MOST_CHANGES = 500
"""of one turn"""
MOST_SIZE = 4_000_000
"""characters of the changes of one turn, more or less"""
READ_AT_ONCE = 250
MOST_GONE = 100
MOST_ASKED = 20


@dataclass(slots=True)
class _Position:
    """How far all has been reported, as it is kept in the state."""

    revisions: dict[str, str]
    reported: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    def commits(self) -> set[str]:
        return {*self.revisions.values(), *self.reported, *self.gone}

    def forget_branches(self, kept: Mapping[str, str]) -> None:
        """Branches that are not there any more: what was reported of them stays reported."""
        gone = [commit for branch, commit in self.revisions.items() if branch not in kept]
        self.gone = [*(commit for commit in self.gone if commit not in gone), *gone][-MOST_GONE:]
        self.revisions = {branch: commit for branch, commit in self.revisions.items() if branch in kept}


@dataclass(frozen=True, slots=True)
class _Move:
    """A branch that is elsewhere now. ``old`` None: it is new."""

    branch: str
    old: str | None
    tip: str


@dataclass(slots=True)
class _Gathered:
    """Changes for the next turn."""

    changes: list[dict[str, Any]] = field(default_factory=list)
    size: int = 0

    def add(self, fields: dict[str, Any], size: int) -> None:
        self.changes.append(fields)
        self.size += size

    @property
    def full(self) -> bool:
        return len(self.changes) >= MOST_CHANGES or self.size >= MOST_SIZE


class GitPoller(PollingSource):
    """Asks a git repository every ``poll_interval`` which commits are new on the followed branches.

    - ``repository``: a git URL or an absolute path; with credentials, it may be a secret.
    - ``branches``: names and patterns (``release/*``; ``*``: all); None: the default branch.
    - ``timeout``: how long the remote may be silent before git is killed.
    - ``revlink``: a link for people, in which ``%(revision)s`` stands for the commit.

    Its first poll ever starts at the tips and makes no change. From then on each commit is one change of the branch on
    which it is first seen, oldest first. A branch that only gained commits that other branches had before gets one
    change, of its tip; one that was reset backwards, none. A new branch reports what no branch had before. Branches
    that are followed only since a reconfiguration start at their tips.
    """

    compare_attrs: ClassVar[Sequence[str]] = ("address", "branches", "timeout_s", "common", "revlink")

    def __init__(
        self,
        name: str,
        repository: Any,
        branches: Any = None,
        poll_interval: Any = 60.0,
        codebase: str = "",
        project: str = "",
        category: str | None = None,
        properties: Mapping[str, Any] | None = None,
        revlink: str = "",
        timeout: Any = 60.0,
    ) -> None:
        super().__init__(name, poll_interval)
        self.address = _named("repository", Address.parse, repository)
        self.branches = _named("branches", Branches.parse, branches)
        self.timeout_s = duration("timeout", timeout, 0.1)
        self.revlink = _checked_link(revlink)
        self.common: dict[str, Any] = {
            "repository": self.address.shown,
            "codebase": _text("codebase", codebase),
            "project": _text("project", project),
            "category": None if category is None else _text("category", category),
            "properties": _checked_properties(properties),
        }
        self._remote: Repository | None = None
        self._fetched: dict[str, str] = {}

    # -- its life -------------------------------------------------------------------------------------------------

    async def activate(self) -> None:
        self._remote = Repository(self.surroundings, self.workdir, self.address, self.timeout_s)
        self._fetched = {}
        await super().activate()

    def interrupt(self) -> None:
        if self._remote is not None:
            self._remote.stop()

    def scrubbed(self, text: str) -> str:
        return self.address.scrubbed(text)

    # -- a poll ---------------------------------------------------------------------------------------------------

    async def poll(self) -> Polled:
        remote = self._remote
        assert remote is not None
        refs = await remote.refs()
        try:
            await self._follow(remote, refs)
        except GitTrouble as trouble:
            self._fetched = {}
            if not await remote.mend(trouble):
                raise
            self.log.warn("change source {name}: its copy was mended: {why}", name=self.name, why=str(trouble))
            await self._follow(remote, refs)
        return self._told(refs)

    async def _follow(self, remote: Repository, refs: Refs) -> None:
        """Report what is new, and keep how far that is."""
        chosen = self.branches.chosen(refs)
        position = await self._position()
        if position is None:
            position = _Position(dict(chosen))
            await self._commit(_Gathered(), position)
        tips = await self._bring(remote, refs, chosen, position)
        if tips == position.revisions and not position.reported and await self._scope_is_kept():
            return
        await self._report(remote, refs, tips, position)
        await remote.tidy()

    async def _bring(
        self, remote: Repository, refs: Refs, chosen: Mapping[str, str], position: _Position
    ) -> dict[str, str]:
        """The followed branches' commits, here in the copy. May be newer than ``refs``."""
        wanted = dict(chosen)
        if set(chosen) - set(position.revisions):
            wanted = {name: refs.tips[name] for name in (*wanted, *_main_branches(refs))}
        if any(self._fetched.get(b) != c for b, c in wanted.items()) or not await remote.has_copy():
            self._fetched = {}
            self._fetched = await remote.fetch(wanted) if wanted else {}
        return {branch: self._fetched[branch] for branch in chosen if branch in self._fetched}

    async def _report(self, remote: Repository, refs: Refs, tips: Mapping[str, str], position: _Position) -> None:
        moved = [branch for branch, tip in tips.items() if position.revisions.get(branch) != tip]
        known = await self._known(remote, position, moved)
        moved = await self._in_order(remote, tips, moved, known, position)
        carried = position.reported
        gathered = _Gathered()
        for branch in moved:
            move = _Move(branch, position.revisions.get(branch), tips[branch])
            commits = await self._new_on(remote, move, known | self._base(refs, move))
            heads = set(carried)
            for start in range(0, len(commits), READ_AT_ONCE):
                for commit in await remote.read(commits[start : start + READ_AT_ONCE]):
                    gathered.add(change_fields(commit, branch, self.common, self._link(commit)), commit.size)
                    heads.difference_update(commit.parents)
                    heads.add(commit.revision)
                    if gathered.full:
                        position.reported = sorted(heads)
                        await self._commit(gathered, position)
                        gathered = _Gathered()
            position.revisions[branch] = move.tip
            position.reported = carried
            known.add(move.tip)
        position.forget_branches(tips)
        position.reported = []
        await self._commit(gathered, position)

    async def _known(self, remote: Repository, position: _Position, moved: Sequence[str]) -> set[str]:
        """Commits that were reported, with all before them, and that are here. The last ones of moved branches are
        asked of the remote, too: after a forced push and a failover, no branch brings them."""
        known = await remote.present(position.commits())
        lost = {position.revisions[branch] for branch in moved if branch in position.revisions} - known
        asked = [commit for commit in sorted(lost)[:MOST_ASKED] if await remote.fetch_commit(commit)]
        return known | await remote.present(asked)

    async def _in_order(
        self,
        remote: Repository,
        tips: Mapping[str, str],
        moved: Sequence[str],
        known: set[str],
        position: _Position,
    ) -> list[str]:
        """Which branch to report first: one that was merged before what it was merged into, then one known before."""
        if len(moved) < 2:
            return list(moved)
        wanted = {tips[branch] for branch in moved}
        listed = await remote.new_commits(wanted, known) or []
        place = {commit: number for number, commit in enumerate(listed) if commit in wanted}
        return sorted(moved, key=lambda branch: (place.get(tips[branch], -1), branch not in position.revisions))

    def _base(self, refs: Refs, move: _Move) -> set[str]:
        """For a new branch, what is on a main branch that is not followed: what it has in common with that is not new."""
        if move.old is not None:
            return set()
        others = set(_main_branches(refs)) - set(self.branches.chosen(refs))
        return {self._fetched[name] for name in others if name in self._fetched}

    async def _new_on(self, remote: Repository, move: _Move, known: set[str]) -> list[str]:
        """The commits that become changes of a branch that moved, oldest first."""
        scope = await self.getState("scope", None)
        elsewhere = scope is not None and scope["repository"] != self.address.shown
        if move.old is None:
            if elsewhere or not self._was_followed(scope, move.branch):
                return []
        elif move.old not in known:
            if elsewhere:
                return []
            return self._only_tip(move, f"its last known commit, {move.old}, is not to be had any more")
        elif elsewhere and not await remote.related(move.old, move.tip):
            return []
        new = await remote.new_commits([move.tip], known)
        if new is None:
            return self._only_tip(move, "it gained millions of commits")
        if not new and move.old is not None and await remote.gained(move.tip, move.old):
            return [move.tip]
        return new

    def _only_tip(self, move: _Move, why: str) -> list[str]:
        self.log.warn(
            "change source {name}: branch {branch}: {why}; only its newest commit is reported",
            name=self.name,
            branch=move.branch,
            why=why,
        )
        return [move.tip]

    def _was_followed(self, scope: Mapping[str, Any] | None, branch: str) -> bool:
        """Whether a new branch would have been seen by the configuration that the last poll had."""
        if scope is None or scope["branches"] == self._patterns():
            return True
        return scope["branches"] is not None and Branches(tuple(scope["branches"])).matches(branch)

    def _patterns(self) -> list[str] | None:
        return None if self.branches.patterns is None else list(self.branches.patterns)

    def _link(self, commit: Commit) -> str:
        return self.revlink.replace("%(revision)s", commit.revision)

    # -- what is kept ---------------------------------------------------------------------------------------------

    async def _position(self) -> _Position | None:
        revisions = await self.getState("revisions", None)
        if revisions is None:
            return None
        return _Position(revisions, await self.getState("reported", []), await self.getState("gone", []))

    async def _scope_is_kept(self) -> bool:
        return bool(await self.getState("scope", None) == self._scope())

    def _scope(self) -> dict[str, Any]:
        return {"repository": self.address.shown, "branches": self._patterns()}

    async def _commit(self, gathered: _Gathered, position: _Position) -> None:
        """One turn: the changes, and how far they reach. NotActive: it was not committed."""
        now = {"revisions": position.revisions, "reported": position.reported, "gone": position.gone}
        async with self.turn():
            for fields in gathered.changes:
                await self._add(fields)
            for key, value in now.items():
                if await self.getState(key, []) != value:
                    await self.setState(key, value)
            if not position.reported and not await self._scope_is_kept():
                await self.setState("scope", self._scope())

    async def _add(self, fields: dict[str, Any]) -> None:
        unique = request_id(self.name, fields["branch"], fields["revision"])
        try:
            await self.master.add_change(fields, unique)
        except ValueError as error:  # one odd commit must not keep all later ones away
            self.log.warn(
                "change source {name}: commit {revision} is reported without its text and files: {error}",
                name=self.name,
                revision=fields["revision"],
                error=str(error)[:500],
            )
            bare = {**self.common, "branch": fields["branch"], "revision": fields["revision"], "who": "unknown"}
            await self.master.add_change({**bare, "comments": f"[not to be kept: {str(error)[:500]}]"}, unique)

    def _told(self, refs: Refs) -> Polled:
        """For ``locum status``."""
        chosen = list(self.branches.chosen(refs))
        notes = [f"there is no branch {name!r}" for name in self.branches.missing(refs)[:5]]
        if refs.left_out:
            notes.append(f"{refs.left_out} branches are left out: their names are too long or not UTF-8")
        if not refs.tips and not refs.left_out:
            return Polled(True, "the repository has no branches yet")
        if not chosen:
            if self.branches.patterns is None:
                what = "the repository's HEAD is no branch that exists; set 'branches'"
            else:
                what = f"no branch matches {', '.join(self.branches.patterns[:5])}"
            return Polled(False, f"{what}; there are {_listed(sorted(refs.tips))}")
        return Polled(True, "; ".join([f"follows {_listed(chosen)}", *notes]))


def _main_branches(refs: Refs) -> list[str]:
    return [name for name in dict.fromkeys((refs.head, "main", "master")) if name is not None and name in refs.tips]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(name[:100] for name in names[:5]) + more


def _named(argument: str, check: Callable[[Any], T], value: Any) -> T:
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"{argument}: {error}") from None


def _text(argument: str, value: Any, limit: int = TEXT_LIMIT) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value.encode()) > limit:
        raise ValueError(f"{argument}: expected a text of at most {limit} bytes, got {str(value)[:200]!r}")
    return value


def _checked_properties(value: Any) -> dict[str, Any]:
    given = {} if value is None else value
    _named("properties", properties_json, given)
    return dict(given)


def _checked_link(value: Any) -> str:
    link = _text("revlink", value, 4 * TEXT_LIMIT - 100)
    if "%(" in link.replace("%(revision)s", ""):
        raise ValueError(f"revlink: only %(revision)s can stand in it, got {link[:200]!r}")
    return link
