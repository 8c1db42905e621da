"""Runs a Buildbot master.cfg with stand-ins for Buildbot, and writes down what it makes. A process of its own.

Started by ``running.py`` as a script: nothing of Locum is imported here, nor is Buildbot. Whatever the file takes from
``buildbot`` is a stand-in that remembers how it was called and where. Connections, processes and writes are refused.
The answer is one JSON object on the standard output; what the file itself prints goes to the standard error.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib.abc
import importlib.machinery
import inspect
import json
import linecache
import os
import re
import signal
import sys
import sysconfig
import traceback
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

DEEPEST = 60
LONGEST_RANGE = 1000
_MODULE = "master_cfg"
LARGEST_MEMORY = 4 << 30
RESULTS = ("SUCCESS", "WARNINGS", "FAILURE", "SKIPPED", "EXCEPTION", "RETRY", "CANCELLED")
PLUGINS = ("changes", "reporters", "schedulers", "secrets", "status", "steps", "util", "webhooks", "worker", "www")

notes: list[dict[str, Any]] = []
"""What went otherwise than on a master: {file, line, what}."""
refused: list[dict[str, Any]] = []
"""The same of what was refused."""
made: list[Recorded] = []
"""Every stand-in that was made, in order."""
_folder = Path()
_missing_stars = False
_asleep = False


class TooLong(BaseException):
    """The file does not come to its end."""


class Refused(PermissionError):
    """What reading a configuration must not do."""


# -- where ----------------------------------------------------------------------------------------------------------------


def where() -> tuple[str, int]:
    """The innermost place in a file of the user's: (its name, line)."""
    frame = sys._getframe(1)
    found: types.FrameType | None = frame
    while found is not None:
        path = found.f_code.co_filename
        if _is_users(path):
            return _shown(path), found.f_lineno
        found = found.f_back
    return "", 0


_LIBRARIES = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
_LIBRARIES.append(Path(__file__))


def _is_users(path: str) -> bool:
    return not path.startswith("<") and not any(Path(path).is_relative_to(one) for one in _LIBRARIES)


def _shown(path: str) -> str:
    return str(Path(path).relative_to(_folder)) if Path(path).is_relative_to(_folder) else path


def note(what: str, among: list[dict[str, Any]] = notes) -> None:
    """Say so, once for each place."""
    file, line = where()
    found = {"file": file, "line": line, "what": what}
    if found not in among:
        among.append(found)


# -- stand-ins ------------------------------------------------------------------------------------------------------------


class Unknown:
    """A value that only Buildbot, or a module that is not here, would know. Whatever is done to it gives another."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Unknown(f"{self._what}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and inspect.isfunction(args[0]):
            return args[0]  # a decorator, most likely
        return Unknown(f"{self._what}()")

    def _other(self, *_: Any) -> Unknown:
        return self

    __add__ = __radd__ = __mul__ = __rmul__ = __mod__ = __rmod__ = __sub__ = __truediv__ = __or__ = __ror__ = _other
    __getitem__ = __enter__ = _other

    def __setitem__(self, key: object, value: object) -> None: ...

    def __exit__(self, *_: Any) -> None: ...

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return False

    def __contains__(self, one: object) -> bool:
        return False

    def __str__(self) -> str:
        return f"<unknown: {self._what}>"

    __repr__ = __fspath__ = __str__

    def __mro_entries__(self, bases: Any) -> tuple[type, ...]:
        first = next(one for one in bases if isinstance(one, Unknown))
        return (Recorded,) if first is self and not any(isinstance(one, _Recording) for one in bases) else ()


class _Recording(type):
    """Remembers how the outermost constructor was called."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        kind: Any = cls
        one: Any = kind.__new__(kind, *args, **kwargs)
        vars(one).setdefault("_given", (args, kwargs))
        vars(one).setdefault("_where", where())
        made.append(one)
        one.__init__(*args, **kwargs)
        return one

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__") or name == "_path":
            raise AttributeError(name)
        return Unknown(f"{cls.__name__}.{name}")


class Recorded(metaclass=_Recording):
    """Something of Buildbot's. ``_passed``: what the user's own subclass handed up, if it is one."""

    _path = ""
    compare_attrs: Any = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        vars(self)["_passed"] = (args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("_given", "_passed", "_where"):
            raise AttributeError(name)
        for args, kwargs in (vars(self).get("_passed", ((), {})), vars(self).get("_given", ((), {}))):
            if name in kwargs:
                return kwargs[name]
            if name == "name" and args and isinstance(args[0], str):
                return args[0]
        return Unknown(f"{type(self).__name__}.{name}")

    def __getitem__(self, key: Any) -> Any:
        return Unknown(f"{type(self).__name__}[{key!r}]")

    def __setitem__(self, key: Any, value: Any) -> None: ...


class StandIn(types.ModuleType):
    """A module, and whatever is asked of it: classes by their capital letter, all else modules or functions."""

    def __init__(self, name: str, missing: bool) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        self._missing = missing

    def __getattr__(self, name: str) -> Any:
        if name == "__all__" and self._missing:
            global _missing_stars  # noqa: PLW0603 - from here on, unknown names may be of this module
            _missing_stars = True
            return []
        if name == "__all__":
            return _starred(self.__name__)
        if name.startswith("__"):
            raise AttributeError(name)
        value = self._value(name)
        setattr(self, name, value)
        return value

    def _value(self, name: str) -> Any:
        path = f"{self.__name__}.{name}"
        if self._missing:
            return Unknown(path)
        if name in RESULTS:
            return RESULTS.index(name)
        known = _KNOWN.get(name)
        if known is not None:
            return known
        if name[:1].isupper():
            return _Recording(name, (Recorded,), {"_path": path})
        return importlib.import_module(path)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return Unknown(f"{self.__name__}()")


def _renderer(function: Any) -> Any:
    return _Recording("renderer", (Recorded,), {"_path": "buildbot.process.properties.renderer"})(function)


def _error(message: Any, *_: Any, **__: Any) -> None:
    raise ValueError(f"config.error: {message}")


_KNOWN: Mapping[str, Any] = {
    "renderer": _renderer,
    "error": _error,
    "bytes2unicode": lambda text, *_, **__: text.decode() if isinstance(text, bytes) else text,
    "unicode2bytes": lambda text, *_, **__: text.encode() if isinstance(text, str) else text,
    "ident_re": re.compile(r"^[a-zA-Z_-][a-zA-Z0-9_-]*$"),
    "NotABranch": Unknown("NotABranch"),
    "UTC": Unknown("UTC"),
}


_RESULTS_AND_TEXTS = (*RESULTS, "Results", "ALL_RESULTS", "statusToString", "worst_status")
_BASIC = ("BaseBasicScheduler", "SingleBranchScheduler", "AnyBranchScheduler", "Scheduler")
_TIMED = ("Timed", "Periodic", "NightlyBase", "Nightly", "NightlyTriggerable")
STARS: Mapping[str, Sequence[str]] = {
    "buildbot.plugins": PLUGINS,
    "buildbot.scheduler": (
        *("Scheduler", "AnyBranchScheduler", "Dependent", "Periodic", "Nightly", "Triggerable"),
        *("Try_Jobdir", "Try_Userpass"),
    ),
    "buildbot.schedulers.base": ("BaseScheduler",),
    "buildbot.schedulers.basic": _BASIC,
    "buildbot.schedulers.timed": _TIMED,
    "buildbot.schedulers.dependent": ("Dependent",),
    "buildbot.schedulers.triggerable": ("Triggerable",),
    "buildbot.schedulers.forcesched": (
        *("ForceScheduler", "BaseParameter", "FixedParameter", "StringParameter", "TextParameter", "IntParameter"),
        *("BooleanParameter", "UserNameParameter", "ChoiceStringParameter", "InheritBuildParameter", "NestedParameter"),
        *("WorkerChoiceParameter", "BuildslaveChoiceParameter", "ParameterGroup", "AnyPropertyParameter"),
        *("CodebaseParameter", "FileParameter", "PatchParameter", "ValidationError"),
    ),
    "buildbot.schedulers.trysched": ("TryBase", "Try_Jobdir", "Try_Userpass", "BadJobfile"),
    "buildbot.schedulers.canceller": ("OldBuildCanceller",),
    "buildbot.schedulers.canceller_buildset": ("FailingBuildsetCanceller",),
    "buildbot.schedulers.filter": ("ChangeFilter",),
    "buildbot.changes.filter": ("ChangeFilter",),
    "buildbot.changes.gitpoller": ("GitPoller",),
    "buildbot.util.ssfilter": ("ChangeFilter", "SourceStampFilter"),
    "buildbot.config": ("BuilderConfig", "ConfigErrors", "error"),
    "buildbot.process.factory": ("BuildFactory",),
    "buildbot.process.properties": ("Properties", "Property", "Interpolate", "WithProperties", "renderer"),
    "buildbot.process.results": _RESULTS_AND_TEXTS,
    "buildbot.process.buildstep": (*_RESULTS_AND_TEXTS, "BuildStep", "LoggingBuildStep", "ShellMixin"),
    "buildbot.status.results": _RESULTS_AND_TEXTS,
    "buildbot.status.builder": _RESULTS_AND_TEXTS,
}
"""What ``import *`` gives of the modules that configurations take schedulers and filters from."""


def _starred(module: str) -> list[str]:
    """The names of a module for ``import *``; of one that is not in STARS, those that the file uses and has from nowhere."""
    known = STARS.get(module)
    if known is not None:
        return list(known)
    frame = _importer()
    if frame is None or not _is_users(frame.f_code.co_filename):
        return []
    used: set[str] = set()
    bound = {*frame.f_globals, *dir(builtins)}
    for one in ast.walk(_tree(frame.f_code.co_filename)):
        if isinstance(one, ast.Name):
            (used if isinstance(one.ctx, ast.Load) else bound).add(one.id)
        elif isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(one.name)
        elif isinstance(one, ast.arg):
            bound.add(one.arg)
        elif isinstance(one, ast.ImportFrom) and one.names[0].name == "*":
            bound.update(STARS.get(one.module or "", ()))
        elif isinstance(one, (ast.Import, ast.ImportFrom)):
            bound.update(alias.asname or alias.name.partition(".")[0] for alias in one.names)
    return sorted(name for name in used - bound if name[:1].isupper() or name in _KNOWN)


def _tree(path: str) -> ast.AST:
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        return ast.parse(Path(path).read_bytes())
    return ast.Module([], [])


class _Loader(importlib.abc.Loader):
    def __init__(self, missing: bool) -> None:
        self._missing = missing

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return StandIn(spec.name, self._missing)

    def exec_module(self, module: types.ModuleType) -> None: ...


class Buildbot(importlib.abc.MetaPathFinder):
    """``buildbot`` and all below it, whether it is installed or not."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] not in ("buildbot", "buildbot_pkg"):
            return None
        return importlib.machinery.ModuleSpec(fullname, _Loader(missing=False), is_package=True)


class Missing(importlib.abc.MetaPathFinder):
    """Asked last: what the user's file imports and is not installed. Not where the file has something else in its place."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if _asleep or not _imported_by_user() or _is_guarded():
            return None
        if "." not in fullname:
            note(f"cannot import {fullname!r} here: what comes from it is not known")
        return importlib.machinery.ModuleSpec(fullname, _Loader(missing=True), is_package=True)


def _importer() -> types.FrameType | None:
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and ("importlib" in frame.f_code.co_filename or frame.f_code.co_filename == __file__):
        frame = frame.f_back
    return frame


def _imported_by_user() -> bool:
    frame = _importer()
    return frame is not None and _is_users(frame.f_code.co_filename)


def _is_guarded() -> bool:
    frame = _importer()
    if frame is None:
        return False
    return any(
        isinstance(one, ast.Try) and one.body[0].lineno <= frame.f_lineno <= (one.body[-1].end_lineno or 0)
        for one in ast.walk(_tree(frame.f_code.co_filename))
    )


# -- what is refused ------------------------------------------------------------------------------------------------------

_CONNECTS = ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname")
_STARTS = (
    *("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn"),
    *("os.kill", "os.killpg", "signal.pthread_kill"),
)
_CHANGES = (
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown"),
    *("os.utime", "shutil.rmtree", "shutil.move", "shutil.copyfile", "sqlite3.connect"),
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _guard(event: str, args: tuple[Any, ...]) -> None:
    what = ""
    if event in _CONNECTS:
        what = "opens a connection"
    elif event in _STARTS:
        what = "starts or ends a process"
    elif event in _CHANGES or (event == "open" and isinstance(args[2], int) and args[2] & _WRITES):
        what = "writes to the disk" if args[:1] != (os.devnull,) else ""
    if what:
        what = f"it {what} ({event}), which reading a configuration does not do here"
        if not _asleep:
            note(what, refused)
        raise Refused(what)


# -- the answer -----------------------------------------------------------------------------------------------------------


def encoded(value: Any, depth: int = 0) -> Any:
    """JSON of anything; what JSON does not have is {"$": kind, ...}."""
    if depth > DEEPEST:
        return {"$": "other", "repr": "..."}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Unknown):
        return {"$": "unknown", "what": value._what}
    if isinstance(value, Recorded):
        return _call(value, depth)
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value) and "$" not in value:
            return {key: encoded(one, depth + 1) for key, one in value.items()}
        return {"$": "dict", "items": [[encoded(k, depth + 1), encoded(v, depth + 1)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)) or (isinstance(value, range) and len(value) <= LONGEST_RANGE):
        return [encoded(one, depth + 1) for one in value]
    if isinstance(value, (set, frozenset)):
        return [encoded(one, depth + 1) for one in sorted(value, key=repr)]
    if isinstance(value, re.Pattern):
        return {"$": "re", "pattern": encoded(value.pattern), "flags": value.flags}
    if isinstance(value, timedelta):
        return value.total_seconds()
    if callable(value) and not isinstance(value, type):
        return _function(value)
    return {"$": "other", "repr": f"{type(value).__name__} {value!r}"[:200]}


def _buildbots(cls: type) -> Any:
    """The stand-in that a class of the user's is made of, or itself."""
    return next(one for one in cls.__mro__ if "_path" in one.__dict__)


def _call(value: Recorded, depth: int) -> dict[str, Any]:
    cls = type(value)
    base = _buildbots(cls)
    file, line = vars(value).get("_where", ("", 0))
    args, kwargs = vars(value).get("_given", ((), {}))
    return {
        "$": "call",
        "class": base.__name__,
        "path": base._path,
        "own": None if cls is base else {"name": cls.__name__, "takes": _takes(cls), **_source(cls)},
        "args": encoded(list(args), depth + 1),
        "kwargs": encoded(dict(kwargs), depth + 1),
        "name": encoded(value.name, depth + 1) if isinstance(value.name, str) else None,
        "file": file,
        "line": line,
    }


def _takes(cls: type) -> list[str]:
    """The names of what its constructor takes."""
    try:
        return [name for name in inspect.signature(cls.__dict__["__init__"]).parameters][1:]
    except (KeyError, TypeError, ValueError):
        return ["name", "builderNames"]


def _function(value: Callable[..., Any]) -> dict[str, Any]:
    return {"$": "function", "name": getattr(value, "__name__", type(value).__name__), **_source(value)}


def _source(value: Any) -> dict[str, Any]:
    try:
        lines, line = inspect.getsourcelines(value)
        path = inspect.getsourcefile(value) or ""
    except (OSError, TypeError):
        return {"file": "", "line": 0, "source": ""}
    source = inspect.cleandoc("\n" + "".join(lines))
    return {"file": _shown(path), "line": line, "source": source, "imports": _imports(path, source)}


def _imports(path: str, source: str) -> list[str]:
    """The imports at the top of a file that bind what a piece of it mentions."""
    try:
        statements = ast.parse("".join(linecache.getlines(path))).body
    except SyntaxError:
        return []
    mentioned = set(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", source))
    found = []
    for one in statements:
        if isinstance(one, (ast.Import, ast.ImportFrom)):
            names = [alias for alias in one.names if (alias.asname or alias.name.partition(".")[0]) in mentioned]
            if one.names[0].name == "*" and isinstance(one, ast.ImportFrom):
                names = [ast.alias(name) for name in STARS.get(one.module or "", ()) if name in mentioned]
            if names:
                one.names = names
                found.append(ast.unparse(one))
    return found


class _Names(dict[str, Any]):
    """The file's names; after 'from MISSING import *' any that is not there may have come from it."""

    def __missing__(self, name: str) -> Any:
        if not _missing_stars or hasattr(builtins, name):
            raise KeyError(name)
        note(f"{name} comes from a module that is not here: it is not known")
        return Unknown(name)


def run(path: Path) -> dict[str, Any]:
    """What the file makes: {config, notes, made, error}."""
    module = sys.modules[_MODULE] = types.ModuleType(_MODULE)  # by it the source of classes is found
    module.__file__ = str(path)
    names = _Names({"__name__": _MODULE, "__file__": str(path), "__builtins__": builtins, "basedir": str(path.parent)})
    error = None
    try:
        code = compile(path.read_bytes(), str(path), "exec")
        exec(code, names)  # the user's own file, as Buildbot does it
    except BaseException as problem:
        error = _told(problem, path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        global _asleep  # noqa: PLW0603 - whoever makes the answer must not be given stand-ins
        _asleep = True
    config = names.get("BuildmasterConfig", names.get("c"))
    if error is None and not isinstance(config, dict):
        error = {"file": path.name, "line": 0, "kind": "NoConfig", "what": "it defines no dictionary BuildmasterConfig"}
    return {
        "config": encoded(config if isinstance(config, dict) else {}),
        "made": [encoded(one) for one in made if _is_scheduler(one)],
        "notes": notes,
        "caught": [one for one in refused if error is None or one["what"] != error["what"]],
        "error": error,
    }


def _is_scheduler(one: Recorded) -> bool:
    base = _buildbots(type(one))
    return "schedul" in base._path and not base.__name__.endswith(("Parameter", "ChangeFilter"))


def _told(problem: BaseException, path: Path) -> dict[str, Any]:
    line, file = 0, path.name
    if isinstance(problem, SyntaxError):
        line, file = problem.lineno or 0, _shown(problem.filename or str(path))
    else:
        for frame in traceback.extract_tb(problem.__traceback__):
            if _is_users(frame.filename):
                line, file = frame.lineno or 0, _shown(frame.filename)
    return {"file": file, "line": line, "kind": type(problem).__name__, "what": str(problem) or type(problem).__name__}


def _too_long(*_: Any) -> None:
    raise TooLong("it did not come to its end in time")


def main() -> None:
    """``recording.py FILE SECONDS``."""
    import resource

    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    path, seconds = Path(sys.argv[1]).resolve(), float(sys.argv[2])
    global _folder  # noqa: PLW0603 - one file a process
    _folder = path.parent
    os.chdir(_folder)
    sys.argv = [str(path)]
    sys.path[0] = str(_folder)
    sys.dont_write_bytecode = True
    sys.meta_path.insert(0, Buildbot())
    sys.meta_path.append(Missing())
    resource.setrlimit(resource.RLIMIT_AS, (LARGEST_MEMORY, LARGEST_MEMORY))
    signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    sys.setrecursionlimit(5000)
    sys.addaudithook(_guard)
    json.dump(run(path), answer)
    answer.flush()
    os._exit(0)  # threads and exit handlers of the file's are no concern of ours


if __name__ == "__main__":
    main()
