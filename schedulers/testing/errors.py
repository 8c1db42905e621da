"""What a test is told when a scheduler, or the test itself, does what cannot be right."""

from __future__ import annotations


class HarnessError(AssertionError):
    """The root of all of them: they fail a test, and are not what a scheduler may catch."""


class CannotBeMade(HarnessError):
    """The factory raised, gave what is no scheduler, or gave one that no master would take. The text says what is wrong."""


class HookFailed(HarnessError):
    """A scheduler's code raised (``__cause__`` is what). If that is what you test, wrap it: ``with harness.expect_failure():``."""


class HookUnfinished(HarnessError):
    """A hook waits for something that nothing here will bring. If the test brings it: ``with harness.expect_unfinished():``."""


class NotAwaited(HarnessError):
    """A scheduler called a coroutine function without ``await``, so its code never ran."""


class ThreadUnfinished(HarnessError):
    """What runs in a thread has not come to an end within ``thread_timeout_s``."""


class NobodyActive(HarnessError):
    """No master holds the scheduler now, so it has no active instance."""
