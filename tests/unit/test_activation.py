"""Giving up everything at once, whatever else is going on."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from locum.master.activation import Activation, NotConfigured, Standing
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher


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


def test_a_lapse_that_follows_a_removal_makes_no_new_instance_and_no_noise(errors: list[str]) -> None:
    """The configuration has no such scheduler any more, but its removal had not been carried out when the lease ended."""
    membership: Any = SimpleNamespace(incarnation="i1", good=lambda: True)
    nothing: Any = None
    for error, told in ((NotConfigured("removed"), []), (RuntimeError("broken"), ["no fresh instance"])):

        def fresh(error: Exception = error) -> Any:
            raise error

        instance: Any = SimpleNamespace(active=False)
        activation = Activation(Clock(), nothing, membership, nothing, lambda: None, lambda tenure: None)
        activation.standing = {7: Standing(7, "quick", "scheduler", "digest", instance, fresh)}
        tenure: Any = SimpleNamespace(id=7, scheduler=instance, close=lambda why: succeed(None))
        activation.tenures[7] = tenure
        activation.abandon("its lease is over")
        assert [line for line in told if not any(line in text for text in errors)] == []
        assert bool(errors) == bool(told)
        assert not activation.tenures and activation.standing[7].instance is instance


@pytest.fixture
def errors() -> Iterator[list[str]]:
    """What is logged as an error."""
    found: list[str] = []

    def note(event: LogEvent) -> None:
        if event["log_level"].name in ("error", "critical"):
            found.append(str(formatEvent(event)))

    globalLogPublisher.addObserver(note)
    yield found
    globalLogPublisher.removeObserver(note)
