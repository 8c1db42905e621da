"""ForceScheduler: makes a buildset when a person asks for it, with the form that it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from ..config import suggest
from .arguments import LARGEST_PRIORITY, is_priority
from .base import BaseScheduler
from .field_options import checked_list, checked_words, repeated
from .hooks import hook
from .own_names import foreign_builder
from .parameters import (
    BaseParameter,
    CodebaseParameter,
    CollectedValidationError,
    FixedParameter,
    IntParameter,
    StringParameter,
    UserNameParameter,
    parameter,
    require_text,
    require_whole,
    value_names,
    values_of,
)

SOURCE = "Force Build Form"
BUILDERS = "builderNames"
_OURS = ("owner", "reason", "scheduler")


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
        codebases: Any = ("",),
        properties: Any = (),
        priority: Any = None,
    ) -> None:
        self.username = _field(username, "username", UserNameParameter(need_email=False))
        self.reason = _field(reason, "reason", StringParameter("reason", default="force build", size=20))
        self.priorityField = _field(priority, "priority", IntParameter("priority"))
        require_text(self.username, "username")
        require_text(self.reason, "reason")
        require_whole(self.priorityField, "priority", _priority_fault)
        self.codebaseFields = _codebases(codebases)
        given = checked_list("properties", properties, "parameters")
        self.propertyFields = [parameter(one, f"properties[{number}]") for number, one in enumerate(given)]
        super().__init__(name, builderNames, codebases=[field.codebase for field in self.codebaseFields])
        self.reasonString = _checked_reason(reasonString)
        self.buttonName = name if buttonName is None else checked_words("buttonName", buttonName) or name
        self.label = name if label is None else checked_words("label", label) or name
        self.form: list[BaseParameter] = [
            *(self.username, self.reason, self.priorityField),
            *self.codebaseFields,
            *self.propertyFields,
        ]
        self.fieldNames = [field.fullName for one in self.form for field in one.fields()]
        _refuse_double_names(self.fieldNames, value_names(self.propertyFields))

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
        if owner and not isinstance(self.username, FixedParameter):
            form.setdefault(self.username.fullName, [owner])
        names = None if builderNames is None else list(builderNames)
        self._refuse_others(names, form, errors)
        who, why, priority = (field.taken(form, errors) for field in (self.username, self.reason, self.priorityField))
        found, stamps = await self.gathered(form, errors)
        fault = _priority_fault(priority)
        if fault:
            errors.setdefault(self.priorityField.fullName, fault)
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
        foreign = foreign_builder(self, names)
        if foreign:
            errors[BUILDERS] = foreign
        for field in form:
            if field not in self.fieldNames:
                meant = suggest(field, self.fieldNames)
                hint = f"did you mean {meant!r}?" if meant else f"it has {', '.join(self.fieldNames)}"
                errors[field] = f"the form has no such field; {hint}"


def _field(given: Any, where: str, usual: BaseParameter) -> BaseParameter:
    return usual if given is None else parameter(given, where)


def _priority_fault(value: Any) -> str:
    if value is None or is_priority(value):
        return ""
    return f"expected a whole number from {-LARGEST_PRIORITY} to {LARGEST_PRIORITY}, got {value!r:.60}"


def _checked_reason(text: Any) -> str:
    checked = checked_words("reasonString", text)
    try:
        checked % {"owner": "", "reason": ""}
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"reasonString: expected text with %(owner)s and %(reason)s: {error}") from None
    return checked


def _refuse_double_names(fields: Sequence[str], properties: Sequence[str]) -> None:
    twice = repeated(fields) or repeated(properties)
    if twice is not None:
        raise ValueError(f"properties: the form has two fields named {twice!r}; name one of them anew")
    if "" in fields:
        raise ValueError(
            "properties: the form has a field without a name, which nobody could fill in; give it a 'name'"
        )
    taken = [name for name in properties if name in _OURS]
    if taken:
        raise ValueError(
            f"properties: a field named {taken[0]!r} would be lost, as every buildset gets a property of that name; name"
            " the field anew"
        )


def _codebases(given: Any) -> list[CodebaseParameter]:
    fields: list[CodebaseParameter] = []
    for number, one in enumerate(checked_list("codebases", given, "names or of CodebaseParameters")):
        where = f"codebases[{number}]"
        if isinstance(one, str):
            one = {"codebase": one}
        if not isinstance(one, (BaseParameter, Mapping)):
            raise ValueError(f"{where}: expected a name or a CodebaseParameter, got {one!r:.60}")
        field = parameter({"type": "Codebase", **one} if isinstance(one, Mapping) else one, where)
        if not isinstance(field, CodebaseParameter):
            raise ValueError(f"{where}: expected a name or a CodebaseParameter, got {one!r:.60}")
        fields.append(field)
    if not fields:
        raise ValueError("codebases: expected at least one")
    twice = repeated([field.codebase for field in fields])
    if twice is not None:
        raise ValueError(f"codebases: {twice!r} is there twice; leave one of them out")
    return fields
