"""``locum simulate``: a year of 80 daily and 20 hourly schedulers, and of 10,000 changes for ten that follow branches.

``python -m locum.tests.benchmarks.simulate [--days 365] [--changes 10000]``
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from .bench import python_ns, say

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
BRANCHES = 10
HEAD = """
cluster: { timezone: Europe/Berlin }
builders:
  - name: unit
    steps: [{ shell: ["true"] }]
schedulers:
"""


def main() -> None:
    """The command as a user gives it, in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--changes", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="locum-bench-") as name:
        folder = Path(name)
        (folder / "master.yaml").write_text(HEAD + "".join(schedulers()))
        (folder / "changes.jsonl").write_text("".join(changes(options.days, options.changes)))
        command = [sys.executable, "-c", "from locum.master.commands.main import main; main()", "simulate"]
        command += [str(folder / "master.yaml"), "--from", BEGIN.isoformat(), "--days", str(options.days)]
        command += ["--changes", str(folder / "changes.jsonl"), "--limit", "1"]
        load = os.getloadavg()[0]
        began = time.monotonic()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    rows = [line.split() for line in done.stdout.split("SKIPPED\n")[1].splitlines()]
    say(
        "simulate",
        days=options.days,
        changes=options.changes,
        buildsets=sum(int(row[1]) for row in rows),
        seconds=round(seconds, 1),
        cpu_s=round(used.ru_utime + used.ru_stime, 1),
        memory_mb=used.ru_maxrss // 1024,
        load_before=round(load, 1),
        python_ns=round(python_ns()),
    )


def schedulers() -> list[str]:
    """No two groups of them fire at the same minute, so that nothing is gained by their doing so."""
    found = []
    for n in range(80):
        when = f"hour: {n % 24}, minute: {n * 7 % 60}"
        found.append(f"  - {{ type: Nightly, name: daily{n}, {when}, builderNames: [unit] }}\n")
    for n in range(20):
        found.append(f"  - {{ type: Nightly, name: hourly{n}, minute: {n * 3}, builderNames: [unit] }}\n")
    for n in range(BRANCHES):
        kind = f"type: SingleBranchScheduler, name: branch{n}, branch: b{n}, treeStableTimer: 60"
        found.append(f"  - {{ {kind}, builderNames: [unit] }}\n")
    return found


def changes(days: int, number: int) -> list[str]:
    """Spread over the time."""
    apart = timedelta(days=days) / (number + 1)
    return [
        json.dumps(
            {
                "who": "b",
                "branch": f"b{n % BRANCHES}",
                "revision": f"r{n}",
                "files": ["a.py"],
                "when": (BEGIN + apart * (n + 1)).isoformat(),
            }
        )
        + "\n"
        for n in range(number)
    ]


if __name__ == "__main__":
    main()
