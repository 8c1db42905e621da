"""How a scheduler's turn answers a message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..db.messages import Message
from ..schedulers.base import BaseScheduler, answered
from ..schedulers.calendar import Calendar
from ..schedulers.force import ForceScheduler
from ..schedulers.own_names import foreign_builder, foreign_codebase
from ..schedulers.parameters import CollectedValidationError
from ..schedulers.try_jobs import BadJob, job_of
from ..schedulers.trying import TryBase


def serving(message: Message) -> Callable[[Any], Any]:
    """The function that answers ``message`` inside a turn of its scheduler."""
    if message.fault:
        return lambda scheduler: _unreadable(message.fault)
    if message.kind == "force":
        return lambda scheduler: _force(scheduler, message.body)
    if message.kind == "try":
        return lambda scheduler: _try(scheduler, message.body)
    if message.kind == "trigger":
        return lambda scheduler: _trigger(scheduler, message.body)
    if message.kind in _OPERATIONS:
        return lambda scheduler: _operate(scheduler, _OPERATIONS[message.kind], message.body)
    return lambda scheduler: _unknown(message.kind)


_OPERATIONS = {"run_now": "runNow", "backfill": "backfill"}


async def _operate(scheduler: Any, operation: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    method = getattr(scheduler, operation, None)
    if not callable(method):
        kind = type(scheduler).__name__
        return {
            "error": f"{scheduler.name!r} is a {kind}, which has no times of its own; 'locum force' asks for a buildset"
        }
    if isinstance(scheduler, Calendar) and "schedule" not in body:
        return {"error": f"{scheduler.name!r} serves stored schedules; write 'locum schedule', and which of them"}
    answer: Mapping[str, Any] = await answered(method(**body))
    return answer


async def _unreadable(fault: str) -> Mapping[str, Any]:
    return {"error": fault}


async def _unknown(kind: str) -> Mapping[str, Any]:
    return {"error": f"this release does not know messages of kind {kind!r}; upgrade its masters"}


async def _force(scheduler: Any, body: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(scheduler, BaseScheduler) or not scheduler.requests_work:
        return {"error": f"{scheduler.name!r} requests no work, so it cannot be forced"}
    if isinstance(scheduler, ForceScheduler):
        return await _form(scheduler, body)
    if body.get("form"):
        kind = type(scheduler).__name__
        return {"error": f"{scheduler.name!r} is a {kind}, which has no form; only a ForceScheduler takes parameters"}
    names, codebase = body.get("builderNames"), body.get("codebase")
    foreign = foreign_builder(scheduler, names) or foreign_codebase(scheduler, codebase)
    if foreign:
        return {"error": foreign}
    if codebase is None:
        codebase = "" if "" in scheduler.codebases else next(iter(scheduler.codebases))
    given = {key: body[key] for key in ("branch", "revision", "repository", "project") if body.get(key)}
    properties = {name: (value, "Force") for name, value in (body.get("properties") or {}).items()}
    owner = body.get("owner")
    if owner:
        properties.setdefault("owner", (owner, "Force"))
    bsid, brids = await answered(
        scheduler.addBuildsetForSourceStampsWithDefaults(
            reason=body.get("reason") or "forced",
            sourcestamps=[{"codebase": codebase, **given}] if given else [],
            properties=properties,
            builderNames=names,
            priority=body.get("priority"),
        )
    )
    return _added(scheduler, bsid, brids)


async def _form(scheduler: ForceScheduler, body: Mapping[str, Any]) -> Mapping[str, Any]:
    foreign = foreign_codebase(scheduler, body.get("codebase"))
    if foreign:
        return {"error": foreign, "errors": {"codebase": foreign}}
    values: dict[str, Any] = {**(body.get("properties") or {}), **(body.get("form") or {})}
    for key in ("branch", "revision", "repository", "project"):
        if body.get(key):
            values.setdefault(scheduler.fieldOf(body.get("codebase"), key), body[key])
    for field, value in ((scheduler.reason, body.get("reason")), (scheduler.priorityField, body.get("priority"))):
        if value not in (None, ""):  # 0 is a priority
            values.setdefault(field.fullName, value)
    try:
        return _added(scheduler, *(await scheduler.force(body.get("owner") or "", body.get("builderNames"), values)))
    except CollectedValidationError as error:  # a person's slip, not the scheduler's fault
        return {"error": str(error), "errors": error.errors}


async def _trigger(scheduler: Any, body: Mapping[str, Any]) -> Mapping[str, Any]:
    trigger = getattr(scheduler, "trigger", None)
    if not callable(trigger):
        kind = type(scheduler).__name__
        return {"error": f"{scheduler.name!r} is a {kind}; only Triggerable and NightlyTriggerable can be triggered"}
    answer = await answered(trigger(**body))
    if not isinstance(answer, tuple):
        return {"buildset": None, "tasks": {}}  # kept for later
    return _added(scheduler, *answer)


async def _try(scheduler: Any, body: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(scheduler, TryBase):
        kind = type(scheduler).__name__
        return {"error": f"{scheduler.name!r} is a {kind}; only Try_Userpass and Try_Jobdir take try jobs"}
    try:
        return _added(scheduler, *(await scheduler.tryJob(job_of(body))))
    except BadJob as error:  # a person's slip, not the scheduler's fault
        return {"error": str(error)}


def _added(scheduler: Any, bsid: int, brids: Mapping[int, int]) -> Mapping[str, Any]:
    by_id = {i: name for name, i in scheduler.master.known_builders().items()}
    return {"buildset": bsid, "tasks": {by_id[i]: task for i, task in brids.items()}}
