import json
import os

from buildbot.changes.filter import ChangeFilter
from buildbot.changes.gitpoller import GitPoller
from buildbot.process.factory import BuildFactory
from buildbot.scheduler import AnyBranchScheduler, Triggerable
from buildbot.util import identifiers as buildbot_identifiers
from buildbot.worker import Worker

main_filter = ChangeFilter(branch=["main", None])


class PlatformScheduler(AnyBranchScheduler):
    def __init__(self, platform, branch, **kwargs):
        self.platform = platform
        only = ChangeFilter(branch=[branch, None], filter_fn=self.filter)
        AnyBranchScheduler.__init__(self, name=platform, change_filter=only, **kwargs)

    def filter(self, change):
        return any(name.startswith(self.platform) for name in change.files)


def load(c):
    with open(os.path.join(os.path.dirname(__file__), "config.json")) as f:
        config = json.load(f)
    c["workers"] = [Worker(worker["name"], "password", max_builds=1) for worker in config["workers"]]
    c["builders"] = []
    for builder in config["builders"]:
        if not buildbot_identifiers.ident_re.match(builder["name"]):
            raise Exception("Builder name %s is not valid" % builder["name"])
        builder["factory"] = BuildFactory()
        del builder["type"], builder["platform"]
        c["builders"].append(builder)
    c["schedulers"] = []
    for scheduler in config["schedulers"]:
        cls = globals()[scheduler.pop("type")]
        name = scheduler.get("name")

        def filter_fn(change, name=name):
            return change.properties.getProperty("event") == name

        if name == "event":
            scheduler["change_filter"] = ChangeFilter(filter_fn=filter_fn)
        if scheduler.get("change_filter") == "main_filter":
            scheduler["change_filter"] = main_filter
        c["schedulers"].append(cls(**scheduler))


def poller(util):
    return GitPoller(repourl="https://git.example.org/engine.git", branches=lambda name: name.startswith("main"), project="engine")
