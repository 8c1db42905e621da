"""``ForceScheduler`` and the fields of its form, with the hooks that subclasses override."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from ... import parameters as new
from ...force import ForceScheduler as NewForceScheduler
from ...hooks import answered, begin, hook
from ...parameters import CollectedValidationError, ValidationError
from ..absent import absent
from ..process.properties import Properties, with_sources
from . import base

__all__ = [
    "AnyPropertyParameter",
    "BaseParameter",
    "BooleanParameter",
    "BuildslaveChoiceParameter",
    "ChoiceStringParameter",
    "CodebaseParameter",
    "CollectedValidationError",
    "FileParameter",
    "FixedParameter",
    "ForceScheduler",
    "IntParameter",
    "NestedParameter",
    "ParameterGroup",
    "PatchParameter",
    "StringParameter",
    "TextParameter",
    "UserNameParameter",
    "ValidationError",
    "ValidationErrorCollector",
    "WorkerChoiceParameter",
]

_BY_CLASS = (
    *("label", "tablabel", "regex", "default", "required", "multiple", "hide", "maxsize", "autopopulate", "tooltip"),
    *("size", "cols", "rows", "need_email", "choices", "strict", "layout", "columns"),
)


class BaseParameter(new.BaseParameter):
    """A field. Subclasses may override ``parse_from_arg``, and give arguments as attributes of the class."""

    def __init__(self, name: str = "", *args: Any, **kwargs: Any) -> None:
        for cls in type(self).__mro__:
            if cls.__module__ == __name__:
                break
            for key in _BY_CLASS:
                if key in cls.__dict__:
                    kwargs.setdefault(key, cls.__dict__[key])
        super().__init__(name, *args, **kwargs)

    def parsed(self, text: str) -> Any:
        return self.parse_from_arg(text)

    def parse_from_arg(self, s: str) -> Any:
        """The value that a text stands for. ValidationError."""
        return super().parsed(s)

    def getFromKwargs(self, kwargs: Mapping[str, Any]) -> Any:
        """Its value in a form of name -> value or list of values. ValidationError."""
        errors: dict[str, str] = {}
        value = self.taken(_listed(kwargs), errors)
        if errors:
            raise ValidationError("; ".join(errors.values()))
        return value


class FixedParameter(BaseParameter, new.FixedParameter):
    """A value that nobody can change."""


class StringParameter(BaseParameter, new.StringParameter):
    """One line of text."""


class TextParameter(StringParameter, new.TextParameter):
    """Several lines of text."""


class IntParameter(StringParameter, new.IntParameter):
    """A whole number."""


class BooleanParameter(BaseParameter, new.BooleanParameter):
    """Yes or no."""


class UserNameParameter(StringParameter, new.UserNameParameter):
    """Who it is."""

    def __init__(self, name: str = "username", **kwargs: Any) -> None:
        super().__init__(name, **kwargs)


class ChoiceStringParameter(BaseParameter, new.ChoiceStringParameter):
    """One of several texts."""


class WorkerChoiceParameter(ChoiceStringParameter, new.WorkerChoiceParameter):
    """The name of the master that is to run it."""

    def __init__(self, name: str = "runner", **kwargs: Any) -> None:
        super().__init__(name, **kwargs)


BuildslaveChoiceParameter = WorkerChoiceParameter


class FileParameter(BaseParameter, new.FileParameter):
    """A file's content."""


class NestedParameter(BaseParameter, new.NestedParameter):
    """A group of fields."""


ParameterGroup = NestedParameter


class AnyPropertyParameter(NestedParameter, new.AnyPropertyParameter):
    """A property whose name is given too."""


class PatchParameter(NestedParameter, new.PatchParameter):
    """A diff to apply after the checkout."""

    def __init__(self, name: str = "patch", **kwargs: Any) -> None:
        super().__init__(name, **kwargs)


class CodebaseParameter(new.CodebaseParameter):
    """What is to be built of a codebase."""


class ValidationErrorCollector:
    """Gathers what is wrong with a form: ``errors``, by field."""

    def __init__(self) -> None:
        self.errors: dict[str, str] = {}

    def collectValidationErrors(
        self, fieldname: str, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Deferred[Any]:
        """What the function answers; None if it raises a ValidationError, which is kept."""

        def kept(failure: Failure) -> None:
            failure.trap(ValidationError, CollectedValidationError)  # type: ignore[no-untyped-call]
            if isinstance(failure.value, CollectedValidationError):
                self.errors.update({f"{fieldname}_{name}": text for name, text in failure.value.errors.items()})
            else:
                self.errors[fieldname] = str(failure.value)

        return maybeDeferred(function, *args, **kwargs).addErrback(kept)

    def maybeRaiseCollectedErrors(self) -> None:
        """CollectedValidationError, if there is any."""
        if self.errors:
            raise CollectedValidationError(self.errors)


def _listed(form: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {name: value if isinstance(value, list) else [value] for name, value in form.items()}


def _forced_as_before(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def force(
        self: Any,
        owner: str,
        builderNames: Any = None,
        values: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Deferred[Any]:
        async def forced() -> Any:
            try:
                return await answered(function(self, owner, builderNames, **{**(values or {}), **fields}))
            except ValidationError as error:
                raise CollectedValidationError({"form": str(error)}) from None

        return begin(forced())

    return force


class ForceScheduler(base.BaseScheduler, NewForceScheduler):
    """With the hooks ``force(owner, builderNames, builderid, **fields)``, ``computeBuilderNames`` and
    ``gatherPropertiesAndChanges``; ``branch``, ``revision``, ``repository`` and ``project`` may stand beside ``codebases``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = cls.__dict__.get("force")
        if inspect.isfunction(own):
            cls.force = _forced_as_before(own)  # type: ignore[method-assign]

    def __init__(
        self,
        *args: Any,
        branch: Any = None,
        revision: Any = None,
        repository: Any = None,
        project: Any = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("reason", StringParameter("reason", default="force build", size=20))
        kwargs.setdefault("username", UserNameParameter(need_email=False))
        kwargs.setdefault("priority", IntParameter("priority"))
        given = {"branch": branch, "revision": revision, "repository": repository, "project": project}
        given = {key: value for key, value in given.items() if value is not None}
        if given:
            for key, field in given.items():
                if isinstance(field, new.BaseParameter):
                    field.name = field.fullName = key  # whatever it was called, it is this
            kwargs.setdefault("codebases", [CodebaseParameter("", **given)])
        for key in ("codebases", "properties"):
            if key in kwargs and kwargs[key] is None:
                del kwargs[key]
        super().__init__(*args, **kwargs)

    @hook
    async def force(
        self,
        owner: str,
        builderNames: Iterable[str] | None = None,
        values: Mapping[str, Any] | None = None,
        builderid: int | None = None,
        **fields: Any,
    ) -> Any:
        """(buildset id, {builder id: request id}). CollectedValidationError."""
        names = await answered(self.computeBuilderNames(builderNames, builderid))
        return await super().force(owner, names, {**(values or {}), **fields})

    def computeBuilderNames(self, builderNames: Iterable[str] | None = None, builderid: int | None = None) -> Any:
        """Which builders; None: all of this scheduler's."""
        if builderNames is None and builderid is not None:
            return [name for name, number in self.master.known_builders().items() if number == builderid]
        return builderNames

    def gatherPropertiesAndChanges(self, collector: ValidationErrorCollector, **kwargs: Any) -> Any:
        """(Properties, [], {codebase: source stamp}) of a form; what is wrong goes to the collector."""
        return begin(self._gather(collector, kwargs))

    async def _gather(
        self, collector: ValidationErrorCollector, form: Mapping[str, Any]
    ) -> tuple[Properties, list[int], dict[str, Any]]:
        found, stamps = await super().gathered(_listed(form), collector.errors)
        return (
            Properties.fromDict(found, "Force Build Form"),
            [],
            {stamp["codebase"]: stamp for stamp in stamps if stamp},
        )

    async def gathered(
        self, form: Mapping[str, Sequence[Any]], errors: dict[str, str]
    ) -> tuple[Mapping[str, Any], Sequence[Any]]:
        collector = ValidationErrorCollector()
        collector.errors = errors
        found, _, stamps = await answered(self.gatherPropertiesAndChanges(collector, **form))
        properties = {name: pair[0] for name, pair in with_sources(found).items()}
        return properties, list(stamps.values() if isinstance(stamps, Mapping) else stamps)


__getattr__ = absent(__name__)
