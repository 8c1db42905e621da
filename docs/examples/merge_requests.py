"""Merge requests: one build for each label of one, and none for what nobody has labelled.

For builds that are too dear for every merge request: somebody labels it ``gpu``, and its GPU tests run, once for each
revision. Whatever tells of merge requests hands each event over as a change, and may hand it over again:

    locum change add --who ann --branch fix --revision c0ffee --property merge_request=7 --property labels=gpu,release

with ``--property closed=yes`` when it is closed or merged.

    plugins: [./merge_requests.py]
    schedulers:
      - type: merge_requests.MergeRequestLabels
        name: labelled
        labels:
          gpu: [gpu-tests]
          release: [package, notify]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from locum.schedulers import BaseScheduler, Change, ChangeFilter


class MergeRequestLabels(BaseScheduler):
    """A buildset for each label and revision of a merge request. One that is not wanted any more is cancelled: there is a
    newer revision, the label was taken off, or the merge request is closed.

    State ``open``: merge request -> label -> its revision and the id of its buildset.
    """

    compare_attrs: ClassVar[Sequence[str]] = ("labels",)

    def __init__(
        self, name: str, labels: Mapping[str, Sequence[str]], properties: Mapping[str, Any] | None = None
    ) -> None:
        if not labels or not isinstance(labels, Mapping):
            raise ValueError(f"labels: expected a mapping of labels to lists of builders, got {labels!r}")
        self.labels = {label: list(builders) for label, builders in labels.items()}
        builders = dict.fromkeys(builder for some in self.labels.values() for builder in some)
        super().__init__(name, list(builders), properties=properties)

    async def activate(self) -> None:
        await super().activate()
        about_one = ChangeFilter(filter_fn=lambda change: "merge_request" in change.properties)
        await self.startConsumingChanges(change_filter=about_one)

    async def gotChange(self, change: Change, important: bool) -> None:
        requests = await self.getState("open", {})
        which = f"{change.repository}!{change.properties['merge_request']}"
        wanted = [label for label in self.labels if label in _labels(change)]
        built = requests.pop(which, {})
        for label, (revision, bsid) in list(built.items()):
            if label not in wanted or revision != change.revision:
                await self.master.cancel_buildset(bsid, f"{self.name}: of {which}, {label} is not wanted any more")
                del built[label]
        for label in wanted:
            if label not in built:
                bsid, _ = await self.addBuildsetForChanges(
                    reason=f"{label} of {which}",
                    changeids=[change.number],
                    builderNames=self.labels[label],
                    properties={"label": label},
                )
                built[label] = (change.revision, bsid)
        if built:
            requests[which] = built
        await self.setState("open", requests)


def _labels(change: Change) -> Sequence[str]:
    """Those that it has now; a list, or a text with commas."""
    if change.properties.get("closed"):
        return []
    labels: Any = change.properties.get("labels") or []
    return labels.split(",") if isinstance(labels, str) else labels
