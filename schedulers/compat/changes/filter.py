"""``ChangeFilter``, where code written for Buildbot looks for it, with the method that its schedulers make theirs by."""

from typing import Any

from ...filters import NOT_GIVEN
from ...filters import ChangeFilter as NewChangeFilter
from ..absent import absent

__all__ = ["ChangeFilter"]


class ChangeFilter(NewChangeFilter):
    """Locum's."""

    __slots__ = ()

    @staticmethod
    def fromSchedulerConstructorArgs(
        change_filter: NewChangeFilter | None = None, branch: Any = NOT_GIVEN, categories: Any = None
    ) -> NewChangeFilter | None:
        """The filter of a constructor's ``change_filter``, or else of its ``branch`` and ``categories``."""
        if change_filter is not None:
            if branch is not NOT_GIVEN or categories is not None:
                raise ValueError("change_filter: give either it or branch and categories, not both")
            return change_filter
        if branch is NOT_GIVEN and categories is None:
            return None
        return ChangeFilter(branch=branch, category=categories)


__getattr__ = absent(__name__)
