"""Templates and static files: the built-in ones, and a user's that replace single ones of the same path.

A user's templates run in Jinja's sandbox: they can't reach Python's internals or other files. What they write into
the pages is theirs to answer for: scripts and addresses on the web among it.
"""

import hashlib
import posixpath
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

import jinja2
from jinja2 import meta
from jinja2.sandbox import SandboxedEnvironment

import reportgen
from reportgen.errors import UsageError
from reportgen.names import did_you_mean

SUFFIX = ".jinja"
STATIC = "static"
BUILT_IN = "builtin"
"""A user's `index.html.jinja` may extend `builtin/index.html.jinja`, the one that it replaces."""

PROBLEM = "templates: "
"""How a record's problem starts that is none of the network's, but of a user's templates when it was built."""

_TEXTS = (".css", ".js", ".svg")
_NAME = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)*[A-Za-z0-9][\w.-]*", re.ASCII)
_URL = re.compile(r"""(url\(\s*['"]?)([^'")?#]+)""")


def templates_directory() -> Path:
    """Return where the built-in templates are: inside the installed package, or beside it in a checkout."""
    package = Path(reportgen.__file__).parent
    inside = package / "templates"
    return inside if inside.is_dir() else package.parent / "templates"


class Theme:
    """The built-in templates and static files, single ones replaced by those of `directory` where it is given.

    Raises UsageError for a directory that isn't there or can't be read, and for static files that no site can hold.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory
        self._used: set[str] = set()
        if directory is not None and not directory.is_dir():
            problem = "is not a directory" if directory.exists() else "does not exist"
            raise UsageError(f"templates directory {str(directory)!r} {problem}; give one that holds *{SUFFIX}")

    def environment(self) -> jinja2.Environment:
        """Return an environment that finds the templates: sandboxed, where there are a user's."""
        built_in = jinja2.FileSystemLoader(templates_directory())
        loader = self._loader(built_in)
        kind = jinja2.Environment if self.directory is None else SandboxedEnvironment
        return kind(  # select_autoescape() would leave *.html.jinja unescaped
            loader=loader,
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )

    def _loader(self, built_in: jinja2.BaseLoader) -> jinja2.BaseLoader:
        if self.directory is None:
            return built_in
        own = jinja2.FileSystemLoader(self.directory)
        return jinja2.ChoiceLoader([own, built_in, jinja2.PrefixLoader({BUILT_IN: built_in})])

    def check(self, environment: jinja2.Environment) -> None:
        """Raise UsageError for the first of the user's templates that can't be parsed."""
        for name in self._files:
            if name.endswith(SUFFIX):
                with self.explaining(name):
                    environment.get_template(name)

    def unused(self, environment: jinja2.Environment, kinds: Iterable[str]) -> list[str]:
        """Return a warning for each of the user's files that replaces nothing and that nothing has used.

        `kinds` are those of the report's figures, whose templates need not be built in.
        """
        built_in = _below(templates_directory())
        used = {*built_in, *self._used, *(f"figures/{kind}.html{SUFFIX}" for kind in kinds)}
        used |= {name for name in self._files if name.startswith(f"{STATIC}/") and name.endswith((".css", ".js"))}
        for name in self._files:
            if name.endswith(SUFFIX):
                used |= set(_named_in(environment, name))
        return [self._unused(name, built_in) for name in self._files if name not in used]

    def _unused(self, name: str, built_in: Iterable[str]) -> str:
        hint = did_you_mean(name, built_in)
        return f"{self.directory}/{name} replaces nothing and is not used; {hint}".rstrip("; ")

    @cached_property
    def _files(self) -> tuple[str, ...]:
        return () if self.directory is None else tuple(_below(self.directory))

    @cached_property
    def static(self) -> Mapping[str, tuple[str, str | bytes]]:
        """Each static file by its name below static/: its path in the site, and what it holds.

        The path changes with the content, so that no browser shows an old one. Style sheets are texts in which
        `url(...)` of other static files is put right.
        """
        found: dict[str, tuple[str, str | bytes]] = {}
        built_in = _static_below(templates_directory())
        sources = built_in | (_static_below(self.directory) if self.directory is not None else {})
        for name in sorted(sources, key=lambda name: name.endswith(".css")):
            content = _read(name, sources[name])
            if name.endswith(".css"):
                content = self._with_addresses(name, str(content), found)
            found[name] = (hashed(name, content), content)
        return {name: found[name] for name in sorted(found, key=lambda name: (name not in built_in, name))}

    def _with_addresses(self, sheet: str, text: str, found: Mapping[str, tuple[str, str | bytes]]) -> str:
        """Let each `url(...)`, which is relative to the sheet, lead to the file that bears a hash."""

        def replace(match: re.Match[str]) -> str:
            head, slash, _ = match[2].strip().rpartition("/")
            name = posixpath.normpath(posixpath.join(posixpath.dirname(sheet), match[2].strip()))
            if name not in found:
                return match[0]
            self._used.add(f"{STATIC}/{name}")
            return f"{match[1]}{head}{slash}{posixpath.basename(found[name][0])}"

        return _URL.sub(replace, text)

    def static_address(self, name: str) -> str:
        """Return the path in the site of the static file `name`. Raises UsageError when there is none."""
        if name not in self.static:
            raise UsageError(f"there is no static file {name!r}; {did_you_mean(name, self.static)}".rstrip("; "))
        self._used.add(f"{STATIC}/{name}")
        return self.static[name][0]

    def explaining(self, name: str = "") -> "_Explaining":
        """Return a context that turns what templates raise into a UsageError, where there are a user's.

        `name` is the template that is being read, if one is.
        """
        return _Explaining(self.directory, name)


class _Explaining:
    """An error in a template, told by file, line and cause; without a user's templates it stays a bug."""

    def __init__(self, directory: Path | None, name: str) -> None:
        self._directory = directory
        self._name = name

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._directory is None or not isinstance(error, Exception):
            return
        if isinstance(error, jinja2.TemplateSyntaxError):
            place = f"{error.filename or error.name}: line {error.lineno}"
        elif self._name:
            place = str(self._directory / self._name)
        else:
            place = _innermost(error, self._directory) or self._built_in(error)
        if place:
            raise UsageError(f"{place}: {_cause(error)}; mend the template") from error

    def _built_in(self, error: Exception) -> str:
        """A built-in template fails where one of the user's does not give what it takes from it."""
        place = _innermost(error, templates_directory())
        return place and f"{self._directory}: a template lacks what a built-in one needs: {Path(place).name}"


def _innermost(error: Exception, directory: Path) -> str:
    """The file and line of the last template of `directory` that was at work; empty where none was."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.suffix == SUFFIX and path.is_relative_to(directory):
            return f"{path}: line {frame.lineno}"
    return ""


def _cause(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 (byte {error.start})"
    if isinstance(error, jinja2.TemplateNotFound) and not isinstance(error, jinja2.TemplatesNotFound):
        return f"there is no template {str(error)!r}"
    text = " ".join(str(error).split()).rstrip(".")
    known = isinstance(error, jinja2.TemplateError | UsageError)
    return text if known else f"{type(error).__name__}: {text}"


def _named_in(environment: jinja2.Environment, name: str) -> Iterator[str]:
    loader = environment.loader
    if loader is not None:
        source = loader.get_source(environment, name)[0]
        yield from (found for found in meta.find_referenced_templates(environment.parse(source)) if found)


def _below(directory: Path) -> list[str]:
    """The paths of all files below a directory, hidden ones left out, sorted."""
    try:
        paths = sorted(path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    except OSError as error:
        raise UsageError(f"templates directory {str(directory)!r} can't be read: {error.strerror}") from None
    return [path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)]


def _static_below(directory: Path) -> dict[str, Path]:
    root = directory / STATIC
    names = _below(root) if root.is_dir() else []
    for name in names:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{root / name}: a file of a site has letters, digits, '.', '_' and '-' in its name, and starts "
                "with a letter or digit; rename it"
            )
    return {name: root / name for name in names}


def _read(name: str, path: Path) -> str | bytes:
    try:
        content = path.read_bytes()
        return content.decode("utf-8") if name.endswith(_TEXTS) else content
    except OSError as error:
        raise UsageError(f"{path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 (byte {error.start}); save it in that encoding") from None


def hashed(name: str, content: str | bytes) -> str:
    """Return the path of a static file: it changes with the content, so that no browser shows an old one."""
    data = content.encode() if isinstance(content, str) else content
    digest = hashlib.sha256(data).hexdigest()[:10]
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.rpartition(".")
    return f"{STATIC}/{folder}{slash}{stem or suffix}.{digest}{dot + suffix if stem else ''}"
