"""``python -m locum.tests.simulation.hunt --seeds N --steps M``: many stories; tells of those in which a promise was broken."""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from .story import simulate


def main() -> int:
    """The number of seeds that failed, at most 100, is the exit code."""
    parser = argparse.ArgumentParser(
        description="Simulate many clusters; print the seeds in which a promise was broken."
    )
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--steps", type=int, default=5000, help="steps of trouble in each")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--whole", action="store_true", help="print the last events of each failure")
    given = parser.parse_args()
    began, failed, simulated = time.process_time(), 0, 0.0
    seeds = range(given.first, given.first + given.seeds)
    with ProcessPoolExecutor(given.jobs) as pool:
        for report in pool.map(partial(simulate, steps=given.steps), seeds):
            simulated += report.simulated_s
            if report.violation:
                failed += 1
                print(report if given.whole else f"seed {report.seed}: {report.violation}", flush=True)
        pool.shutdown()
    cpu = sum(os.times()[:4])
    print(f"{len(seeds)} seeds, {failed} failed, {simulated / 3600:.1f} h simulated, {cpu - began:.0f} s of CPU")
    return min(failed, 100)


if __name__ == "__main__":
    sys.exit(main())
