"""Masters under every fault there is, and a checker: ``python -m tests.torture --minutes 3 --database postgresql``.

Exit 0: no promise was broken. 1: one was; the seed, the first broken invariant and what happened around it are printed,
and the run's folder is kept, with the plan that ``--replay`` takes. 2: the run itself got stuck.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from locum.tests.torture import nemesis, report
from locum.tests.torture.chamber import Chamber, Stuck, opened
from locum.tests.torture.history import Folder, Plan


def main() -> int:
    """Carry out one plan."""
    given = _arguments()
    plan = Plan.read(Path(given.replay)) if given.replay else _plan(given)
    folder = _folder(given.keep)
    print(f"seed {plan.seed}, {plan.minutes:g} min on {plan.database}, {len(plan.faults)} faults, in {folder.path}")
    for kind, why in plan.left_out.items():
        print(f"left out: {kind}: {why}")
    code = _run(plan, folder)
    if code == 0 and not given.keep:
        shutil.rmtree(folder.path)
    else:
        again = f"python -m tests.torture --replay {folder.plan}"
        print(f"seed {plan.seed}; all of it is in {folder.path}; again: {again}")
    return code


def _run(plan: Plan, folder: Folder) -> int:
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {what}", flush=True)

    with opened(plan, folder) as server:
        chamber = Chamber(plan, folder, server, say)
        try:
            chamber.carry_out()
        except Stuck as stuck:
            print(stuck)
            return 2
        found = report.of(folder, server.url, chamber.troubles)
        print(found.text)
        return 1 if found.broken else 0


def _plan(given: argparse.Namespace) -> Plan:
    seed = random.randrange(1_000_000) if given.seed is None else given.seed
    kinds = tuple(kind for kind in given.faults.split(",") if kind)
    try:
        plan = nemesis.new_plan(seed, given.minutes, given.database, kinds, given.masters)
    except ValueError as error:
        sys.exit(f"--faults: {error}")
    return dataclasses.replace(plan, load=given.load)


def _folder(kept: str | None) -> Folder:
    path = Path(kept) if kept else Path(tempfile.mkdtemp(prefix="locum-torture-", dir="/tmp"))
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()):
        sys.exit(f"{path} is not empty; give --keep another folder")
    path.chmod(0o755)  # PostgreSQL's own user goes through it
    return Folder(path.resolve())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=3.0, help="how long the faults last (default: 3)")
    parser.add_argument("--seed", type=int, help="of the plan and the load; printed if it is not given")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--masters", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--faults", default="", metavar="LIST", help="only these kinds, separated by commas")
    parser.add_argument("--load", type=float, default=1.0, help="how many changes there are, compared to the usual")
    parser.add_argument("--replay", metavar="FILE", help="the plan.json of a former run; all of the above is in it")
    parser.add_argument("--keep", metavar="DIR", help="an empty folder for all of it; else it is kept after a failure")
    return parser.parse_args()


def _end_in_order(number: int, frame: object) -> None:
    """Whoever ends this ends what it has started, and gives back what it has mounted: a second time changes nothing."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    print("interrupted: ending all that was started", flush=True)
    raise KeyboardInterrupt


if __name__ == "__main__":
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _end_in_order)
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
