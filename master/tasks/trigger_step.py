"""The ``trigger`` step: has other schedulers make buildsets, and waits for them if it is told to.

Each request is a durable message, keyed by task, attempt, step and scheduler: whichever master the scheduler is active on, and
whatever happens to it meanwhile, an attempt's step triggers it once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred

from ...config.builders import StepSection
from ...db.errors import DatabaseError
from ...db.task_states import Result
from ...db.tasks import SourceStamp
from ...schedulers.interface import SchedulerFault
from ...schedulers.rendering import Props, interpolated, rendered, whole_reference
from .outcomes import Gone, Request
from .step_run import StepFailed, StepRun

GOOD = (Result.SUCCESS, Result.SKIPPED, Result.WARNINGS)


async def run_trigger(run: StepRun, section: StepSection) -> int:
    """Trigger all that the step names; 0. Raises StepFailed, Interrupted."""
    try:
        body = await _body(run, section)
        props = Props(run.properties)
        important = [interpolated(name, props) for name in section.schedulerNames]
        others = [interpolated(name, props) for name in section.unimportantSchedulerNames]
    except SchedulerFault as error:
        raise StepFailed(str(error)) from None
    names = list(dict.fromkeys([*important, *others]))
    # All are asked before any is waited for: they work beside one another.
    asked = {name: run.outcomes.ask(_request(run, name, body)) for name in names}
    try:
        buildsets = await _made(run, asked, important)
    finally:
        _cancel(asked.values())
    if section.waitForFinish:
        waiting = {name: run.outcomes.completed(buildset) for name, buildset in buildsets.items()}
        try:
            await _completed(run, waiting, buildsets, important)
        finally:
            _cancel(waiting.values())
    return 0


async def _made(run: StepRun, asked: Mapping[str, Deferred[dict[str, Any]]], important: list[str]) -> dict[str, int]:
    """{scheduler: the buildset that it made}. StepFailed: an important one refused."""
    buildsets: dict[str, int] = {}
    refused: list[str] = []
    for name, waiting in asked.items():
        try:
            answer = await run.wait(waiting)
        except (DatabaseError, Gone) as error:
            answer = {"error": str(error)}
        if "error" in answer:
            why = str(answer.get("why") or answer["error"])
            run.output.line(f"Locum: {name} refused: {why}")
            if name in important:
                refused.append(f"{name} refused: {why}")
        elif answer.get("buildset") is None:
            run.output.line(f"Locum: {name} keeps it for its next time")
        else:
            buildsets[name] = answer["buildset"]
            run.output.line(f"Locum: {name} made buildset {answer['buildset']}")
    if refused:
        raise StepFailed("; ".join(refused))
    return buildsets


async def _completed(
    run: StepRun, waiting: Mapping[str, Deferred[str]], buildsets: Mapping[str, int], important: list[str]
) -> None:
    """StepFailed: an important one did not succeed."""
    bad: list[str] = []
    for name, one in waiting.items():
        try:
            result = await run.wait(one)
        except Gone:
            result = Result.EXCEPTION
        line = f"buildset {buildsets[name]} of {name}: {result}"
        run.output.line(f"Locum: {line}")
        if name in important and result not in GOOD:
            bad.append(line)
    if bad:
        raise StepFailed("; ".join(bad))


def _cancel(waiting: Iterable[Deferred[Any]]) -> None:
    for one in waiting:
        one.addErrback(lambda _: None)  # nobody listens any more
        one.cancel()


def _request(run: StepRun, name: str, body: Mapping[str, Any]) -> Request:
    task, attempt = run.task
    return Request(name, f"trigger:{task}:{attempt}:{run.number}", "trigger", body, f"task {task}")


async def _body(run: StepRun, section: StepSection) -> dict[str, Any]:
    props = Props(run.properties)
    properties = {
        name: await rendered(whole_reference(value) or value, props) for name, value in section.set_properties.items()
    }
    return {
        "waited_for": section.waitForFinish,
        "sourcestamps": _stamps(run, section, props),
        "set_props": properties,
        "parent_buildid": run.task[0],
        "parent_relationship": "Triggered from",
        "priority": section.priority,
    }


def _stamps(run: StepRun, section: StepSection, props: Props) -> list[dict[str, Any]]:
    if section.alwaysUseLatest:
        return []
    if section.sourceStamps:
        return [
            {key: interpolated(value, props) or None for key, value in stamp.items()} for stamp in section.sourceStamps
        ]
    return [dict(_updated(stamp, run, section)) for stamp in run.sourcestamps]


def _updated(stamp: SourceStamp, run: StepRun, section: StepSection) -> SourceStamp:
    """With the revision that was checked out: the branch may have moved on since."""
    got = run.properties.get("got_revision")
    mine = stamp["codebase"] == "" or len(run.sourcestamps) == 1
    if section.updateSourceStamp and mine and isinstance(got, str):
        return {**stamp, "revision": got}
    return stamp
