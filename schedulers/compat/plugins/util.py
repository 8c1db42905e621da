"""What ``buildbot.plugins.util`` has for schedulers: filters, renderables, the fields of a form."""

from ...filters import SourceStampFilter
from ..absent import absent
from ..changes.filter import ChangeFilter
from ..process.properties import Interpolate, Properties, Property, WithProperties, renderer
from ..process.results import CANCELLED, EXCEPTION, FAILURE, RETRY, SKIPPED, SUCCESS, WARNINGS, Results
from ..schedulers.forcesched import (
    AnyPropertyParameter,
    BaseParameter,
    BooleanParameter,
    ChoiceStringParameter,
    CodebaseParameter,
    FileParameter,
    FixedParameter,
    IntParameter,
    NestedParameter,
    ParameterGroup,
    PatchParameter,
    StringParameter,
    TextParameter,
    UserNameParameter,
    WorkerChoiceParameter,
)
from ..util import NotABranch, bytes2unicode, deferredLocked, identifiers

__all__ = [
    "CANCELLED",
    "EXCEPTION",
    "FAILURE",
    "RETRY",
    "SKIPPED",
    "SUCCESS",
    "WARNINGS",
    "AnyPropertyParameter",
    "BaseParameter",
    "BooleanParameter",
    "ChangeFilter",
    "ChoiceStringParameter",
    "CodebaseParameter",
    "FileParameter",
    "FixedParameter",
    "IntParameter",
    "Interpolate",
    "NestedParameter",
    "NotABranch",
    "ParameterGroup",
    "PatchParameter",
    "Properties",
    "Property",
    "Results",
    "SourceStampFilter",
    "StringParameter",
    "TextParameter",
    "UserNameParameter",
    "WithProperties",
    "WorkerChoiceParameter",
    "bytes2unicode",
    "deferredLocked",
    "identifiers",
    "renderer",
]

__getattr__ = absent(__name__)
