"""Giving up everything at once, whatever else is going on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from locum.master.activation import Activation
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock


class Closing:
    """A tenure; whoever waited for its end takes the last one out, as a reconfiguration under way does."""

    def __init__(self, id: int, activation: Activation, closed: list[int]) -> None:
        self.id = id
        self.scheduler = None
        self._activation = activation
        self._closed = closed

    def close(self, why: str) -> Deferred[None]:
        self._closed.append(self.id)
        self._activation.tenures.pop(max(self._activation.tenures), None)
        return succeed(None)


def test_an_incarnation_that_is_over_closes_all_even_if_a_reconfiguration_goes_on_meanwhile() -> None:
    """The master used to end: the dictionary changed its size during iteration."""
    membership: Any = SimpleNamespace(incarnation="i1", good=lambda: True)
    remote: Any = None
    tools: Any = None
    activation = Activation(Clock(), remote, membership, tools, lambda: None, lambda tenure: None)
    closed: list[int] = []
    for number in range(4):
        tenure: Any = Closing(number, activation, closed)
        activation.tenures[number] = tenure
    fired: list[object] = []
    activation.abandon("its lease is over").addCallback(fired.append)
    assert closed == [0, 1, 2, 3] and fired and not activation.tenures
