"""``python -m tests.torture --minutes N --seed S --database sqlite|postgresql``: masters under every fault, and a checker.

Exit 0: no promise was broken. 1: one was; what, when, and what happened around it is printed, and the folder kept.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from locum.tests.benchmarks import bench
from locum.tests.torture.chamber import Chamber, File, Stuck
from locum.tests.torture.history import Folder, Plan


def main() -> int:
    given = _arguments()
    plan = Plan.read(Path(given.replay)) if given.replay else _plan(given)
    path = Path(given.keep) if given.keep else Path(tempfile.mkdtemp(prefix="locum-torture-", dir="/tmp"))
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o755)
    folder = Folder(path)
    print(f"seed {plan.seed}, {plan.minutes:g} min on {plan.database}, in {path}", flush=True)
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {what}", flush=True)

    with contextlib.ExitStack() as stack:
        if plan.database == "sqlite":
            server = File(path / "locum.sqlite")
        else:
            url = stack.enter_context(bench.postgresql())

            class S:
                pass
            server = S(); server.url = url; server.url_of = lambda n: url
        try:
            c = Chamber(plan, folder, server, say)
            c.carry_out()
            for t in c.load.troubles: print(t)
        except Stuck as e:
            print(e)
            return 1
    return 0


def _plan(given):
    return Plan(given.seed if given.seed is not None else random.randrange(1_000_000), given.minutes, given.database, ())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="how long the faults last")
    parser.add_argument("--seed", type=int, help="of the plan and the load; printed if it is not given")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--faults", default="", metavar="LIST", help="only these kinds, separated by commas")
    parser.add_argument("--replay", metavar="FILE", help="the plan.json of a former run")
    parser.add_argument("--keep", metavar="DIR", help="where to leave everything; else it is kept after a failure")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
