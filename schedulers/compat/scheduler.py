"""The schedulers under the name that they had before Buildbot 0.8."""

from .absent import absent
from .schedulers.basic import AnyBranchScheduler, Scheduler
from .schedulers.dependent import Dependent
from .schedulers.timed import Nightly, Periodic
from .schedulers.triggerable import Triggerable

__all__ = ["AnyBranchScheduler", "Dependent", "Nightly", "Periodic", "Scheduler", "Triggerable"]

__getattr__ = absent(__name__)
