"""Rows as the dictionaries of Buildbot's data API: what ``data.get`` answers and what messages hold. Times are in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..changes import Change as NewChange
from ..interface import StampFields
from ..records import Buildset, Holder, Request
from .changes.changes import as_known, stamp_number
from .process.results import number_of
from .times import seconds


def builder_row(builderid: int, name: str) -> dict[str, Any]:
    """A builder."""
    return {"builderid": builderid, "name": name, "description": None, "tags": [], "masterids": [], "projectid": None}


def stamp_row(ssid: int, stamp: StampFields, created_at: int | None = None) -> dict[str, Any]:
    """A source stamp."""
    return {
        "ssid": ssid,
        "branch": stamp.branch,
        "revision": stamp.revision,
        "repository": stamp.repository,
        "project": stamp.project,
        "codebase": stamp.codebase,
        "patch": None if stamp.patch_json is None else {"body": stamp.patch_json},
        "created_at": created_at,
    }


def change_row(change: NewChange) -> dict[str, Any]:
    """A change."""
    known = as_known(change)
    stamp = StampFields(known.codebase, known.repository, known.branch, known.revision, known.project)
    when = int(known.when)
    return {
        "changeid": known.number,
        "author": known.who,
        "committer": known.committer,
        "files": list(known.files),
        "comments": known.comments,
        "revision": known.revision,
        "when_timestamp": when,
        "branch": known.branch,
        "category": known.category,
        "revlink": known.revlink,
        "properties": known.properties.asDict(),
        "repository": known.repository,
        "project": known.project,
        "codebase": known.codebase,
        "parent_changeids": [],
        "sourcestamp": stamp_row(stamp_number(known), stamp, when),
    }


def buildset_row(one: Buildset) -> dict[str, Any]:
    """A buildset."""
    submitted = seconds(one.submitted_at)
    return {
        "bsid": one.id,
        "external_idstring": one.external_id,
        "reason": one.reason,
        "submitted_at": submitted,
        "complete": one.result is not None,
        "complete_at": seconds(one.completed_at),
        "results": number_of(one.result),
        "sourcestamps": [stamp_row(number, stamp, submitted) for number, stamp in one.stamps.items()],
        "parent_buildid": one.parent.get("parent_buildid"),
        "parent_relationship": one.parent.get("parent_relationship"),
        "rebuilt_buildid": one.parent.get("rebuilt_buildid"),
    }


def request_row(one: Request) -> dict[str, Any]:
    """A build request."""
    return {
        "buildrequestid": one.id,
        "buildsetid": one.buildset_id,
        "builderid": one.builder_id,
        "buildername": one.builder,
        "priority": one.priority,
        "claimed": one.started_at is not None,
        "claimed_at": seconds(one.started_at),
        "claimed_by_masterid": one.incarnation,
        "complete": one.ended,
        "complete_at": seconds(one.finished_at) if one.ended else None,
        "results": number_of(one.result) if one.ended else -1,
        "submitted_at": seconds(one.submitted_at),
        "waited_for": one.waited_for,
        "properties": None,
    }


def build_row(one: Request) -> dict[str, Any]:
    """The build of a request that has been started."""
    return {
        "buildid": one.id,
        "number": one.id,
        "builderid": one.builder_id,
        "buildrequestid": one.id,
        "workerid": one.incarnation,
        "masterid": one.incarnation,
        "started_at": seconds(one.started_at),
        "complete": one.ended,
        "complete_at": seconds(one.finished_at) if one.ended else None,
        "results": number_of(one.result) if one.ended else None,
        "state_string": one.status_line,
        "properties": {},
    }


def builds(requests: Sequence[Request]) -> list[dict[str, Any]]:
    """Those of requests that have been started."""
    return [build_row(one) for one in requests if one.started_at is not None]


def scheduler_row(one: Holder) -> dict[str, Any]:
    """A scheduler."""
    return {"schedulerid": one.id, "name": one.name, "enabled": one.enabled, "master": one.master}
