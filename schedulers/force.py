"""ForceScheduler: makes a buildset when a person asks for it, with the form that it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from ..config import suggest
from .arguments import is_priority
from .base import BaseScheduler
from .hooks import hook
from .parameters import (
    BaseParameter,
    CodebaseParameter,
    CollectedValidationError,
    IntParameter,
    StringParameter,
    UserNameParameter,
    parameter,
    values_of,
)

SOURCE = "Force Build Form"
BUILDERS = "builderNames"


class ForceScheduler(BaseScheduler):
    """Makes a buildset whenever somebody forces it, from any master or the command line.

    ``properties``, ``codebases``: parameters (or the YAML's mappings of them) that make up the form, beside ``username``,
    ``reason`` and ``priority``. ``reasonString`` says the buildset's reason with ``%(owner)s`` and ``%(reason)s``. All that is wrong with a form is said at once, by field; builders that are not its own are refused.
    """

    compare_attrs: ClassVar[Sequence[str]] = ("form", "reasonString", "buttonName", "label")

    def __init__(
        self,
        name: str,
        builderNames: Any,
        username: Any = None,
        reason: Any = None,
        reasonString: str = "A build was forced by '%(owner)s': %(reason)s",
        buttonName: str | None = None,
        label: str | None = None,
        codebases: Any = None,
        properties: Any = None,
        priority: Any = None,
    ) -> None:
        self.username = parameter(username or UserNameParameter(need_email=False), "username")
        self.reason = parameter(reason or StringParameter("reason", default="force build", size=20), "reason")
        self.priorityField = parameter(priority or IntParameter("priority"), "priority")
        self.codebaseFields = _codebases(codebases)
        if isinstance(properties, (Mapping, str)):
            raise ValueError(f"properties: expected a list of parameters, got {properties!r}")
        self.propertyFields = [parameter(one, f"properties[{n}]") for n, one in enumerate(properties or ())]
        super().__init__(name, builderNames, codebases=[field.codebase for field in self.codebaseFields])
        try:
            reasonString % {"owner": "", "reason": ""}
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"reasonString: expected text with %(owner)s and %(reason)s: {error}") from None
        self.reasonString = reasonString
        self.buttonName = buttonName or name
        self.label = label or name
        self.form: list[BaseParameter] = [
            *(self.username, self.reason, self.priorityField),
            *self.codebaseFields,
            *self.propertyFields,
        ]
        self.fieldNames = [field.fullName for one in self.form for field in one.fields()]
        twice = {field for field in self.fieldNames if self.fieldNames.count(field) > 1}
        if twice:
            raise ValueError(f"properties: the form has two fields named {min(twice)!r}; name one of them anew")

    def spec(self) -> dict[str, Any]:
        """The form for whoever shows it, as JSON values."""
        fields = [one.spec() for one in self.form]
        return {"name": self.name, "label": self.label, "buttonName": self.buttonName, "fields": fields}

    def fieldOf(self, codebase: str | None, key: str) -> str:
        """The name of the field for a codebase's branch, and so on; None: its only codebase, or ''."""
        for field in self.codebaseFields:
            if field.codebase == codebase or (
                codebase is None and (len(self.codebaseFields) == 1 or not field.codebase)
            ):
                return f"{field.fullName}_{key}" if field.fullName else key
        return f"{codebase or ''}_{key}"

    @hook
    async def force(
        self, owner: str, builderNames: Iterable[str] | None = None, values: Mapping[str, Any] | None = None
    ) -> tuple[int, dict[int, int]]:
        """(buildset id, {builder id: task id}) for a form's {field: value or list of values}. CollectedValidationError."""
        errors: dict[str, str] = {}
        form = {name: value if isinstance(value, list) else [value] for name, value in (values or {}).items()}
        if owner:
            form.setdefault(self.username.fullName, [owner])
        names = None if builderNames is None else list(builderNames)
        self._refuse_others(names, form, errors)
        who, why, priority = (field.taken(form, errors) for field in (self.username, self.reason, self.priorityField))
        found, stamps = await self.gathered(form, errors)
        if priority is not None and not is_priority(priority):
            errors.setdefault(self.priorityField.fullName, f"expected a whole number, got {priority!r}")
        if errors:
            raise CollectedValidationError(errors)
        reason = self.reasonString % {"owner": who, "reason": why}
        properties = {**found, "reason": reason, "owner": who}
        answer: tuple[int, dict[int, int]] = await self.addBuildsetForSourceStampsWithDefaults(
            reason=reason,
            sourcestamps=stamps,
            properties={name: (value, SOURCE) for name, value in properties.items()},
            builderNames=names,
            priority=priority,
        )
        return answer

    async def gathered(
        self, form: Mapping[str, Sequence[Any]], errors: dict[str, str]
    ) -> tuple[Mapping[str, Any], Sequence[Any]]:
        """The properties and the source stamps of a form; what is wrong goes to ``errors``."""
        found = values_of(self.propertyFields, form, errors)
        return found, [field.taken(form, errors) for field in self.codebaseFields]

    def _refuse_others(
        self, names: Sequence[str] | None, form: Mapping[str, Sequence[Any]], errors: dict[str, str]
    ) -> None:
        own = self.listBuilderNames()
        others = [name for name in names or () if own and name not in own]
        if others:
            errors[BUILDERS] = f"{others[0]!r} is not one of this scheduler's builders, {', '.join(own)}"
        for field in form:
            if field not in self.fieldNames:
                meant = suggest(field, self.fieldNames)
                hint = f"did you mean {meant!r}?" if meant else f"it has {', '.join(self.fieldNames)}"
                errors[field] = f"the form has no such field; {hint}"


def _codebases(given: Any) -> list[CodebaseParameter]:
    if given is None:
        return [CodebaseParameter("")]
    if isinstance(given, (str, Mapping)):
        raise ValueError(f"codebases: expected a list of names or of CodebaseParameters, got {given!r}")
    fields: list[CodebaseParameter] = []
    for number, one in enumerate(given):
        where = f"codebases[{number}]"
        if isinstance(one, str):
            field: BaseParameter = CodebaseParameter(one)
        else:
            field = parameter({"type": "Codebase", **one} if isinstance(one, Mapping) else one, where)
        if not isinstance(field, CodebaseParameter):
            raise ValueError(f"{where}: expected a name or a CodebaseParameter, got {one!r}")
        fields.append(field)
    if not fields:
        raise ValueError("codebases: expected at least one")
    return fields
