"""All benchmarks, one after another: ``python -m locum.tests.benchmarks [--runs 20] [--quick]``. Half an hour when not quick."""

from __future__ import annotations

import argparse
import subprocess
import sys


def main() -> None:
    """Run each in a process of its own, on a database of its own; stop at nothing, report at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="few runs, short leases: to see that they work")
    options = parser.parse_args()
    runs = "3" if options.quick else str(options.runs)
    lease = ["--lease", "3", "--heartbeat", "0.5"] if options.quick else []
    idle = ["--idle", "10"] if options.quick else []
    commands = [
        *(["takeover", "--database", kind, "--runs", runs, *lease] for kind in ("postgresql", "sqlite")),
        *(["load", "changes", "--database", kind] for kind in ("postgresql", "sqlite")),
        *(["load", "startup", "--database", kind, *idle] for kind in ("postgresql", "sqlite")),
        *(["load", "ticks", "--database", kind] for kind in ("postgresql", "sqlite")),
        ["load", "ticks", "--masters", "2"],
        ["simulate", *(["--days", "30", "--changes", "800"] if options.quick else [])],
    ]
    failed = []
    for module, *arguments in commands:
        print("##", module, *arguments, flush=True)
        done = subprocess.run([sys.executable, "-m", f"locum.tests.benchmarks.{module}", *arguments], check=False)
        if done.returncode:
            failed.append(" ".join([module, *arguments]))
    if failed:
        sys.exit(f"failed: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
