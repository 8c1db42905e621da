"""The results' constants, by an older name; all else of this module is no part of a scheduler."""

from ..absent import absent
from ..process.results import CANCELLED, EXCEPTION, FAILURE, RETRY, SKIPPED, SUCCESS, WARNINGS, Results

__all__ = ["CANCELLED", "EXCEPTION", "FAILURE", "RETRY", "SKIPPED", "SUCCESS", "WARNINGS", "Results"]

__getattr__ = absent(__name__)
