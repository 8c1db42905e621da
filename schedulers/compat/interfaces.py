"""Interfaces that subclasses declare, for ``implementer``: nobody here asks for them."""

from __future__ import annotations

from zope.interface import Interface  # type: ignore[import-untyped]

from .absent import absent

__all__ = ["IProperties", "IRenderable", "IScheduler", "ITriggerableScheduler"]


class IScheduler(Interface):  # type: ignore[misc]
    """Something that asks for buildsets."""


class ITriggerableScheduler(Interface):  # type: ignore[misc]
    """One with ``trigger``."""


class IRenderable(Interface):  # type: ignore[misc]
    """Something with ``getRenderingFor``."""


class IProperties(Interface):  # type: ignore[misc]
    """Something with ``getProperty``."""


__getattr__ = absent(__name__)
