"""What authors of schedulers forget, found by looking at their classes before anything of them runs.

Only what cannot be meant is a slip: a coroutine that nobody awaits, a hook's name that is nearly right and that nothing
calls, an override that never reaches the method it overrides. Classes of our own are not looked at.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import linecache
import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache, lru_cache
from types import CodeType, FunctionType
from typing import Any

from .hooks import HOOKS

_NEAR = 0.85
_UP_CALLS: Mapping[str, str] = {
    "__init__": "call 'super().__init__(name, builderNames, **kwargs)' in it",
    "activate": "begin it with 'await super().activate()', or define startActivity instead, which needs no such call",
    "deactivate": "end it with 'await super().deactivate()', or define stopActivity instead, which needs no such call",
    "startService": "begin it with 'super().startService()'",
    "stopService": "end it with 'return super().stopService()'",
}
_ADDING = ("addBuildsetForChanges", "addBuildsetForSourceStamps", "addBuildsetForSourceStampsWithDefaults")
_ROOT = __name__.rpartition(".")[0].rpartition(".")[0]
_NOT_THE_AUTHORS = tuple(f"{name}." for name in (f"{_ROOT}.schedulers", f"{_ROOT}.master", "twisted", "zope"))


@cache
def slip(cls: type) -> str | None:
    """The first thing that is certainly forgotten in ``cls`` or in a base of it, and how to mend it; None: nothing."""
    authors = [base for base in cls.__mro__[:-1] if not f"{base.__module__}.".startswith(_NOT_THE_AUTHORS)]
    mentioned = {name for base in authors for name in _mentioned(base)}
    for base in authors:
        for found in (_misspelled(cls, base, authors, mentioned), _no_up_call(base), *_not_awaited(cls, base)):
            if found:
                return f"{base.__name__}.{found}"
    return None


def _misspelled(cls: type, base: type, authors: list[type], mentioned: set[str]) -> str:
    """A method that is named nearly like a hook, and that nothing calls."""
    known = {name for other in cls.__mro__ if other not in authors for name in vars(other)}
    for name, value in vars(base).items():
        if name in known or name in HOOKS or name in mentioned or name.startswith("_"):
            continue
        meant = _meant(name)
        if meant == "compare_attrs" and not callable(value):
            return f"{name} is read by nobody; did you mean 'compare_attrs'?"
        if meant in HOOKS and callable(value):
            return f"{name} is called by nobody; did you mean '{meant}'? (Begin its name with '_' if not.)"
    return ""


def _meant(name: str) -> str:
    for known in ("compare_attrs", *HOOKS):
        if name.replace("_", "").lower() == known.replace("_", "").lower():
            return known
    return (get_close_matches(name, ("compare_attrs", *HOOKS), 1, _NEAR) or [""])[0]


def _no_up_call(base: type) -> str:
    """An override in whose class nothing mentions what it overrides."""
    mentioned = _mentioned(base)
    for name, cure in _UP_CALLS.items():
        if isinstance(vars(base).get(name), FunctionType) and name not in mentioned:
            return f"{name} never calls the one that it overrides; {cure}"
    return ""


def _mentioned(base: type) -> set[str]:
    """Every name that the code of a class's methods mentions."""
    found: set[str] = set()
    left = [function.__code__ for value in vars(base).values() if (function := _function(value)) is not None]
    while left:
        code = left.pop()
        found.update(code.co_names)
        left += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return found


def _function(value: Any) -> FunctionType | None:
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    elif isinstance(value, property):
        value = value.fget
    found = inspect.unwrap(value) if callable(value) else None
    return found if isinstance(found, FunctionType) else None


def _not_awaited(cls: type, base: type) -> Iterator[str]:
    """Statements that make a coroutine, or a Deferred whose failure somebody must hear of, and drop it."""
    for method in _body(base):
        if isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)) and method.args.args:
            for line, call, why in _dropped(cls, base, method, method, method.args.args[0].arg):
                cure = (
                    f"write 'await {call}(...)'" if why else f"make {method.name} async, and write 'await {call}(...)'"
                )
                reason = why or "so it never runs"
                yield f"{method.name}, line {line}: {call}(...) is not awaited, {reason}; {cure}"


def _body(cls: type) -> Sequence[ast.stmt]:
    """The statements of a class; none if it was made without a file: what runs will tell."""
    try:
        path = inspect.getsourcefile(cls)
    except (OSError, TypeError):
        return ()
    if path is None:
        return ()
    linecache.checkcache(path)
    module = sys.modules.get(cls.__module__)  # its loader has the text of what was imported from an archive
    lines = linecache.getlines(path, None if module is None else vars(module))
    found = _classes_in("".join(lines)).get(cls.__qualname__)
    return () if found is None else found.body


@lru_cache(maxsize=64)
def _classes_in(source: str) -> Mapping[str, ast.ClassDef]:
    """By qualified name; the first of two. ``inspect.getsource`` would read the whole file for each class."""
    found: dict[str, ast.ClassDef] = {}

    def look(node: ast.AST, within: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                found.setdefault(within + child.name, child)
                look(child, f"{within}{child.name}.")
            elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                look(child, f"{within}{child.name}.<locals>.")
            elif isinstance(child, (ast.stmt, ast.ExceptHandler, ast.match_case)):
                look(child, within)

    with contextlib.suppress(SyntaxError, ValueError):  # edited since it was imported
        look(ast.parse(source), "")
    return found


def _dropped(cls: type, base: type, method: ast.AST, node: ast.AST, me: str) -> Iterator[tuple[int, str, str]]:
    """(line, what is called, why that matters; '': in a function that cannot await)."""
    for child in ast.iter_child_nodes(node):
        inner = child if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) else method
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Call):
            found = _call(cls, base, child.value.func, me)
            in_async = isinstance(method, ast.AsyncFunctionDef)
            if found is not None and (found[1] or in_async):
                why = "so it never runs" if found[1] else "so nobody would learn that it failed"
                yield child.lineno, found[0], why if in_async else ""
        yield from _dropped(cls, base, inner, child, me)


def _call(cls: type, base: type, function: ast.expr, me: str) -> tuple[str, bool] | None:
    """(what is called, whether it does nothing until it is awaited) of a call that should be awaited."""
    if not isinstance(function, ast.Attribute):
        return None
    name, on = function.attr, function.value
    if isinstance(on, ast.Name) and on.id == me:
        target = inspect.getattr_static(cls, name, None)
        called = f"{me}.{name}"
    elif isinstance(on, ast.Call) and isinstance(on.func, ast.Name) and on.func.id == "super":
        following = cls.__mro__[cls.__mro__.index(base) + 1 :]
        target = next((vars(other)[name] for other in following if name in vars(other)), None)
        called = f"super().{name}"
    else:
        return None
    if inspect.iscoroutinefunction(target):
        return called, True
    is_hook = callable(target) and inspect.iscoroutinefunction(inspect.unwrap(target))
    return (called, False) if is_hook or name in _ADDING else None
