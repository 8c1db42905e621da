"""``BaseScheduler`` for subclasses that were written for Buildbot."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import wraps
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from ...base import BaseScheduler as NewBaseScheduler
from ...base import Clustered
from ...changes import Change as NewChange
from ...hooks import answered, hook
from ...interface import StampFields
from ...rendering import is_renderable
from ..absent import absent
from ..changes.changes import as_known
from ..master import OldMaster
from ..mq import TIMER
from ..process.properties import Properties, with_sources
from ..triggered import asked_as_before

__all__ = ["BaseScheduler", "isScheduler"]

PRIVATE: Mapping[str, str] = {
    "_changeCallback": "give startConsumingChanges a change_filter, or define gotChange",
    "_buildset_complete_cb": "define gotBuildsetComplete, or use self.master.mq.startConsuming",
    "_buildsetComplete": "define gotBuildsetComplete, or use self.master.mq.startConsuming",
    "_buildset_new_cb": "use self.master.mq.startConsuming for ('buildsets', None, 'new')",
    "run": "it was called before Buildbot 0.8.4; define gotChange",
    "addChange": "it was called before Buildbot 0.8.4; define gotChange",
    "fireTimer": "it was called before Buildbot 0.8.4; define stableTimerFired",
    "getNextBuildTime": "a subclass of Timed gives rule(anchor) and fingerprint()",
    "start_HEAD_build": "it was called before Buildbot 0.8.4; define startBuild",
}
"""Methods of Buildbot's own that some override, and that nobody calls here."""


class BaseScheduler(NewBaseScheduler):
    """Locum's, with the attributes and the master that such code knows.

    Arguments may be taken by ``__init__``, or by ``checkConfig`` and ``reconfigService``, which are then called when the
    scheduler is made: their Deferreds must have fired when they return.
    """

    DEFAULT_CODEBASES: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}}
    _configured_by_methods: ClassVar[bool] = False

    properties: Properties  # type: ignore[assignment]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, instead in PRIVATE.items():
            if name in cls.__dict__:
                raise TypeError(f"{cls.__name__}.{name} would never be called here: {instead}")
        got_change = cls.__dict__.get("gotChange")
        if inspect.isfunction(got_change) and not inspect.isgeneratorfunction(got_change):
            cls.gotChange = _knowing(got_change)  # type: ignore[method-assign]
        trigger = cls.__dict__.get("trigger")
        if inspect.isfunction(trigger):
            cls.trigger = asked_as_before(trigger)  # type: ignore[attr-defined]
        if "reconfigService" in cls.__dict__ or "checkConfig" in cls.__dict__:
            cls._configured_by_methods = True
            if "__init__" not in cls.__dict__:
                cls.__init__ = _constructor(cls)  # type: ignore[method-assign]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if self._configured_by_methods and not self.__dict__.get("_configuring"):
            self._configure(*args, **kwargs)
            return
        super().__init__(*args, **kwargs)
        if isinstance(self.builderNames, tuple):
            self.builderNames = list(self.builderNames)
        self.properties = Properties.fromDict(self.properties, "Scheduler")
        self.properties.setProperty("scheduler", self.name, "Scheduler")

    # -- arguments by methods -------------------------------------------------------------------------------------

    def checkConfig(self, *args: Any, **kwargs: Any) -> Any:
        """For an up-call. What is wrong with the arguments is said by the constructor, right after."""

    def reconfigService(self, *args: Any, **kwargs: Any) -> Deferred[None]:
        """For an up-call: takes the arguments that are not the subclass's own, with or without the name."""
        given = dict(zip(("builderNames",) if len(args) == 1 else ("name", "builderNames"), args, strict=False))
        BaseScheduler.__init__(self, **{"name": self.name, **given, **kwargs})
        return succeed(None)

    def _configure(self, *args: Any, **kwargs: Any) -> None:
        given = {**dict(zip(("name", "builderNames"), args, strict=False)), **kwargs}
        self._configuring = True
        Clustered.__init__(self, given.pop("name", ""))
        for method in (self.checkConfig, self.reconfigService):
            named = {"name": self.name} if "name" in inspect.signature(method).parameters else {}
            _has_answered(method(**named, **given), f"{type(self).__name__}.{method.__name__}")
        del self._configuring

    # -- its master -----------------------------------------------------------------------------------------------

    @property
    def master(self) -> Any:
        """What such code knows as its master."""
        return self._master

    @master.setter
    def master(self, seat: Any) -> None:
        self._master = OldMaster(self, seat)

    @property
    def _reactor(self) -> Any:
        return self.master.reactor

    @property
    def serviceid(self) -> int:
        """Its number in the database."""
        number: int = self.master.records.scheduler_id
        return number

    schedulerid = objectid = serviceid

    def isActive(self) -> bool:
        """Whether this instance is the owner."""
        return self.active

    def startService(self) -> Any:
        """Answers with a Deferred, as it did."""
        super().startService()  # type: ignore[no-untyped-call]
        return succeed(None)

    def stopService(self) -> Any:
        """Answers with a Deferred, as it did."""
        super().stopService()  # type: ignore[no-untyped-call]
        return succeed(None)

    # -- causes and buildsets -------------------------------------------------------------------------------------

    @hook
    async def gotTimer(self, key: str, due: datetime) -> None:
        if key.startswith(TIMER):
            await self.master.mq.deliver(key)
        else:
            await answered(super().gotTimer(key, due))

    def listBuilderNames(self) -> list[str]:
        names = self.builderNames if isinstance(self.builderNames, (list, tuple)) else ()
        return [name for name in names if not is_renderable(name)]

    async def _add(
        self,
        stamps: Sequence[Mapping[str, Any] | StampFields],
        changes: Sequence[NewChange],
        reason: str,
        waited_for: bool,
        properties: Any,
        builder_names: Any,
        priority: Any,
        options: dict[str, Any],
    ) -> tuple[int, dict[int, int]]:
        given, known = with_sources(properties), [as_known(change) for change in changes]
        return await super()._add(stamps, known, reason, waited_for, given, builder_names, priority, options)


def isScheduler(given: object) -> bool:
    """Whether it is one."""
    return isinstance(given, NewBaseScheduler)


def _knowing(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def got_change(self: Any, change: NewChange, important: bool) -> Any:
        return function(self, as_known(change), important)

    return got_change


def _constructor(cls: type) -> Callable[..., None]:
    """An ``__init__`` that says which arguments the methods take."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        above: Any = super(cls, self)
        above.__init__(*args, **kwargs)

    names: dict[str, inspect.Parameter] = {"name": inspect.Parameter("name", inspect.Parameter.KEYWORD_ONLY)}
    passes_on = True
    for method in ("checkConfig", "reconfigService"):
        if method in cls.__dict__:
            parameters = list(inspect.signature(cls.__dict__[method]).parameters.values())[1:]
            passes_on = any(one.kind is one.VAR_KEYWORD for one in parameters)
            kept = [one for one in parameters if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
            names |= {one.name: one.replace(kind=one.KEYWORD_ONLY) for one in kept}
    first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    rest = [inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)] if passes_on else []
    __init__.__signature__ = inspect.Signature([first, *names.values(), *rest])  # type: ignore[attr-defined]
    return __init__


def _has_answered(answer: Any, what: str) -> None:
    """Raise what a configuring method failed with; it may not wait for anything."""
    if inspect.iscoroutine(answer):
        answer = Deferred.fromCoroutine(answer)
    if not isinstance(answer, Deferred):
        return
    outcome: list[Any] = []
    answer.addBoth(outcome.append)
    if not outcome:
        raise TypeError(
            f"{what} waits for something: it is called when the scheduler is made, long before it is active"
        )
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()


__getattr__ = absent(__name__)
