"""Schedulers that somebody sets off. Written for these tests."""

from buildbot import config
from buildbot.plugins import schedulers
from buildbot.process.properties import Properties
from buildbot.schedulers.base import BaseScheduler
from buildbot.schedulers.forcesched import (
    CodebaseParameter,
    FixedParameter,
    ForceScheduler,
    StringParameter,
    ValidationError,
)
from buildbot.schedulers.triggerable import Triggerable
from twisted.internet import defer


class ReleaseTriggerable(Triggerable):
    """A trigger must say for which release it is; how it ended is kept."""

    def trigger(self, waited_for, sourcestamps=None, set_props=None, parent_buildid=None, parent_relationship=None):
        props = Properties()
        props.updateFromProperties(self.properties)
        if set_props:
            props.updateFromProperties(set_props)
        if not props.getProperty("release"):
            raise ValueError("release should be set")
        props.setProperty("tag", f"v{props.getProperty('release')}", "Release")
        ids, results = Triggerable.trigger(
            self,
            waited_for,
            sourcestamps,
            props,
            parent_buildid=parent_buildid,
            parent_relationship=parent_relationship,
        )
        results.addCallback(lambda outcome: self.setState("outcome", outcome[0]))
        return ids, results


class IssueParameter(StringParameter):
    """Field with its arguments in the class, and a way of its own to read what is typed."""

    label = "Issue:"
    required = True

    def parse_from_arg(self, s):
        number = s.lstrip("#")
        if not number.isdigit():
            raise ValidationError(f"{s!r} is not an issue")
        return int(number)


class NamedForceScheduler(ForceScheduler):
    """Nobody may force without a name; the revision is found where the form has none."""

    def __init__(self, name, builderNames, **kwargs):
        super().__init__(
            name=name,
            builderNames=builderNames,
            codebases=[CodebaseParameter("", branch=FixedParameter(name="branch", default="main"))],
            properties=[IssueParameter(name="issue")],
            **kwargs,
        )

    def force(self, owner, builder_name, **kwargs):
        if not owner:
            raise ValidationError("Please write your name in the corresponding field.")
        return ForceScheduler.force(self, owner, builder_name, **kwargs)

    @defer.inlineCallbacks
    def gatherPropertiesAndChanges(self, collector, **kwargs):
        properties, changeids, sourcestamps = yield super().gatherPropertiesAndChanges(collector, **kwargs)
        yield collector.collectValidationErrors("revision", self.add_revisions, sourcestamps)
        return properties, changeids, sourcestamps

    @defer.inlineCallbacks
    def add_revisions(self, sourcestamps):
        latest = yield self.master.db.changes.getLatestChangeid()
        if latest is None:
            raise ValidationError("there is no revision yet")
        change = yield self.master.db.changes.getChange(latest)
        for stamp in sourcestamps.values():
            stamp.setdefault("revision", change["revision"])

    @defer.inlineCallbacks
    def computeBuilderNames(self, builderNames=None, builderid=None):
        yield defer.succeed(None)
        return builderNames or self.builderNames[:1]


class OldForceScheduler(ForceScheduler):
    """With the arguments that it had before Buildbot 0.9."""

    def __init__(self, branch, builders):
        super(OldForceScheduler, self).__init__(  # noqa: UP008 - as it is written there
            name=f"force-{branch}",
            builderNames=builders,
            branch=FixedParameter(name="branch", default=branch),
            revision=FixedParameter(name="branch", default=""),
            repository=FixedParameter(name="repository", default=""),
            project=FixedParameter(name="project", default=""),
            properties=[],
        )


class ServiceScheduler(BaseScheduler):
    """Takes its arguments as services do."""

    compare_attrs = ("every", "extra")

    def checkConfig(self, builderNames, every=2, extra=None, **kwargs):
        super().checkConfig(builderNames, **kwargs)
        if every < 1:
            config.error(f"every: expected 1 or more, got {every}")

    @defer.inlineCallbacks
    def reconfigService(self, builderNames, every=2, extra=None, **kwargs):
        yield super().reconfigService(builderNames, **kwargs)
        self.every = every
        self.extra = extra

    @defer.inlineCallbacks
    def activate(self):
        yield super().activate()
        yield self.startConsumingChanges()

    @defer.inlineCallbacks
    def gotChange(self, change, important):
        yield self.master.db.schedulers.classifyChanges(self.serviceid, {change.number: important})
        waiting = yield self.master.db.schedulers.getChangeClassifications(self.serviceid)
        if len(waiting) >= self.every:
            yield self.addBuildsetForChanges(changeids=sorted(waiting), reason="enough")
            yield self.master.db.schedulers.flushChangeClassifications(self.serviceid, less_than=max(waiting) + 1)


class ServicedBranchScheduler(schedulers.SingleBranchScheduler):
    """The same style on a standard scheduler, name and all."""

    def checkConfig(self, name, builderNames, team=None, **kwargs):
        if team is None:
            config.error("team: it is required")
        super().checkConfig(name, builderNames, **kwargs)

    async def reconfigService(self, name, builderNames, team=None, **kwargs):
        await super().reconfigService(name, builderNames, **kwargs)
        self.properties.setProperty("team", team, "Scheduler")
