"""Calling the user's own function that builds a network, by module or by file."""

import hashlib
import importlib
import importlib.util
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from reportgen.errors import InputError
from reportgen.inputs.builders import arguments_text, refused_argument
from reportgen.inputs.weights import seeded
from reportgen.names import did_you_mean

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = tuple({sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")})


def call_factory(spec: str, base: Path, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """Return what the factory `package.module:name` or `path/file.py:name` makes, called with `arguments` by name.

    Relative paths, and the modules that `package.module` is found among, start at `base`. Random values are
    drawn under a fixed seed. Raises InputError naming what is missing, what raised and where, or what came
    back instead of a module, and UsageError for an argument that the factory doesn't take.
    """
    source, _, name = spec.rpartition(":")
    is_file = source.endswith(".py") or "/" in source or "\\" in source
    try:
        path = _find(source, spec, base) if is_file else None
        with _importable(path.parent if path else base, fresh=is_file), seeded():
            module = _load_file(path, spec, base) if path else _import(source, spec, base)
            return _call(_attribute(module, name, spec), arguments or {}, spec, base)
    except OSError as error:
        raise InputError(
            f"model {spec}: its file, or the directory of it, can't be read ({error.strerror or error}); check both"
        ) from error


def recorded_spec(spec: str) -> str:
    """Return `spec` as it is written in the report: a file without its directories."""
    source, _, name = spec.rpartition(":")
    return f"{source.replace(chr(92), '/').rpartition('/')[2]}:{name}"


def _find(source: str, spec: str, base: Path) -> Path:
    path = (base / Path(source).expanduser()).absolute()
    if path.is_file():
        return path
    names = [entry.name for entry in path.parent.glob("*.py")] if path.parent.is_dir() else []
    where = "" if path.parent.is_dir() else f", nor is there a directory {Path(source).parent}"
    raise InputError(f"model {spec}: no file {source}{where}; {did_you_mean(path.name, names) or 'check the path'}")


@contextmanager
def _importable(directory: Path, *, fresh: bool) -> Iterator[None]:
    """Import from `directory` first; if `fresh`, also where modules of the same names are loaded already.

    A model file must get the `blocks.py` that lies beside it now, not one of another directory, nor an
    earlier state of it. Python keeps no byte code of what is loaded: nothing is written beside the user's files.
    """
    path, hidden, kept = list(sys.path), _hide(directory) if fresh else {}, sys.dont_write_bytecode
    sys.path.insert(0, str(directory))
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.dont_write_bytecode = kept
        sys.path[:] = path
        sys.modules.update(hidden)


def _hide(directory: Path) -> dict[str, ModuleType]:
    """Take the user's modules with the name of one in `directory` out of sys.modules, and return them."""
    beside = {path.stem for path in directory.glob("*.py")}
    beside |= {path.parent.name for path in directory.glob("*/__init__.py")}
    found = {name for name in sys.modules if name.partition(".")[0] in beside and _is_users(sys.modules[name])}
    return {name: sys.modules.pop(name) for name in found}


def _is_users(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and module.__name__ != "__main__" and not (_is_ours(file) or _is_installed(file))


def _load_file(path: Path, spec: str, base: Path) -> ModuleType:
    """Run a Python file as a module of a name of its own."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    found = importlib.util.spec_from_file_location(f"_reportgen_{path.stem}_{digest}", path)
    if found is None or found.loader is None:
        raise InputError(f"model {spec}: {path.name} is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses and pickle look the module up here
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[found.name]
        raise InputError(f"model {spec}: {_import_failure(error, base)}") from error
    return module


def _import(source: str, spec: str, base: Path) -> ModuleType:
    try:
        return importlib.import_module(source)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{source}.".startswith(f"{error.name}."):
            raise InputError(
                f"model {spec}: no module named {error.name}, here or among the installed packages; for a "
                "file write path/to/file.py:factory"
            ) from error
        raise InputError(f"model {spec}: {_import_failure(error, base)}") from error


def _import_failure(error: BaseException, base: Path) -> str:
    where = _where(error, base)
    if isinstance(error, ModuleNotFoundError):
        return f"needs the package {error.name}, which can't be found{where}; install it"
    told = f"could not be imported: {type(error).__name__}: {error}{where}"
    if isinstance(error, ImportError) and "relative import" in str(error):
        return f"{told}; a file inside a package is named as package.module:factory"
    return told


def _attribute(module: ModuleType, name: str, spec: str) -> Callable[..., Any]:
    target: Any = module
    for part in name.split("."):
        if not hasattr(target, part):
            known = [known for known in vars(target) if not known.startswith("_")]
            hint = did_you_mean(part, known) or "name the function or class that builds the model"
            raise InputError(f"model {spec}: there is no {part or 'name after the colon'}; {hint}")
        target = getattr(target, part)
    if isinstance(target, nn.Module):
        raise InputError(f"model {spec}: {name} is a model already; name a function that returns it")
    if not callable(target):
        kind = type(target).__name__
        raise InputError(f"model {spec}: {name} is of type {kind} and can't be called; name a function or a class")
    return target  # type: ignore[no-any-return]


def _call(factory: Callable[..., Any], arguments: Mapping[str, Any], spec: str, base: Path) -> nn.Module:
    _check_arguments(factory, arguments, spec)
    try:
        made = factory(**arguments)
    except (Exception, SystemExit) as error:
        called = f"called with {arguments_text(arguments)}" if arguments else "it is called without arguments"
        where = _where(error, base) or f" ({called})"
        raise InputError(f"model {spec}: the factory raised {type(error).__name__}: {error}{where}") from error
    if isinstance(made, type) and issubclass(made, nn.Module):
        raise InputError(f"model {spec}: returned the class {made.__name__}; return an instance of it")
    if not isinstance(made, nn.Module):
        raise InputError(f"model {spec}: returned {type(made).__name__}; it must return a torch.nn.Module")
    return made


def _check_arguments(factory: Callable[..., Any], arguments: Mapping[str, Any], spec: str) -> None:
    """Raise UsageError for an argument that the factory doesn't take, where its signature tells."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = [parameter.name for parameter in parameters if parameter.kind in named]
    for argument in arguments:
        if argument not in known:
            raise refused_argument(spec, argument, known)


def _where(error: BaseException, base: Path) -> str:
    """Return ` at file:line` for the innermost frame of the user's code, else of any code but ours."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" at {_short(error.filename, base)}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    users = [frame for frame in frames if not _is_installed(frame.filename)]
    if not frames:
        return ""
    frame = (users or frames)[-1]
    return f" at {_short(frame.filename, base)}:{frame.lineno}"


def _short(filename: str, base: Path) -> str:
    path, start = Path(filename), base.resolve()
    return str(path.relative_to(start)) if path.is_relative_to(start) else str(path)


def _is_ours(filename: str) -> bool:
    return filename.startswith("<frozen") or Path(filename).is_relative_to(_PACKAGE)


def _is_installed(filename: str) -> bool:
    return any(Path(filename).is_relative_to(directory) for directory in _INSTALLED)
