"""``self.master.db``: as far as schedulers use it. What changes something joins the turn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from ..hooks import begin
from ..interface import SchedulerFault, StampFields
from .absent import sentence
from .changes.changes import Change, chdict_of
from .process.results import number_of
from .times import moment

_NOTHING: Any = object()


class _Part:
    """A part of ``master.db``; what it does not have says so."""

    def __init__(self, scheduler: Any, master: Any) -> None:
        self._scheduler = scheduler
        self._master = master

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(sentence(f"master.db.{type(self).__name__.lower()}.{name}"))


class Databases:
    """``schedulers``, ``changes``, ``state``, ``buildsets``, ``buildrequests``, ``sourcestamps``, ``builders``."""

    def __init__(self, scheduler: Any, master: Any) -> None:
        self.schedulers = Schedulers(scheduler, master)
        self.changes = Changes(scheduler, master)
        self.state = State(scheduler, master)
        self.buildsets = Buildsets(scheduler, master)
        self.buildrequests = BuildRequests(scheduler, master)
        self.sourcestamps = SourceStamps(scheduler, master)
        self.builders = Builders(scheduler, master)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(sentence(f"master.db.{name}"))


class Schedulers(_Part):
    """The pending changes of this scheduler. Those of others are theirs alone."""

    def classifyChanges(self, schedulerid: int, classifications: Mapping[int, bool]) -> Deferred[None]:
        """Remember changes as pending."""
        self._own(schedulerid)
        answer: Deferred[None] = self._scheduler.classifyChanges(classifications)
        return answer

    def getChangeClassifications(
        self,
        schedulerid: int,
        branch: Any = -1,
        repository: Any = None,
        project: Any = None,
        codebase: Any = None,
    ) -> Deferred[dict[int, bool]]:
        """The pending changes, number -> important; of a branch (None: the default one) and so on if given (-1: any)."""
        self._own(schedulerid)
        wanted = {"repository": repository, "project": project, "codebase": codebase}
        wanted = {name: value for name, value in wanted.items() if value not in (None, -1)}
        answer: Deferred[dict[int, bool]] = self._scheduler.getChangeClassifications(branch=branch, **wanted)
        return answer

    def flushChangeClassifications(self, schedulerid: int, less_than: int | None = None) -> Deferred[None]:
        """Forget all pending changes, or those below a number."""
        self._own(schedulerid)
        answer: Deferred[None] = self._scheduler.flushChangeClassifications(less_than=less_than)
        return answer

    def findSchedulerId(self, name: str) -> Deferred[int]:
        """The id of the scheduler of that name. SchedulerFault: there is none."""

        def named(found: Iterable[Any]) -> int:
            for one in found:
                if one.name == name:
                    return int(one.id)
            raise SchedulerFault(f"there is no scheduler {name!r}")

        answer: Deferred[Any] = self._master.records.schedulers()
        return answer.addCallback(named)

    def getScheduler(self, schedulerid: int) -> Deferred[dict[str, Any] | None]:
        """{id, name, enabled, masterid} of one; None: there is none."""
        found: Deferred[list[dict[str, Any]]] = self.getSchedulers()
        return found.addCallback(lambda all_: next((one for one in all_ if one["id"] == schedulerid), None))

    def getSchedulers(self, active: bool | None = None, masterid: int | None = None) -> Deferred[list[dict[str, Any]]]:
        """All of them; ``masterid`` is the name of the master that it is active on."""

        def dicts(found: Iterable[Any]) -> list[dict[str, Any]]:
            made = [{"id": s.id, "name": s.name, "enabled": s.enabled, "masterid": s.master} for s in found]
            return [one for one in made if active is None or (one["masterid"] is not None) is active]

        answer: Deferred[Any] = self._master.records.schedulers()
        return answer.addCallback(dicts)

    def _own(self, schedulerid: int) -> None:
        if schedulerid != self._master.records.scheduler_id:
            raise SchedulerFault(
                f"scheduler {self._scheduler.name!r}: pending changes of scheduler {schedulerid} are not its own; use"
                " self.serviceid"
            )


class Changes(_Part):
    """Changes as dictionaries."""

    def getChange(self, changeid: int, no_cache: bool = False) -> Deferred[dict[str, Any] | None]:
        """A change; None: there is none of that number."""
        found: Deferred[list[Change]] = self._master.changes([changeid])
        return found.addCallback(lambda changes: chdict_of(changes[0]) if changes else None)

    def getChanges(self, resultSpec: Any = None) -> Deferred[list[dict[str, Any]]]:
        """The newest thousand, oldest first, or what a ResultSpec leaves of them."""

        def chosen(changes: list[Change]) -> list[dict[str, Any]]:
            made = [chdict_of(change) for change in changes]
            return made if resultSpec is None else resultSpec.apply(made)

        found: Deferred[list[Change]] = self._master.records.changes()
        return found.addCallback(chosen)

    def getRecentChanges(self, count: int) -> Deferred[list[dict[str, Any]]]:
        """The newest ones, oldest first."""
        found: Deferred[list[Change]] = self._master.records.changes(most=count)
        return found.addCallback(lambda changes: [chdict_of(change) for change in changes])

    def getLatestChangeid(self) -> Deferred[int | None]:
        """The newest one's number; None: there is none."""
        found: Deferred[Any] = self._master.records.news()
        return found.addCallback(lambda news: news.change or None)

    def getChangesCount(self) -> Deferred[int]:
        """How many have come: their numbers follow one another."""
        found: Deferred[Any] = self._master.records.news()
        return found.addCallback(lambda news: news.change)

    def getChangeFromSSid(self, sourcestampid: int) -> Deferred[dict[str, Any] | None]:
        """The change that a number below 0 stands for. Source stamps of buildsets know no change."""
        return self.getChange(-sourcestampid) if sourcestampid < 0 else succeed(None)


class State(_Part):
    """JSON values under an object's id and a name. They go with this scheduler; what is kept for others is its own, too."""

    def getObjectId(self, name: str, class_name: str) -> Deferred[int]:
        """A number for that object: this scheduler's own id, or one made of the names."""
        if name == self._scheduler.name:
            return succeed(self._master.records.scheduler_id)
        digest = hashlib.sha256(f"{class_name}\0{name}".encode()).digest()
        return succeed(-int.from_bytes(digest[:6], "big") - 1)

    def getState(self, objectid: int, name: str, default: Any = _NOTHING) -> Deferred[Any]:
        """The value; KeyError if there is none and no default."""
        key = self._key(objectid, name)
        answer: Deferred[Any] = (
            self._scheduler.getState(key) if default is _NOTHING else self._scheduler.getState(key, default)
        )
        return answer

    def setState(self, objectid: int, name: str, value: Any) -> Deferred[None]:
        """Keep a value."""
        answer: Deferred[None] = self._scheduler.setState(self._key(objectid, name), value)
        return answer

    def atomicCreateState(self, objectid: int, name: str, thd_create_callback: Any) -> Deferred[Any]:
        """The value, made by the callback if there is none."""
        key = self._key(objectid, name)

        def made(failure: Any) -> Any:
            failure.trap(KeyError)
            value = thd_create_callback()
            return self._scheduler.setState(key, value).addCallback(lambda _: value)

        answer: Deferred[Any] = self._scheduler.getState(key)
        return answer.addErrback(made)

    def _key(self, objectid: int, name: str) -> str:
        return name if objectid == self._master.records.scheduler_id else f"object {objectid}: {name}"


class Buildsets(_Part):
    """Buildsets as dictionaries."""

    def getBuildset(self, bsid: int) -> Deferred[dict[str, Any] | None]:
        """One; None: there is none."""
        found: Deferred[Any] = self._master.records.buildsets([bsid])
        return found.addCallback(lambda found: _bsdict(found[0]) if found else None)

    def getBuildsets(self, complete: bool | None = None, resultSpec: Any = None) -> Deferred[list[dict[str, Any]]]:
        """The newest thousand, oldest first; complete ones or others alone."""

        def chosen(found: Iterable[Any]) -> list[dict[str, Any]]:
            made = [_bsdict(one) for one in found]
            made = [one for one in made if complete is None or one["complete"] is complete]
            return made if resultSpec is None else resultSpec.apply(made)

        found: Deferred[Any] = self._master.records.buildsets()
        return found.addCallback(chosen)

    def getBuildsetProperties(self, key: int, no_cache: bool = False) -> Deferred[dict[str, tuple[Any, str]]]:
        """name -> (value, source); empty if there is no such buildset."""
        found: Deferred[Any] = self._master.records.buildsets([key])
        return found.addCallback(
            lambda found: {name: tuple(pair) for one in found for name, pair in one.properties.items()}
        )


class BuildRequests(_Part):
    """Build requests as dictionaries, with what ``data.get`` has of them."""

    def getBuildRequest(self, brid: int) -> Deferred[dict[str, Any] | None]:
        """One; None: there is none."""
        answer: Deferred[Any] = self._master.data.get(("buildrequests", brid))
        return answer

    def getBuildRequests(
        self,
        builderid: int | None = None,
        complete: bool | None = None,
        claimed: Any = None,
        bsid: int | None = None,
        branch: Any = _NOTHING,
        repository: Any = _NOTHING,
        resultSpec: Any = None,
    ) -> Deferred[list[dict[str, Any]]]:
        """The newest thousand, or what the arguments leave of them. ``claimed`` may be a master's id."""
        wanted = {"builderid": builderid, "complete": complete, "buildsetid": bsid}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        if claimed is not None:
            wanted["claimed" if isinstance(claimed, bool) else "claimed_by_masterid"] = claimed
        of_stamp = {"branch": branch, "repository": repository}
        of_stamp = {name: value for name, value in of_stamp.items() if value is not _NOTHING}

        async def chosen() -> list[dict[str, Any]]:
            found = await self._master.data.get(("buildrequests",))
            made = [one for one in found if all(one[name] == value for name, value in wanted.items())]
            if of_stamp:
                buildsets = await self._master.records.buildsets([one["buildsetid"] for one in made])
                stamps = {one.id: one.stamps.values() for one in buildsets}
                made = [one for one in made if _has_stamp(stamps.get(one["buildsetid"], ()), of_stamp)]
            return made if resultSpec is None else resultSpec.apply(made)

        return begin(chosen())


def _has_stamp(stamps: Iterable[StampFields], wanted: Mapping[str, Any]) -> bool:
    return any(all(getattr(stamp, name) == value for name, value in wanted.items()) for stamp in stamps)


class SourceStamps(_Part):
    """Source stamps as dictionaries."""

    def getSourceStamp(self, key: int, no_cache: bool = False) -> Deferred[dict[str, Any] | None]:
        """One; None: there is none."""
        answer: Deferred[Any] = self._master.data.get(("sourcestamps", key))
        return answer


class Builders(_Part):
    """The builders as configured."""

    def findBuilderId(self, name: str, autoCreate: bool = False) -> Deferred[int]:
        """The id of a builder. SchedulerFault: there is none."""
        known = self._master.known_builders()
        return succeed(known[name]) if name in known else fail(SchedulerFault(f"there is no builder {name!r}"))

    def getBuilder(self, builderid: int) -> Deferred[dict[str, Any] | None]:
        """One; None: there is none."""
        names = {number: name for name, number in self._master.known_builders().items()}
        return succeed(_builderdict(builderid, names[builderid]) if builderid in names else None)

    def getBuilders(self, masterid: int | None = None) -> Deferred[list[dict[str, Any]]]:
        """All of them."""
        return succeed([_builderdict(number, name) for name, number in self._master.known_builders().items()])


def _builderdict(builderid: int, name: str) -> dict[str, Any]:
    return {"id": builderid, "name": name, "description": None, "tags": [], "masterids": []}


def _bsdict(one: Any) -> dict[str, Any]:
    return {
        "bsid": one.id,
        "external_idstring": one.external_id,
        "reason": one.reason,
        "submitted_at": moment(one.submitted_at),
        "complete": one.result is not None,
        "complete_at": moment(one.completed_at),
        "results": number_of(one.result) if one.result is not None else -1,
        "parent_buildid": one.parent.get("parent_buildid"),
        "parent_relationship": one.parent.get("parent_relationship"),
        "sourcestamps": list(one.stamps),
    }
