"""What makes the schedulers under test, checked as ``locum check`` would."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Any

from ..base import BaseScheduler
from ..comparing import compared
from ..hooks import hook_fault
from .errors import CannotBeMade

Factory = Callable[[], BaseScheduler]


class Maker:
    """Makes the instances of one scheduler; the one that was made to be looked at is the first to be used."""

    def __init__(self, factory: Factory, first: BaseScheduler) -> None:
        self.change(factory, first)

    def change(self, factory: Factory, first: BaseScheduler) -> None:
        """Another configuration."""
        self._factory = factory
        self._spare: BaseScheduler | None = first
        self._name = first.name
        self._last: BaseScheduler | None = None

    def __call__(self) -> BaseScheduler:
        spare, self._spare = self._spare, None
        one = spare or made_by(self._factory)
        if one is self._last:
            raise CannotBeMade(
                "the factory gave the same scheduler again; a takeover needs a fresh one: make it in the factory"
            )
        if one.name != self._name:
            raise CannotBeMade(f"the factory made {self._name!r} first and {one.name!r} now; the name says who it is")
        self._last = one
        return one


def made_by(factory: Factory) -> BaseScheduler:
    """A new instance, if a master would take it. CannotBeMade."""
    if isinstance(factory, BaseScheduler) or not callable(factory):
        raise CannotBeMade(
            f"expected a function that makes a scheduler, such as lambda: MyScheduler('name', ['unit']), got {factory!r}"
        )
    try:
        one = factory()
    except Exception as error:
        raise CannotBeMade(f"the factory raised {type(error).__name__}: {error}") from error
    if not isinstance(one, BaseScheduler):
        raise CannotBeMade(f"the factory gave {one!r}, which is no BaseScheduler; does it say 'return'?")
    cls: Any = type(one)  # to mypy a class whose base is untyped is not hashable
    wrong = hook_fault(cls)
    if wrong is not None:
        raise CannotBeMade(wrong)
    try:
        compared(one)
    except Exception as error:
        raise CannotBeMade(str(error)) from error
    return one


def check_together(schedulers: Sequence[BaseScheduler], builders: Set[str]) -> None:
    """What a master would say of them in each other's company. CannotBeMade."""
    by_name = {one.name: one for one in schedulers}
    if len(by_name) != len(schedulers):
        raise CannotBeMade(f"two schedulers have one name: {[one.name for one in schedulers]}")
    for one in schedulers:
        for argument, what in one.faultsAmong(by_name, builders):
            raise CannotBeMade(f"{one.name!r}, {argument}: {what}")
