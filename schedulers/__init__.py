"""Schedulers: objects that decide when, and with what, work is requested. Write your own as subclasses of BaseScheduler."""

from .base import BaseScheduler
from .basic import AnyBranchScheduler, BaseBasicScheduler, SingleBranchScheduler
from .changes import Change
from .filters import ChangeFilter, SourceStampFilter
from .interface import FinishedBuildset, NotActive, SchedulerFault
from .rendering import Interpolate, Property, renderer
from .timed import Nightly, Periodic, Timed

__all__ = [
    "AnyBranchScheduler",
    "BaseBasicScheduler",
    "BaseScheduler",
    "Change",
    "ChangeFilter",
    "FinishedBuildset",
    "Interpolate",
    "Nightly",
    "NotActive",
    "Periodic",
    "Property",
    "SchedulerFault",
    "SingleBranchScheduler",
    "SourceStampFilter",
    "Timed",
    "renderer",
]
