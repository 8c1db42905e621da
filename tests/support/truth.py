"""What must be true of a cluster's database, checked from outside; and people who add changes all the while."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from locum.db.errors import DatabaseError
from locum.tests.support.cluster import Cluster


class Writers:
    """Two who add changes all the while, repeating whatever was not acknowledged: one by ``locum change add --json -``,
    one by the database's own function.

    ``acknowledged`` are the revisions that are certainly in.
    """

    def __init__(self, cluster: Cluster, batch: int = 5, pause_s: float = 0.2) -> None:
        self.acknowledged: list[str] = []
        self._cluster = cluster
        self._batch = batch
        self._pause_s = pause_s
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=("command", self._by_command, 5 * pause_s)),
            threading.Thread(target=self._write, args=("function", self._by_function, pause_s)),
        ]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _write(self, who: str, add: Callable[[list[str]], bool], pause_s: float) -> None:
        count = 0
        while not self._over.is_set():
            revisions = [f"{who}-{count + i}" for i in range(self._batch)]
            while not add(revisions):
                self._over.wait(0.1)
            self.acknowledged += revisions
            count += self._batch
            self._over.wait(pause_s)

    def _by_command(self, revisions: list[str]) -> bool:
        lines = [json.dumps({"who": "cat", "branch": "main", "revision": r, "request_id": r}) for r in revisions]
        return self._cluster.locum("change", "add", "--json", "-", given="\n".join(lines), code=None).returncode == 0

    def _by_function(self, revisions: list[str]) -> bool:
        try:
            self._cluster.add_changes(revisions)
        except DatabaseError:
            return False
        return True


def terms_only_rise(cluster: Cluster) -> None:
    """P1 and P2: each buildset was added while its term lasted, by the incarnation that had that term."""
    owners = cluster.rows("SELECT scheduler_id, term, incarnation, since FROM ownership ORDER BY scheduler_id, term")
    holder = {(o[0], o[1]): o[2] for o in owners}
    began: dict[int, list[tuple[int, int]]] = {}
    for scheduler, term, _, since in owners:
        began.setdefault(scheduler, []).append((term, since))
    for id, scheduler, term, incarnation, at in cluster.rows(
        "SELECT id, scheduler_id, term, incarnation, submitted_at FROM buildsets"
    ):
        assert holder[scheduler, term] == incarnation, f"buildset {id}: term {term} was not {incarnation}'s"
        later = [since for other, since in began[scheduler] if other > term]
        assert not later or at <= min(later), f"buildset {id} was added after its term {term} had ended"


def every_change_once(cluster: Cluster, scheduler: str, revisions: list[str]) -> None:
    """P3: each of these changes is in exactly one buildset of the scheduler, and nothing else is."""
    built = Counter(cluster.built(scheduler))
    wanted = Counter(revisions)
    assert max(wanted.values(), default=1) == 1
    lost = sorted(wanted - built)
    doubled = sorted(built - wanted)
    assert (lost, doubled) == ([], []), f"{scheduler}: lost {lost[:10]}, doubled {doubled[:10]}"


def in_order(cluster: Cluster, scheduler: str) -> None:
    """P3 and P5, for a ``Counting`` scheduler: its counts follow the order of the changes, without a gap."""
    found = cluster.rows(
        "SELECT bc.change_number, b.reason FROM buildset_changes bc JOIN buildsets b ON b.id = bc.buildset_id"
        " WHERE b.scheduler = :s ORDER BY bc.change_number",
        s=scheduler,
    )
    assert [reason for _, reason in found] == [f"number {n + 1}" for n in range(len(found))]
    assert (cluster.state(scheduler, "count") or 0) == len(found)


def every_tick_once(cluster: Cluster, scheduler: str, seconds: float = 1) -> int:
    """P4, for ``catch_up: all``: the due times make an even grid without a gap, and none was skipped. How many."""
    due = [row[3] for row in cluster.buildsets(scheduler)]
    due.sort()
    period = int(seconds * 1e6)
    assert due == [due[0] + n * period for n in range(len(due))], f"{scheduler}: {[b - a for a, b in pairwise(due)]}"
    skips = cluster.rows(
        "SELECT k.count, k.reason FROM skips k JOIN schedulers s ON s.id = k.scheduler_id WHERE s.name = :s",
        s=scheduler,
    )
    assert skips == []
    return len(due)
