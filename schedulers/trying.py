"""What schedulers of try jobs have in common: a developer's uncommitted diff becomes a buildset, once."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from .base import BaseScheduler
from .hooks import hook
from .own_names import foreign_builder, foreign_codebase
from .try_jobs import BadJob, TryJob

SOURCE = "try"


class TryBase(BaseScheduler):
    """Serves the jobs of ``locum try``, which arrive as durable messages from any host. Subclasses add other ways in."""

    def refusal(self, job: TryJob) -> str:
        """Why the job cannot be built here; '' if it can."""
        return foreign_builder(self, job.builders) or foreign_codebase(self, job.codebase)

    @hook
    async def tryJob(self, job: TryJob) -> tuple[int, dict[int, int]]:
        """(buildset id, {builder id: task id}). BadJob: it cannot be built."""
        why = self.refusal(job)
        if why:
            raise BadJob(why)
        stamp: dict[str, Any] = {"codebase": job.codebase, "branch": job.branch, "revision": job.baserev}
        defaults = await self._codebase_defaults(job.codebase)
        repository = job.repository or defaults.get("repository") or job.origin
        stamp |= {name: value for name, value in (("repository", repository), ("project", job.project)) if value}
        if job.branch is None:
            del stamp["branch"]
        if job.patch is not None:
            stamp["patch"] = {
                "body_base64": base64.b64encode(job.patch).decode("ascii"),
                **{"level": job.patch_level, "subdir": job.patch_subdir, "author": job.who, "comment": job.comment},
            }
        reason = "'try' job" + (f" by {job.who}" if job.who else "") + (f": {job.comment}" if job.comment else "")
        answer: tuple[int, dict[int, int]] = await self.addBuildsetForSourceStampsWithDefaults(
            reason=reason,
            sourcestamps=[stamp],
            properties=_properties(job),
            builderNames=list(job.builders) or None,
            external_idstring=job.jobid or None,
        )
        return answer


def _properties(job: TryJob) -> Mapping[str, Any]:
    found = {name: (value, SOURCE) for name, value in job.properties.items()}
    return {**found, "owner": (job.who, SOURCE)} if job.who else found
