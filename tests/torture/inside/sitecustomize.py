"""Python runs this first in every master of a run, so that the nemesis can block its reactor at any moment: by SIGUSR1.

The handler runs in the main thread, between two bytecodes of whatever the reactor does just then, and sleeps there for
as long as the file ``block-PID`` says.
"""

import json
import os
import select
import signal
import time

_FOLDER = os.environ.pop("LOCUM_TORTURE_INSIDE", "")


def _sleep(seconds: float) -> None:
    """As ``time.sleep``, which under libfaketime fails where monotonic time is left alone (it passes an absolute time)."""
    end = time.clock_gettime(time.CLOCK_BOOTTIME) + seconds
    while (left := end - time.clock_gettime(time.CLOCK_BOOTTIME)) > 0:
        select.select([], [], [], left)


def _block(number: int, frame: object) -> None:
    path = os.path.join(_FOLDER, f"block-{os.getpid()}")
    with open(path) as file:
        seconds = json.load(file)
    os.unlink(path)
    _sleep(seconds)


if _FOLDER:
    signal.signal(signal.SIGUSR1, _block)
    if "FAKETIME_TIMESTAMP_FILE" in os.environ:
        time.sleep = _sleep
