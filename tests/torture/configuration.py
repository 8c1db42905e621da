"""What the masters of a run are told to do: schedulers of every kind there is, a git repository, and what tasks do.

``entries(variant)`` is pure: variant 0 is what all begin with; each other number changes the schedulers named ``var-*``,
so that two masters can be given two configurations, and a reconfiguration is a change of the number. Paths are relative to
the masters' files, which are in the run's folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

PLUGIN = Path(__file__).with_name("plugin.py")
LEASE_S = 3.0
HEARTBEAT_S = 0.6
LOST_AFTER_S = 8.0
TURN_TIMEOUT_S = 5.0
BRANCHES = ("main", "one", "two", "three", "four", "rare")
CATEGORIES = ("code", "docs")
GIT_BRANCHES = ("trunk", "side")
"""of the git repository; no other change is of these"""
SOURCE = "git"
"""the change source's name"""
USER, PASSWORD = "torture", "secret"
"""of who sends try jobs over HTTP"""
REPOSITORY = "repository"
JOBS = "jobs"
"""The folders of the git repository and of the try jobs."""
RELAYED = "relayed"
"""the branch of the changes that a scheduler makes"""

Entry = dict[str, Any]


def sections(url: str, lines: Path, variant: int = 0, port: int | None = None, **more: Any) -> dict[str, Any]:
    """A master's whole file as Python values; ``more`` are sections that are to be otherwise."""
    return {
        "database": {"url": url, "statement_timeout": "5s"},
        "cluster": {"lease": LEASE_S, "heartbeat": HEARTBEAT_S, "turn_timeout": TURN_TIMEOUT_S},
        "tasks": {"max_running": 5, "lost_after": LOST_AFTER_S, "drain": "5s"},
        "plugins": [str(PLUGIN)],
        "change_sources": [
            {
                "type": "GitPoller",
                "name": SOURCE,
                "repository": str(lines.parent / REPOSITORY),
                "branches": list(GIT_BRANCHES),
                "poll_interval": 2,
            }
        ],
        "builders": list(builders(lines).values()),
        "schedulers": list(entries(variant, port).values()),
        **more,
    }


def builders(lines: Path) -> dict[str, Entry]:
    """By name. Each task adds one line to a file for each time that it runs; ``again`` ones are run again when lost."""
    say = 'echo "$LOCUM_PROP_TASK $LOCUM_PROP_BUILDER $(date +%s%N)" >> "$LINES"'
    env = {"LINES": str(lines)}
    all_of_them: list[Entry] = [
        {"name": "again", "on_lost": "requeue", "env": env, "steps": [{"shell": say}]},
        {"name": "once", "on_lost": "fail", "env": env, "steps": [{"shell": say}]},
        {"name": "few", "on_lost": "requeue", "max_parallel": 2, "env": env, "steps": [{"shell": say}]},
        {"name": "bad", "on_lost": "fail", "env": env, "steps": [{"shell": f"{say}; exit 3"}]},
        {"name": "long", "on_lost": "requeue", "env": env, "steps": [{"shell": f"{say}; sleep 3"}]},
        {"name": "slow", "on_lost": "fail", "env": env, "steps": [{"shell": f"{say}; sleep 4"}]},
        {
            "name": "cancellable",
            "on_lost": "requeue",
            "max_parallel": 1,
            "env": env,
            "steps": [{"shell": f"{say}; sleep 4"}],
        },
        {"name": "useless", "on_lost": "requeue", "env": env, "steps": [{"shell": f"{say}; sleep 7"}]},
        {
            "name": "collapsing",
            "on_lost": "requeue",
            "max_parallel": 1,
            "collapse_requests": True,
            "env": env,
            "steps": [{"shell": f"{say}; sleep 4"}],
        },
        {
            "name": "trigger",
            "on_lost": "requeue",
            "env": env,
            "steps": [{"shell": say}, {"trigger": ["triggered", "nightly-triggered"]}],
        },
        {
            "name": "trigger-wait",
            "on_lost": "requeue",
            "env": env,
            "steps": [{"shell": say}, {"trigger": ["triggered"], "waitForFinish": True}],
        },
    ]
    return {entry["name"]: entry for entry in all_of_them}


def entries(variant: int = 0, port: int | None = None) -> dict[str, Entry]:
    """Every scheduler's entry by name; ``port``: where try jobs are taken over HTTP, by whoever is active."""
    made = [*_by_branch(), *_by_filter(), *_periodic(), *_nightly(), *_own(), *_family(port), *_overlapping()]
    made += [*_toggled(), *_varied(variant)]
    names = [entry["name"] for entry in made]
    assert len(set(names)) == len(names) > 75, len(names)
    return {entry["name"]: _filled(entry) for entry in made} | {entry["name"]: entry for entry in _cancellers()}


def wishable() -> list[str]:
    """Those of whom a buildset can be asked at any time: they ask for work, and are there in every variant."""
    return sorted(set(entries()) - {entry["name"] for entry in _cancellers()} - {"var-sometimes"})


def timed() -> list[str]:
    """Those that can be told to run now, or to catch up on old times: there, and enabled, at any time."""
    return [entry["name"] for entry in (*_periodic(), *_overlapping())]


def toggled() -> list[str]:
    """Those that are enabled and disabled at random."""
    return [entry["name"] for entry in _toggled()]


def _by_branch() -> list[Entry]:
    return [
        _branch("branch-main", "main"),
        _branch("branch-main-few", "main", builderNames=["few"]),
        *(_branch(f"branch-{name}", name, builderNames=["once"]) for name in ("one", "two")),
        _branch("branch-bad", "rare", builderNames=["bad", "again"]),
        _branch("branch-long", "rare", builderNames=["long"]),
        *(_branch(f"stable-{name}", name, treeStableTimer=2) for name in ("main", "one")),
        _branch("stable-short", "two", treeStableTimer=0.5),
        _branch("stable-long", "three", treeStableTimer=5),
        _branch("absolute", "three", createAbsoluteSourceStamps=True),
        {"type": "AnyBranchScheduler", "name": "any-code", "categories": ["code"], "treeStableTimer": 3},
        {"type": "AnyBranchScheduler", "name": "any-three", "branches": ["three", "four"]},
        {"type": "AnyBranchScheduler", "name": "any-stable", "treeStableTimer": 2},
    ]


def _by_filter() -> list[Entry]:
    return [
        {
            "type": "SingleBranchScheduler",
            "name": "filter-docs",
            "change_filter": {"category": "docs", "branch": ["four"]},
        },
        {
            "type": "SingleBranchScheduler",
            "name": "filter-files",
            "change_filter": {"files_re": "doc/.*", "branch_re": "t.*"},
            "treeStableTimer": 1,
        },
        {"type": "plugin.Important", "name": "important", "branch": "four", "treeStableTimer": 2},
        {"type": "plugin.Important", "name": "only-important", "branch": "four", "onlyImportant": True},
    ]


def _periodic() -> list[Entry]:
    return [
        _periodic_of("every-1s", 1, catch_up="all", catch_up_limit=1000),
        _periodic_of("every-20s", 20, catch_up="all", builderNames=["few"]),
        _periodic_of("every-30s", 30, catch_up="all"),
        _periodic_of("one-4500ms", "4500ms", catch_up="one"),
        _periodic_of("one-20s", 20, catch_up="one"),
        _periodic_of("none-15s", 15, catch_up="none"),
        _periodic_of("none-30s", 30, catch_up="none"),
        _periodic_of("limit-12s", 12, catch_up="all", catch_up_limit=2),
        _periodic_of("grace-15s", 15, catch_up="all", grace=4),
        _periodic_of("jitter-20s", 20, catch_up="all", jitter=4),
        *(_periodic_of(f"every-60s-{n}", 60, catch_up="all", builderNames=["once"]) for n in range(2)),
        _periodic_of("hourly", 3600),
        _periodic_of("changed", 10, onlyIfChanged=True, branch="main", catch_up="all"),
    ]


def _nightly() -> list[Entry]:
    return [
        {"type": "Nightly", "name": "minutely", "cron": "* * * * *", "catch_up": "all"},
        {"type": "Nightly", "name": "minutely-one", "minute": "*", "timezone": "Europe/Berlin"},
        {"type": "Nightly", "name": "minutely-none", "minute": "*", "timezone": "America/New_York", "catch_up": "none"},
        {"type": "Nightly", "name": "minutely-jitter", "cron": "* * * * *", "jitter": 20, "catch_up": "all"},
        {"type": "Nightly", "name": "nightly", "hour": 3, "minute": 30, "timezone": "Europe/Berlin"},
        {"type": "Nightly", "name": "changed-minutely", "minute": "*", "onlyIfChanged": True, "branch": "trunk"},
        {
            "type": "Nightly",
            "name": "changed-forced",
            "minute": "*",
            "onlyIfChanged": True,
            "branch": "trunk",
            "force_at_minute": list(range(0, 60, 2)),
            "catch_up": "all",
        },
        {"type": "NightlyTriggerable", "name": "nightly-triggered", "minute": "*"},
    ]


def _own() -> list[Entry]:
    return [
        {"type": "plugin.Counting", "name": "counting-main", "branch": "main"},
        {"type": "plugin.Counting", "name": "counting-two", "branch": "two"},
        {"type": "plugin.Counting", "name": "counting-all", "builderNames": ["once"]},
        {"type": "plugin.Gathering", "name": "gathering", "branch": "one", "seconds": 2},
        {"type": "plugin.Gathering", "name": "gathering-all", "seconds": 5},
        *({"type": "plugin.Ticking", "name": f"ticking-{s}s", "seconds": s} for s in (7, 20, 45)),
        {"type": "plugin.Background", "name": "background", "seconds": 15},
        {"type": "plugin.Slow", "name": "slow", "branch": "rare", "seconds": 1.5},
        {"type": "plugin.Slow", "name": "slow-thread", "branch": "rare", "seconds": 1.0, "thread": True},
        {"type": "plugin.Raising", "name": "raising", "branch": "four", "every": 4},
        {"type": "plugin.Following", "name": "following", "upstream": "counting-main"},
        {"type": "plugin.Relaying", "name": "relaying", "branch": "rare", "to": RELAYED},
    ]


def _family(port: int | None) -> list[Entry]:
    """Those that react to other schedulers, tasks and people; and those whose tasks others cancel or collapse."""
    return [
        {"type": "Dependent", "name": "dependent", "upstream": "branch-one"},
        {"type": "Dependent", "name": "dependent-2", "upstream": "dependent"},
        _branch("branch-trigger", "three", builderNames=["trigger", "trigger-wait"]),
        {"type": "Triggerable", "name": "triggered"},
        {
            "type": "ForceScheduler",
            "name": "forced",
            "reasonString": "%(reason)s",
            "properties": [{"type": "Int", "name": "number", "default": 1}],
        },
        {"type": "Try_Jobdir", "name": "try-jobdir", "jobdir": JOBS, "poll_interval": 2},
        {"type": "Try_Userpass", "name": "try-userpass", "userpass": {USER: PASSWORD}, "port": port},
        _branch("branch-cancellable", "main", builderNames=["cancellable"]),
        _branch("branch-useless", "four", builderNames=["bad", "useless"]),
        _branch("branch-collapsing", "main", builderNames=["collapsing"]),
    ]


def _cancellers() -> list[Entry]:
    return [
        {
            "type": "OldBuildCanceller",
            "name": "cancel-old",
            "filters": [{"builders": ["cancellable"], "filter": {"branch_eq": ["main"]}}],
        },
        {
            "type": "FailingBuildsetCanceller",
            "name": "cancel-useless",
            "filters": [{"builders": ["bad"], "builders_to_cancel": ["useless"]}],
        },
    ]


def _overlapping() -> list[Entry]:
    """Their runs take longer than the time between two of them, or about as long."""
    return [
        _periodic_of("overlap-skip", 3, overlap="skip", builderNames=["slow"]),
        _periodic_of("overlap-queue", 5, overlap="queue", catch_up="all", builderNames=["slow"]),
        _periodic_of("overlap-replace", 5, overlap="replace", builderNames=["slow"]),
    ]


def _toggled() -> list[Entry]:
    return [
        _branch("toggle-branch", "main"),
        _branch("toggle-stable", "one", treeStableTimer=2),
        _periodic_of("toggle-all", 10, catch_up="all"),
        _periodic_of("toggle-one", 20, catch_up="one"),
        {"type": "plugin.Counting", "name": "toggle-counting", "branch": "main"},
        {"type": "plugin.Ticking", "name": "toggle-ticking", "seconds": 15},
        {"type": "plugin.Gathering", "name": "toggle-gathering", "branch": "two", "seconds": 1},
        {"type": "Dependent", "name": "toggle-dependent", "upstream": "counting-two"},
        _periodic_of("toggle-queue", 6, overlap="queue", builderNames=["slow"]),
    ]


def _varied(variant: int) -> list[Entry]:
    odd = variant % 2 == 1
    varied = [
        _periodic_of("var-period", 23 if odd else 17, catch_up="all"),
        _periodic_of("var-property", 30, catch_up="all", properties={"variant": variant}),
        _periodic_of("var-policy", 15, catch_up="one" if odd else "all"),
        _branch("var-branch", "three" if odd else "two"),
        _branch("var-stable", "main", treeStableTimer=1 if odd else 3),
        {"type": "plugin.Counting", "name": "var-counting", "branch": "main", "properties": {"variant": variant}},
    ]
    if variant % 3 != 2:
        varied.append(_periodic_of("var-sometimes", 20, catch_up="all"))
    return varied


def _branch(name: str, branch: str, **keys: Any) -> Entry:
    return _filled({"type": "SingleBranchScheduler", "name": name, "branch": branch, **keys})


def _periodic_of(name: str, every: Any, **keys: Any) -> Entry:
    return _filled({"type": "Periodic", "name": name, "periodicBuildTimer": every, **keys})


def _filled(entry: Entry) -> Entry:
    return {"builderNames": ["again"], **entry}
