"""Locum: named schedulers that keep running when the machine under them dies."""

from .schedulers import BaseScheduler, Change, ChangeFilter

__version__ = "0.1.0"

__all__ = ["BaseScheduler", "Change", "ChangeFilter", "__version__"]
