"""Rows of the database as schedulers see them."""

from __future__ import annotations

from ..db.buildsets import FinishedRow
from ..db.changes import ChangeRow
from ..schedulers.changes import Change
from ..schedulers.interface import FinishedBuildset


def change_of(row: ChangeRow) -> Change:
    """A change as schedulers and filters get it."""
    return Change(
        number=row.number,
        who=row.who,
        files=row.files,
        comments=row.comments,
        branch=row.branch,
        revision=row.revision,
        when=row.when_at,
        category=row.category,
        repository=row.repository,
        codebase=row.codebase,
        project=row.project,
        properties=row.properties,
        revlink=row.revlink,
        committer=row.committer,
    )


def finished_of(row: FinishedRow) -> FinishedBuildset:
    """A completed buildset as ``gotBuildsetComplete`` gets it."""
    return FinishedBuildset(
        id=row.id,
        number=row.number,
        scheduler=row.scheduler,
        reason=row.reason,
        result=row.result,
        external_id=row.external_id,
        properties=row.properties,
        changes=row.changes,
        completed_at=row.completed_at,
    )
