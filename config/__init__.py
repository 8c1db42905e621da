"""YAML to a plain, validated description of a master, and the comparison of two of them.

Knows nothing of the rest of Locum: it reads a file, says everything that is wrong with it, and starts nothing.
"""

from .builders import PROPERTY_REFERENCE, BuilderSection, StepSection
from .difference import ChangedSetting, Difference, NameDifference, compare
from .durations import format_duration, parse_duration
from .entries import Entry
from .faults import ConfigError, Fault, Place, suggest
from .kinds import is_zone
from .loader import MasterConfig, Plugin, load, parse, with_digest
from .schema import json_schema
from .secret import Secret, carries_credentials, mask_credentials
from .sections import ClusterSection, DatabaseSection, LogSection, MasterSection, TasksSection

__all__ = [
    "PROPERTY_REFERENCE",
    "BuilderSection",
    "ChangedSetting",
    "ClusterSection",
    "ConfigError",
    "DatabaseSection",
    "Difference",
    "Entry",
    "Fault",
    "LogSection",
    "MasterConfig",
    "MasterSection",
    "NameDifference",
    "Place",
    "Plugin",
    "Secret",
    "StepSection",
    "TasksSection",
    "carries_credentials",
    "compare",
    "format_duration",
    "is_zone",
    "json_schema",
    "load",
    "mask_credentials",
    "parse",
    "parse_duration",
    "suggest",
    "with_digest",
]
