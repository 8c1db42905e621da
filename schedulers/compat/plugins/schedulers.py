"""All schedulers under one name."""

from typing import Any

from ..absent import absent
from ..schedulers import trysched
from ..schedulers.base import BaseScheduler
from ..schedulers.basic import AnyBranchScheduler, BaseBasicScheduler, SingleBranchScheduler
from ..schedulers.canceller import OldBuildCanceller
from ..schedulers.canceller_buildset import FailingBuildsetCanceller
from ..schedulers.dependent import Dependent
from ..schedulers.forcesched import ForceScheduler
from ..schedulers.timed import Nightly, NightlyTriggerable, Periodic, Timed
from ..schedulers.triggerable import Triggerable

__all__ = [
    "AnyBranchScheduler",
    "BaseBasicScheduler",
    "BaseScheduler",
    "Dependent",
    "FailingBuildsetCanceller",
    "ForceScheduler",
    "Nightly",
    "NightlyTriggerable",
    "OldBuildCanceller",
    "Periodic",
    "SingleBranchScheduler",
    "Timed",
    "Triggerable",
]

_absent = absent(__name__)


def __getattr__(name: str) -> Any:
    return getattr(trysched, name) if name in ("Try_Jobdir", "Try_Userpass") else _absent(name)
