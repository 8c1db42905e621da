"""Collapsing: of several unstarted tasks of one builder that would build the same branch, only the newest runs.

Decided where tasks are claimed, under the lock of the builder's row, so it is the same whichever master takes them. What is
collapsed keeps its place in the queue for the one that runs: a stream of new changes cannot keep it waiting for ever.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy.engine import Connection

from .sql import Statement

_QUEUED = Statement(
    "SELECT t.id, t.builder_id, t.buildset_id, t.submitted_at, b.scheduler, b.waited_for, b.properties_json,"
    " EXISTS (SELECT 1 FROM buildset_changes c WHERE c.buildset_id = b.id) AS has_changes"
    " FROM {rows(id bigint)} AS r JOIN tasks t ON t.builder_id = r.id AND t.state = 'queued' AND t.attempt = 0"
    " JOIN buildsets b ON b.id = t.buildset_id ORDER BY t.submitted_at, t.id"
)
_STAMPS = Statement(
    "SELECT bs.buildset_id, s.codebase, s.repository, s.branch, s.revision, s.project, s.patch_json IS NOT NULL AS patched"
    " FROM {rows(id bigint)} AS r JOIN buildset_sourcestamps bs ON bs.buildset_id = r.id"
    " JOIN sourcestamps s ON s.id = bs.sourcestamp_id"
)


def newest_of(conn: Connection, builders: Collection[int], candidates: Sequence[int]) -> dict[int, list[int]]:
    """{task to run: the older tasks that it stands for} of the candidates, in their order; without those of other builders.

    Two are of one kind if they are the same scheduler's, build the same branches of the same codebases without a patch (and,
    unless they are for changes, the same revisions), have the same properties but for those of changes, and nobody waits for either.
    """
    queued = _QUEUED.with_rows(conn, [(i,) for i in sorted(builders)]).all()
    buildsets = sorted({row.buildset_id for row in queued})
    stamps: dict[int, list[Any]] = {i: [] for i in buildsets}
    if buildsets:
        for stamp in _STAMPS.with_rows(conn, [(i,) for i in buildsets]):
            stamps[stamp.buildset_id].append(stamp)
    kinds: dict[int, object] = {}
    groups: dict[object, list[int]] = {}
    for row in queued:
        kind = kinds[row.id] = _kind(row, stamps[row.buildset_id])
        groups.setdefault(kind, []).append(row.id)
    chosen: dict[int, list[int]] = {}
    for task in candidates:
        if task in kinds:
            *older, newest = groups[kinds[task]]
            chosen[newest] = older
    return chosen


def _kind(row: Any, stamps: Sequence[Any]) -> object:
    """Equal for tasks that may collapse into one another; of one that may not, nobody else's."""
    if row.waited_for or any(stamp.patched for stamp in stamps):
        return ("alone", row.id)
    sources = frozenset(
        (s.codebase, s.repository, s.branch, s.project, None if row.has_changes else s.revision) for s in stamps
    )
    properties = {n: v for n, (v, source) in json.loads(row.properties_json).items() if source != "Change"}
    return row.builder_id, row.scheduler, bool(row.has_changes), sources, json.dumps(properties, sort_keys=True)
