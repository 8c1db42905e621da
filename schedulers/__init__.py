"""Schedulers: objects that decide when, and with what, work is requested. Write your own as subclasses of BaseScheduler."""

from .base import BaseScheduler
from .basic import AnyBranchScheduler, BaseBasicScheduler, SingleBranchScheduler
from .changes import Change
from .filters import ChangeFilter
from .interface import FinishedBuildset, NotActive, SchedulerFault
from .timed import Nightly, Periodic, Timed

__all__ = [
    "AnyBranchScheduler",
    "BaseBasicScheduler",
    "BaseScheduler",
    "Change",
    "ChangeFilter",
    "FinishedBuildset",
    "Nightly",
    "NotActive",
    "Periodic",
    "SchedulerFault",
    "SingleBranchScheduler",
    "Timed",
]
