"""Schedulers that listen to what happens. Written for these tests."""

from buildbot.interfaces import ITriggerableScheduler
from buildbot.process.results import FAILURE, SUCCESS, WARNINGS
from buildbot.schedulers.base import BaseScheduler
from twisted.internet import defer
from zope.interface import implementer


class AggregatingScheduler(BaseScheduler):
    """Builds once each of several builders has succeeded."""

    compare_attrs = ("upstreamBuilders", "okResults")

    def __init__(self, name, builderNames, upstreamBuilders, okResults=(SUCCESS, WARNINGS), **kwargs):
        BaseScheduler.__init__(self, name, builderNames, **kwargs)
        self.upstreamBuilders = upstreamBuilders
        self.okResults = okResults
        self._consumer = None

    @defer.inlineCallbacks
    def activate(self):
        yield super().activate()
        self._object = yield self.master.db.state.getObjectId(self.name, self.__class__.__name__)
        self._consumer = yield self.master.mq.startConsuming(self._complete, ("buildrequests", None, "complete"))

    @defer.inlineCallbacks
    def deactivate(self):
        if self._consumer:
            yield self._consumer.stopConsuming()
            self._consumer = None
        yield super().deactivate()

    @defer.inlineCallbacks
    def _complete(self, key, msg):
        builder = yield self.master.data.get(("builders", msg["builderid"]))
        left = yield self.master.db.state.getState(self._object, "left", self.upstreamBuilders)
        if builder["name"] not in left or msg["results"] not in self.okResults:
            return
        left = [name for name in left if name != builder["name"]]
        if not left:
            yield self.addBuildsetForSourceStampsWithDefaults(reason=f"all of {', '.join(self.upstreamBuilders)}")
            left = self.upstreamBuilders
        yield self.master.db.state.setState(self._object, "left", left)


class RetryFailedScheduler(BaseScheduler):
    """Asks again, once, for what has failed: the same source stamps."""

    @defer.inlineCallbacks
    def activate(self):
        yield super().activate()
        yield self.master.mq.startConsuming(self._buildset, ("buildsets", None, "complete"))

    @defer.inlineCallbacks
    def _buildset(self, key, msg):
        if msg["results"] != FAILURE:
            return
        properties = yield self.master.data.get(("buildsets", msg["bsid"], "properties"))
        if properties.get("scheduler", (None, None))[0] == self.name:
            return
        yield self.addBuildsetForSourceStamps(
            sourcestamps=[ss["ssid"] for ss in msg["sourcestamps"]],
            reason=f"{msg['reason']}, again",
            properties={"again": (msg["bsid"], "Retry")},
            external_idstring=key[1],
        )


@implementer(ITriggerableScheduler)
class ChangeLog(BaseScheduler):
    """Keeps count of whatever comes, by three ways."""

    def __init__(self, *args, fail=(), **kwargs):
        super().__init__(*args, **kwargs)
        self.fail = list(fail)

    async def activate(self):
        await super().activate()
        for topic in ("changes", "buildrequests", "builds"):
            await self.master.mq.startConsuming(self.note, (topic, None, None))
        self.qref = await self.master.mq.startConsuming(self.never, ("changes", None, "new"))
        self.qref.stopConsuming()

    async def note(self, key, msg):
        await self.setState(".".join(key), await self.getState(".".join(key), 0) + 1)
        if ".".join(key) in self.fail:
            raise RuntimeError("not today")

    def never(self, key, msg):
        raise AssertionError("it has stopped consuming")
