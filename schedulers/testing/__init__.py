"""Testing schedulers: ``SchedulerHarness`` runs yours on the real code, without a master, a server or any waiting.

Import it in tests only: it brings everything with it that a master has.
"""

from .errors import CannotBeMade, HarnessError, HookFailed, HookUnfinished, NobodyActive, NotAwaited, ThreadUnfinished
from .harness import SchedulerHarness
from .looks import Buildset, Failed, Request, Skipped, Task
from .view import SchedulerView

__all__ = [
    "Buildset",
    "CannotBeMade",
    "Failed",
    "HarnessError",
    "HookFailed",
    "HookUnfinished",
    "NobodyActive",
    "NotAwaited",
    "Request",
    "SchedulerHarness",
    "SchedulerView",
    "Skipped",
    "Task",
    "ThreadUnfinished",
]
