"""Schedulers of times. Written for these tests."""

from buildbot.schedulers.timed import Nightly, Periodic
from twisted.internet import defer


class WhenWantedNightly(Nightly):
    """A nightly build that somebody must have asked for by day."""

    @defer.inlineCallbacks
    def startBuild(self):
        wanted = yield self.getState("wanted", False)
        if wanted:
            yield self.setState("wanted", False)
            yield super().startBuild()


class TopUpPeriodic(Periodic):
    """Sees to it that each builder has so many requests waiting."""

    compare_attrs = ("most",)

    def __init__(self, name, most=1, **kwargs):
        self.most = most
        Periodic.__init__(self, name, **kwargs)

    @defer.inlineCallbacks
    def startBuild(self):
        builders = yield self.master.data.get(("builders",))
        for builder in builders:
            if builder["name"] not in self.builderNames:
                continue
            requests = yield self.master.data.get(("builders", builder["builderid"], "buildrequests"))
            waiting = [one for one in requests if not one["complete"]]
            for _ in range(self.most - len(waiting)):
                yield self.master.data.updates.addBuildset(
                    False,
                    scheduler=self.name,
                    sourcestamps=[
                        {"codebase": "", "repository": "", "branch": "main", "revision": None, "project": ""}
                    ],
                    reason="top up",
                    properties={"topped": (True, "TopUp")},
                    builderids=[builder["builderid"]],
                )
