"""Taking many in parts, and giving up everything at once, whatever else is going on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from locum.db import holding
from locum.master.activation import Activation, NotConfigured, Standing, _take_and_load
from locum.master.rehearsal import Rehearsal
from locum.schedulers import BaseScheduler
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
        activation.standing = {
            7: Standing(7, "quick", "scheduler", "digest", lambda instance=instance: instance, fresh)
        }
        tenure: Any = SimpleNamespace(id=7, scheduler=instance, close=lambda why: succeed(None))
        activation.tenures[7] = tenure
        activation.abandon("its lease is over")
        assert [line for line in told if not any(line in text for text in errors)] == []
        assert bool(errors) == bool(told)
        assert not activation.tenures


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


# -- many, in parts


class Noting(BaseScheduler):
    """Writes down that it was activated, in ``told``, and tells ``whoever`` waits for it."""

    told: ClassVar[list[str]] = []
    whoever: Callable[[], None] = lambda: None

    def activate(self) -> Any:
        self.told.append(self.name)
        Noting.whoever()
        return super().activate()


@pytest.fixture
def in_twos(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rehearsal]:
    """Seven schedulers, of which at most two are taken at once."""
    monkeypatch.setattr(holding, "TAKE_AT_MOST", 2)
    monkeypatch.setattr(Noting, "told", [])
    rehearsal = Rehearsal(1_800_000_000_000_000, [("unit", None, "fail", "auto", False)])
    for number in range(7):
        name = f"s{number}"
        rehearsal.add(name, "Noting", lambda name=name: Noting(name, ["unit"]))
    yield rehearsal
    rehearsal.close()


def test_while_some_are_activated_the_next_are_taken(in_twos: Rehearsal) -> None:
    master = in_twos.boot()
    master.remote.write = noted_takes(master.remote.write)  # type: ignore[method-assign]
    in_twos.settle()
    assert Noting.told == ["take", "take", "s0", "s1", "take", "s2", "s3", "take", "s4", "s5", "s6"]
    assert len(master.activation.tenures) == 7


@pytest.mark.parametrize(("at", "activated"), [(1, 2), (3, 4), (4, 4), (7, 7)])
def test_what_was_taken_when_the_lease_ended_goes_on_elsewhere(
    in_twos: Rehearsal, monkeypatch: pytest.MonkeyPatch, at: int, activated: int
) -> None:
    first = in_twos.boot()

    def end() -> None:
        first.lease.over = first.lease.over or len(Noting.told) == at

    monkeypatch.setattr(Noting, "whoever", end)
    in_twos.settle()
    assert len(Noting.told) == activated, "what had been taken together is begun, and nothing after it"
    monkeypatch.setattr(Noting, "told", [])
    in_twos.lapse("its lease ended")
    second = in_twos.boot()
    in_twos.settle()
    assert sorted(Noting.told) == sorted(t.name for t in second.activation.tenures.values())
    terms = [tenure.term for tenure in second.activation.tenures.values()]
    assert len(terms) == 7 and terms.count(2) == min(7, activated + 2)


def noted_takes(write: Any) -> Any:
    def noted(function: Any, *args: Any) -> Any:
        if function is _take_and_load:
            Noting.told.append("take")
        return write(function, *args)

    return noted


def test_what_is_taken_is_not_retaken_for_what_its_former_term_wished(in_twos: Rehearsal) -> None:
    """A commit of the former term was refused while the next was on its way: two tenures of one scheduler came of it."""
    master = in_twos.boot()
    write: Any = master.remote.write

    def refused_meanwhile(function: Any, *args: Any) -> Any:
        if function is _take_and_load:
            master.activation._retake.update(dict.fromkeys(args[1], "its term is over"))
        return write(function, *args)

    master.remote.write = refused_meanwhile  # type: ignore[method-assign]
    in_twos.settle()
    master.activation.look()
    in_twos.settle()
    assert Noting.told == [f"s{number}" for number in range(7)]
    assert {tenure.term for tenure in master.activation.tenures.values()} == {1}


def test_one_that_is_taken_anew_all_the_same_ends_the_tenure_before(in_twos: Rehearsal) -> None:
    master = in_twos.boot()
    in_twos.settle()
    before = dict(master.activation.tenures)
    master.activation._retake.update(dict.fromkeys(before, "somebody wished it"))
    master.activation.look()
    in_twos.settle()
    assert sorted(Noting.told) == sorted(2 * [f"s{number}" for number in range(7)])
    assert all(tenure.over for tenure in before.values())
    assert {tenure.term for tenure in master.activation.tenures.values()} == {2}
