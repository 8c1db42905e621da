"""A Buildbot configuration is run, in a process of its own with a bound on its time, and what it made is read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GRACE_S = 5.0
_PYTHON_2 = ("call to 'print'", "call to 'exec'", "exception types", "leading zeros")
_CAUGHT = "the file went on without it: look at what it makes of that"
_SCRIPT = Path(__file__).with_name("recording.py")


@dataclass(frozen=True, slots=True)
class Remark:
    """Something about the file: where (line 0: nowhere in particular), what, and what to do."""

    file: str
    line: int
    what: str
    cure: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.what}" + (f"; {self.cure}" if self.cure else "")


@dataclass(frozen=True, slots=True)
class Made:
    """What the file made: its dictionary, and the schedulers in the order in which they were made. ``error``: it stopped."""

    config: Mapping[str, Any]
    schedulers: list[Any]
    remarks: list[Remark]
    error: Remark | None


def run(path: Path, timeout_s: float) -> Made:
    """Run the file for so long at most. OSError: it cannot be read."""
    path.open("rb").close()
    process = subprocess.Popen(
        [sys.executable, "-X", "utf8", str(_SCRIPT), str(path), str(timeout_s)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        answer, _ = process.communicate(timeout=timeout_s + GRACE_S)
    except subprocess.TimeoutExpired:
        answer = b""
    finally:
        if process.poll() is None:  # code that catches everything, or hangs in C
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode == -signal.SIGKILL or not answer:
        why = "it did not come to its end in time" if process.returncode == -signal.SIGKILL else "it ended its process"
        return Made({}, [], [], Remark(path.name, 0, why, _cure("TooLong", why)))
    found = json.loads(answer)
    remarks = [Remark(one["file"], one["line"], one["what"]) for one in found["notes"]]
    remarks += [
        Remark(one["file"] or path.name, one["line"], f"{one['what']}: it was refused", _CAUGHT)
        for one in found["caught"]
    ]
    error = found["error"]
    if error is not None:
        kind, what = error["kind"], error["what"]
        shown = what if kind in ("TooLong", "Refused", "NoConfig") else f"{kind}: {what}"
        error = Remark(error["file"], error["line"], shown, _cure(kind, what))
    return Made(found["config"], found["made"], remarks, error)


def _cure(kind: str, what: str) -> str:
    if kind == "SyntaxError" and any(word in what for word in _PYTHON_2):
        return "this is Python 2: turn it into Python 3 first, with '2to3' say"
    if kind == "TooLong":
        return "does it wait for something? give it more with --timeout, or take out what waits"
    if kind == "Refused":
        return "import a copy of the file without that"
    if kind == "NameError":
        return "it may come from a file that is not here: put that file, or one with made-up values, beside this one"
    if kind == "FileNotFoundError":
        return "put that file, or one with made-up values, beside this one"
    return "import a copy of the file without that" if kind not in ("NoConfig", "SyntaxError") else ""
