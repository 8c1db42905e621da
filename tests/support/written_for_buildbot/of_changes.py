"""Schedulers of changes, as master configurations in the wild have them. Written for these tests."""

import copy
import os
import re

from buildbot.changes.filter import ChangeFilter
from buildbot.plugins import util
from buildbot.process.properties import Interpolate, Properties
from buildbot.schedulers import base
from buildbot.schedulers.basic import AnyBranchScheduler, SingleBranchScheduler
from buildbot.util import NotABranch, deferredLocked
from twisted.internet import defer
from twisted.python import log


class PullRequestScheduler(AnyBranchScheduler):
    """A change may say, by a property, which of the builders it is for."""

    def __init__(self, *args, stable=(), **kwargs):
        super().__init__(*args, **kwargs)
        self.stable = stable

    @defer.inlineCallbacks
    def addBuildsetForChanges(self, **kwargs):
        changeids = kwargs.get("changeids")
        if changeids and len(changeids) == 1:
            chdict = yield self.master.db.changes.getChange(changeids[0])
            wanted = chdict["properties"].get("builderfilter", None)
            if wanted:
                pattern, _source = wanted
                matcher = re.compile(pattern, re.IGNORECASE)
                names = kwargs.get("builderNames", self.builderNames)
                kwargs["builderNames"] = [name for name in names if matcher.search(name)]
                log.msg(f"filtered: {kwargs['builderNames']}")
        result = yield super().addBuildsetForChanges(**kwargs)
        return result


class PlatformScheduler(AnyBranchScheduler):
    """One for each platform, with a filter of its own."""

    def __init__(self, platform, branch, **kwargs):
        self.platform = platform
        only = ChangeFilter(branch=[branch, None], filter_fn=self.filter)
        AnyBranchScheduler.__init__(self, name=platform, change_filter=only, **kwargs)

    def filter(self, change):
        return any(name.startswith(f"platform/{self.platform}/") for name in change.files)


class PinnedScheduler(SingleBranchScheduler):
    """A commit's message may pin what goes with it."""

    pinned = None

    def gotChange(self, change, important):
        found = re.search(r"^Requires-lib:\s*(\S+)", change.comments, re.I | re.M)
        self.pinned = found.group(1) if found is not None else None
        if "base_branch" in change.properties:
            self.pinned = change.properties["base_branch"]
        return SingleBranchScheduler.gotChange(self, change, important)

    def getCodebaseDict(self, codebase):
        ss = copy.deepcopy(self.codebases[codebase])
        if codebase == "lib" and self.pinned is not None:
            ss["branch"] = self.pinned
        return ss


class ImageScheduler(SingleBranchScheduler):
    """Adds what a file says to the properties of each build."""

    def __init__(self, name, cache_file, **kwargs):
        self.cache_file = cache_file
        SingleBranchScheduler.__init__(self, name=name, **kwargs)

    @defer.inlineCallbacks
    def addBuildsetForChanges(self, *args, **kwargs):
        image = "none"
        if os.path.exists(self.cache_file):
            with open(self.cache_file) as f:
                image = f.read().strip()
        self.properties.setProperty("image", image, "Scheduler")
        rv = yield SingleBranchScheduler.addBuildsetForChanges(self, *args, **kwargs)
        defer.returnValue(rv)


class AtMostScheduler(SingleBranchScheduler):
    """Waits for a stable tree, but for so many changes at most. Its timers are its own, in memory."""

    compare_attrs = SingleBranchScheduler.compare_attrs + ("most",)  # noqa: RUF005

    def __init__(self, name, most, **kwargs):
        self.most = most
        self.counted = 0
        SingleBranchScheduler.__init__(self, name, **kwargs)

    def stableTimerFired(self, timer_name):
        self.counted = 0
        return SingleBranchScheduler.stableTimerFired(self, timer_name)

    def gotChange(self, change, important):
        timer_name = self.getTimerNameForChange(change)
        d = self.master.db.schedulers.classifyChanges(self.objectid, {change.number: important})

        def fix_timer(_):
            if not important and not self._stable_timers[timer_name]:
                return None
            self.counted += 1
            if self._stable_timers[timer_name]:
                self._stable_timers[timer_name].cancel()
                self._stable_timers[timer_name] = None
            if self.counted >= self.most:
                return self.stableTimerFired(timer_name)
            self._stable_timers[timer_name] = self._reactor.callLater(self.treeStableTimer, fire)
            return None

        def fire():
            self._stable_timers[timer_name] = None
            d = self.stableTimerFired(timer_name)
            d.addErrback(log.err, "while firing stable timer")

        d.addCallback(fix_timer)
        return d


class ProjectScheduler(AnyBranchScheduler):
    """One timer for each project, whatever the branch."""

    def getTimerNameForChange(self, change):
        return (change.codebase, change.project)

    @defer.inlineCallbacks
    def getChangeClassificationsForTimer(self, sched_id, timer_name):
        (codebase, project) = timer_name
        found = yield self.master.db.schedulers.getChangeClassifications(sched_id, codebase=codebase, project=project)
        return found


class EveryCodebaseScheduler(AnyBranchScheduler):
    """One source stamp for each change's codebase, whichever these are."""

    @defer.inlineCallbacks
    def addBuildsetForChanges(
        self,
        waited_for=False,
        reason="",
        external_idstring=None,
        changeids=None,
        builderNames=None,
        properties=None,
        **kw,
    ):
        newest = {}
        for changeid in changeids or []:
            chdict = yield self.master.db.changes.getChange(changeid)
            newest[chdict["codebase"]] = chdict
        stamps = [newest[codebase]["sourcestampid"] for codebase in sorted(newest)]
        if properties is None:
            properties = Properties()
        properties.setProperty("virtual_builder_name", "-".join(sorted(newest)), "spawner")
        bsid, brids = yield self.addBuildsetForSourceStamps(
            waited_for,
            sourcestamps=stamps,
            reason=reason,
            external_idstring=external_idstring,
            builderNames=builderNames,
            properties=properties,
            **kw,
        )
        return bsid, brids


class DocsScheduler(SingleBranchScheduler):
    """What is important is said by the class."""

    def __init__(self, branch, builders):
        super(DocsScheduler, self).__init__(  # noqa: UP008 - as it is written there
            name=f"docs-{branch}",
            change_filter=util.ChangeFilter(branch=branch),
            treeStableTimer=60,
            builderNames=builders,
        )

    @staticmethod
    def fileIsImportant(change):
        for filename in change.files:
            if not filename.startswith("doc/"):
                return 1
        return 0


class HotfixScheduler(base.BaseScheduler):
    """From scratch: consumes changes of its own accord, and counts them."""

    compare_attrs = base.BaseScheduler.compare_attrs + ("branch", "reason")  # noqa: RUF005

    def __init__(self, name, builderNames, branch=NotABranch, reason="hotfix", **kwargs):
        base.BaseScheduler.__init__(self, name, builderNames, **kwargs)
        if branch is NotABranch:
            raise ValueError("branch: it is required")
        self.branch = branch
        self.reason = reason
        self._lock = defer.DeferredLock()

    def startActivity(self):
        return self.startConsumingChanges(
            fileIsImportant=lambda change: change.properties.getProperty("event") == "push",
            change_filter=ChangeFilter(branch=self.branch),
            onlyImportant=True,
        )

    @deferredLocked("_lock")
    @defer.inlineCallbacks
    def gotChange(self, change, important):
        count = yield self.getState("count", 0)
        yield self.setState("count", count + 1)
        yield self.addBuildsetForSourceStampsWithDefaults(
            reason=self.reason,
            sourcestamps=[{"codebase": change.codebase, "revision": change.revision, "branch": change.branch}],
            properties={"count": count + 1, "when": int(change.when)},
        )


def build_by_files():
    """Builders that depend on what a change touches."""

    @util.renderer
    def builder_names(props):
        names = set()
        for name in props.files:
            names.add("docs" if name.endswith(".rst") else "unit")
        return sorted(names)

    return AnyBranchScheduler(
        name="by-files",
        builderNames=builder_names,
        properties={"label": Interpolate("%(prop:owner:-nobody)s on %(src::branch)s"), "big": util.Property("size", 0)},
    )
