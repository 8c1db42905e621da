"""Schedulers: objects that decide when, and with what, work is requested. Write your own as subclasses of BaseScheduler."""

from .base import BaseScheduler, to_datetime
from .basic import (
    AnyBranchScheduler,
    BaseBasicScheduler,
    SingleBranchScheduler,
    duration_argument,
    filter_argument,
)
from .cancellers import FailingBuildsetCanceller, OldBuildCanceller
from .changes import Change
from .dependent import Dependent
from .filters import ChangeFilter, SourceStampFilter
from .force import ForceScheduler
from .interface import FinishedBuildset, NotActive, SchedulerFault, StampFields
from .rendering import Interpolate, Property, renderer
from .timed import Nightly, Periodic, Timed
from .triggerable import NightlyTriggerable, Triggerable

__all__ = [
    "AnyBranchScheduler",
    "BaseBasicScheduler",
    "BaseScheduler",
    "Change",
    "ChangeFilter",
    "Dependent",
    "FailingBuildsetCanceller",
    "FinishedBuildset",
    "ForceScheduler",
    "Interpolate",
    "Nightly",
    "NightlyTriggerable",
    "NotActive",
    "OldBuildCanceller",
    "Periodic",
    "Property",
    "SchedulerFault",
    "SingleBranchScheduler",
    "SourceStampFilter",
    "StampFields",
    "Timed",
    "Triggerable",
    "duration_argument",
    "filter_argument",
    "renderer",
    "to_datetime",
]
