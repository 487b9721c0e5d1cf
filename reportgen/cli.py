"""The command line: arguments become Options, one call is made, and an exit code comes back."""

import argparse
import contextlib
import dataclasses
import errno
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import reportgen
from reportgen.errors import InputError, MemoryShortageError, ReportError, UsageError, lacks_memory, shortage
from reportgen.names import did_you_mean
from reportgen.options import Options, Request, make_options, read_request

if TYPE_CHECKING:
    from reportgen.report import Report
    from reportgen.site.verify import Difference

INTERRUPTED, TERMINATED, FAILED_PARTLY, BUG = 130, 143, 5, 1
_OF_THE_SYSTEM = frozenset({errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE})
"""Errors of the system that no code of ours could have prevented, wherever they come up."""

_SPECS = """\
MODEL is one of
  resnet18, torchvision:resnet18[@WEIGHTS]   a torchvision model, with the weights named
  timm:NAME[.TAG]                            a timm model (pip install 'reportgen[timm]')
  hf:NAME[@REVISION], hf:DIRECTORY           a Hugging Face model (pip install 'reportgen[hf]')
  package.module:factory                     a function or class that returns an nn.Module
  path/to/file.py:factory                    the same, in a file

exit codes: 0 done, 1 a bug, 2 usage or configuration, 3 an input was refused, 4 the output can't be written,
5 done but some nodes or figures failed or images were left out, 130 and 143 interrupted"""


class _Terminated(KeyboardInterrupt):
    """SIGTERM, raised where Ctrl-C would be, so that both clean up alike."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    debug = False
    try:
        signal.signal(signal.SIGTERM, _terminate)
        given = _parse(arguments)
        debug = given.debug
        command: Callable[[argparse.Namespace], int] = given.command
        given.data = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):  # what a model prints is no data
            code = command(given)
        given.data.flush()  # a reader that went away is noticed here, not after the end
        return code
    except ReportError as error:
        if debug:
            traceback.print_exc()
        return _complain(str(error), error.exit_code)
    except _Terminated:
        return _complain("terminated; no half of a site was left", TERMINATED)
    except KeyboardInterrupt:
        return _complain("interrupted; no half of a site was left", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the last resort: one line instead of a traceback
        return _unexpected(error, debug=debug)


def _unexpected(error: Exception, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    if lacks_memory(error):
        return _complain(str(shortage("on the way", error)), MemoryShortageError.exit_code)
    if isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM:
        return _complain(_unreadable(error), InputError.exit_code)
    message = " ".join(str(error).split())
    return _complain(f"a bug: {type(error).__name__}: {message}; --debug shows where", BUG)


def _unreadable(error: OSError) -> str:
    """What can't be written is told by whoever writes it: here something that a build reads is meant."""
    name = f"{Path(os.fsdecode(error.filename)).name}: " if isinstance(error.filename, str | bytes) else ""
    return f"{name}something that is needed can't be read ({error.strerror}); --debug shows what"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """argparse takes all positional arguments at once; images that come after an option are added here."""
    given, rest = parser().parse_known_args(arguments)
    unknown = [word for word in rest if word.startswith("-") or not hasattr(given, "images")]
    if unknown:
        raise UsageError(f"there is no option {unknown[0]}; {did_you_mean(unknown[0], given.options)}".rstrip("; "))
    if rest:
        given.images = [*given.images, *rest]
    return given


class _Parser(argparse.ArgumentParser):
    """Mistakes are UsageErrors, one line each, and not a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def _terminate(_: int, __: FrameType | None) -> NoReturn:
    raise _Terminated


def _complain(message: str, code: int) -> int:
    print(f"reportgen: {message}", file=sys.stderr)  # noqa: T201 - this is the command line
    return code


def _say(message: str, quiet: bool = False) -> None:
    if not quiet:
        print(message, file=sys.stderr)  # noqa: T201 - this is the command line


def _build(given: argparse.Namespace) -> int:
    request = _request(given)
    if request.model is None:
        raise UsageError("no model: give MODEL, or `model` in the --config file")
    if request.out is None:
        raise UsageError("no output: give --out DIR, or `out` in the --config file")
    from reportgen.driver import build_report

    report = build_report(request.model, request.images, request.out, request.options, request.directory)
    _tell(report, given.data, quiet=request.options.quiet)
    return 0 if report.complete else FAILED_PARTLY


def _request(given: argparse.Namespace) -> Request:
    """Merge the TOML file and the command line; what the command line says wins."""
    changes = {name: value for name, value in vars(given).items() if name in _OPTIONS and value is not None}
    here = Path.cwd()
    request = (
        read_request(given.config, changes)
        if given.config
        else Request(options=make_options(changes, directory=here))
    )
    return Request(
        model=given.model or request.model,
        images=tuple(given.images) or request.images,
        out=given.out or request.out,
        options=request.options,
        directory=None if given.model else request.directory,
    )


def _tell(report: "Report", data: Any, *, quiet: bool) -> None:
    for warning in report.warnings:
        _say(f"reportgen: warning: {warning}", quiet)
    for note in report.record.notes:
        _say(f"reportgen: note: {note}", quiet)
    for problem in report.record.problems:
        _say(f"reportgen: failed: {problem}")
    for image in report.record.skipped_images:
        _say(f"reportgen: left out: {image.name}: {image.reason}")
    _say(report.summary, quiet)
    _say(report.address, quiet)
    if not data.isatty():
        print(report.address, file=data)


def _nodes(given: argparse.Namespace) -> int:
    from reportgen.listing import list_nodes, table

    names = ("size", "model_arg", "device", "dtype", "tracer")
    options = make_options({name: getattr(given, name) for name in names if getattr(given, name) is not None})
    rows = list_nodes(
        given.model,
        weights=given.weights,
        size=options.size,
        deep=given.deep,
        tracer=options.tracer,
        arguments=options.model_arg,
        device=options.device,
        dtype=options.dtype,
    )
    text = json.dumps(rows, indent=1, ensure_ascii=False) if given.json else table(rows)
    print(text, file=given.data)
    return 0


def _render(given: argparse.Namespace) -> int:
    revision = reportgen.render(
        given.site,
        captions=given.captions,
        title=given.title,
        templates=given.templates,
        base_url=given.base_url,
    )
    for warning in revision.warnings:
        _say(f"reportgen: warning: {warning}", given.quiet)
    _say(f"{revision.pages} pages written", given.quiet)
    _say(revision.address, given.quiet)
    return 0


def _pack(given: argparse.Namespace) -> int:
    packed = reportgen.pack(
        given.site,
        given.out,
        max_size=given.max_size,
        force=given.force,
        say=lambda text: _say(f"reportgen: {text}", given.quiet),
    )
    for sentence in packed.reductions if given.quiet else ():
        _say(f"reportgen: reduced: {sentence}")
    _say(packed.address, given.quiet)
    return 0


def _verify(given: argparse.Namespace) -> int:
    rebuilding = (given.images, given.config, given.weights, given.statistics, given.templates)
    if any(rebuilding) and not given.rebuild:
        raise UsageError("MODEL, IMAGE, --config, --weights, --statistics, --templates belong to --rebuild; add it")
    difference = reportgen.verify(given.site)
    _report(difference, given, "not as SHA256SUMS says")
    _say(f"{given.site}: {difference.files:,} files, each as SHA256SUMS says", given.quiet)
    if given.rebuild:
        _rebuild(given)
    return 0


def _rebuild(given: argparse.Namespace) -> None:
    from reportgen.rebuilding import rebuild

    if given.images:
        given.model, *given.images = given.images
    request = _request(given)
    rebuilt = rebuild(
        given.site,
        request.model,
        request.images,
        weights=request.options.weights,
        statistics=request.options.statistics,
        templates=request.options.templates,
        directory=request.directory,
        quiet=given.quiet,
    )
    for note in rebuilt.notes:
        _say(f"reportgen: warning: {note}")
    _report(rebuilt.difference, given, "built again, it differs")
    _say(f"{given.site}: built again, each file is the same", given.quiet)


def _report(difference: "Difference", given: argparse.Namespace, what: str) -> None:
    for line in difference.lines:
        print(line, file=given.data)
    if difference.summary:
        raise InputError(f"{given.site}: {what}: {difference.summary}")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = _Parser(
        prog="reportgen",
        description="A browsable site of what every layer of a vision network did with your images.",
        epilog=_SPECS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"reportgen {reportgen.__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _add_build(_add_command(commands, "build", _build, "build a site from a model and images"))
    _add_nodes(_add_command(commands, "nodes", _nodes, "list every node: name, op, module type, output shape"))
    _add_render(_add_command(commands, "render", _render, "write a site's pages again, with new captions"))
    _add_pack(_add_command(commands, "pack", _pack, "put a site into one file: FILE.html or FILE.zip"))
    _add_verify(_add_command(commands, "verify", _verify, "check every file of a site against its SHA256SUMS"))
    return top


def _add_command(
    commands: Any, name: str, call: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=_SPECS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    command.set_defaults(command=call, options=command._option_string_actions)
    return command


def _add_build(build: argparse.ArgumentParser) -> None:
    build.add_argument("model", nargs="?", metavar="MODEL", help="see below; default: the --config file's")
    build.add_argument("images", nargs="*", metavar="IMAGE", help="files, directories or globs")
    build.add_argument("--out", type=Path, metavar="DIR", help="the site's directory")
    build.add_argument("--config", type=Path, metavar="FILE.toml", help="options by the same names, in TOML")
    selection = build.add_argument_group("what is drawn")
    selection.add_argument(
        "--nodes",
        action="append",
        metavar="PATTERN",
        help="draw only these: a node's name, a module (its last node), or a glob; repeatable",
    )
    selection.add_argument("--exclude", action="append", metavar="PATTERN", help="leave these out; repeatable")
    selection.add_argument("--deep", action="store_const", const=True, help="open torchvision's composite blocks")
    _add_tracer(selection)
    selection.add_argument("--figures", metavar="KIND,...", help="only these kinds of figures")
    selection.add_argument("--max-channels", type=int, metavar="N", help="at most N tiles in a channel grid")
    looks = build.add_argument_group("how it looks")
    looks.add_argument("--scale", metavar="MODE", help="channel (default), layer, symmetric, or LO:HI")
    looks.add_argument("--cmap", metavar="NAME", help="a matplotlib colour map")
    looks.add_argument("--captions", type=Path, metavar="DIR", help="your own texts, in Markdown")
    looks.add_argument("--title", help="the report's title")
    _add_publishing(looks)
    _add_anonymous(looks)
    network = build.add_argument_group("the network and its input")
    network.add_argument("--weights", metavar="WHICH", help="default, none (random), or a file")
    _add_model_options(network)
    network.add_argument("--mean", metavar="A,B,C", help="mean of the normalisation, a number a channel")
    network.add_argument("--std", metavar="A,B,C", help="standard deviation of the normalisation")
    network.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="images that are compared in one forward pass; default 16. All else is of passes of one image",
    )
    network.add_argument("--categories", metavar="FILE", help="the names of the classes, one a line")
    network.add_argument("--max-pixels", type=int, metavar="N", help="refuse larger images; default 62000000")
    _add_analyses(build.add_argument_group("what is measured"))
    running = build.add_argument_group("running")
    _add_prove(running)
    running.add_argument(
        "--skip-bad", action="store_const", const=True, help="leave out images that can't be used, and say so"
    )
    running.add_argument("--strict", action="store_const", const=True, help="no site when a node or figure fails")
    running.add_argument("--force", action="store_const", const=True, help="replace a report that is there")
    running.add_argument(
        "--resume",
        action="store_const",
        const=True,
        help="keep what is done when interrupted, and go on with what an interrupted build has kept",
    )
    running.add_argument(
        "--timings", action="store_const", const=True, help="say on stderr where the time went, in a table"
    )
    running.add_argument("--quiet", action="store_const", const=True, help="errors only on stderr")


def _add_prove(group: Any) -> None:
    group.add_argument(
        "--prove",
        action="store_const",
        const=True,
        help="compute each node a second time, from copies of its inputs, and compare",
    )


def _add_publishing(group: Any) -> None:
    group.add_argument(
        "--templates", metavar="DIR", help="templates and static files that replace single built-in ones, or none"
    )
    group.add_argument("--base-url", metavar="URL", help="where the site will be, for link previews, or none")


def _add_anonymous(group: Any) -> None:
    group.add_argument(
        "--anonymous",
        action="store_const",
        const=True,
        help="no names of files, of the model its class only, no title: for blind review",
    )


def _add_tracer(group: Any) -> None:
    group.add_argument(
        "--tracer", metavar="WHICH", help="fx, eager (the model runs as it is), or auto (default): whichever can"
    )


def _add_analyses(analyses: Any) -> None:
    analyses.add_argument(
        "--statistics", type=Path, metavar="DIR", help="further images that feed statistics and CKA, not drawn"
    )
    analyses.add_argument("--cka", metavar="KIND", help="debiased (default) or biased")
    analyses.add_argument("--cka-examples", metavar="WHAT", help="images, positions, or auto (default)")
    analyses.add_argument(
        "--channel-similarity", metavar="KIND", help="cka of each image (default) or correlation over all images"
    )
    analyses.add_argument(
        "--balance", metavar="WHAT", help="hypercolumns: channels (default) or layers weigh the same"
    )
    analyses.add_argument(
        "--overview", metavar="COLSxROWS", help="layers and channels of the overview; default 15x3"
    )
    analyses.add_argument("--max-filters", type=int, metavar="N", help="kernels in a picture of filters; 0: all")
    analyses.add_argument(
        "--attention-query",
        metavar="WHICH",
        help="whose attention: class, mean or ROW,COLUMN; default: class, else mean",
    )
    analyses.add_argument("--arrays", action="store_const", const=True, help="also write the maps, as npz files")


def _add_model_options(network: Any) -> None:
    network.add_argument("--size", metavar="PIXELS", help="input size: 224, or HEIGHTxWIDTH")
    network.add_argument(
        "--model-arg",
        action="append",
        metavar="KEY=VALUE",
        help="an argument for what builds the model, a TOML value or a text; repeatable",
    )
    network.add_argument("--device", metavar="NAME", help="where the model runs: cpu, cuda, cuda:1, mps")
    network.add_argument(
        "--dtype",
        metavar="TYPE",
        help="float16, bfloat16, float32, float64, autocast:float16 or autocast:bfloat16; default: the model's own",
    )


_OPTIONS = frozenset(field.name for field in dataclasses.fields(Options))


def _add_nodes(nodes: argparse.ArgumentParser) -> None:
    nodes.add_argument("model", metavar="MODEL")
    nodes.add_argument("--json", action="store_true", help="JSON instead of a table")
    nodes.add_argument("--deep", action="store_true", help="open torchvision's composite blocks")
    _add_tracer(nodes)
    nodes.add_argument("--weights", metavar="WHICH", help="default, none or a file; default: none is loaded")
    _add_model_options(nodes)


def _add_render(render: argparse.ArgumentParser) -> None:
    render.add_argument("site", type=Path, metavar="SITE", help="a directory that `reportgen build` made")
    render.add_argument("--captions", type=Path, metavar="DIR", help="replace the user's texts")
    render.add_argument("--title", default="", help="replace the title")
    _add_publishing(render)
    render.add_argument("--quiet", action="store_true", help="errors only on stderr")


def _add_pack(pack: argparse.ArgumentParser) -> None:
    pack.add_argument("site", type=Path, metavar="SITE", help="a directory that `reportgen build` made")
    pack.add_argument("--out", type=Path, metavar="FILE", required=True, help="FILE.html or FILE.zip")
    pack.add_argument(
        "--max-size",
        metavar="SIZE",
        help="at most so large, such as 25MB; pictures are reduced to fit, and it is said",
    )
    pack.add_argument("--force", action="store_true", help="replace a file that reportgen pack did not make")
    pack.add_argument("--quiet", action="store_true", help="only errors, and what was reduced, on stderr")


def _add_verify(verify: argparse.ArgumentParser) -> None:
    verify.add_argument("site", type=Path, metavar="SITE", help="a directory that `reportgen build` made")
    # One argument for both: argparse would take an option between SITE and MODEL for the end of these.
    verify.add_argument(
        "images", nargs="*", metavar="MODEL IMAGE", help="with --rebuild: the site's model, then its images"
    )
    verify.add_argument(
        "--rebuild",
        action="store_true",
        help="also build the site again with the options it records, and compare; nothing is written",
    )
    verify.add_argument("--config", type=Path, metavar="FILE.toml", help="where --rebuild finds model and images")
    verify.add_argument("--weights", metavar="FILE", help="the file of weights, when there was one")
    verify.add_argument("--statistics", type=Path, metavar="DIR", help="the further images, when there were some")
    verify.add_argument("--templates", type=Path, metavar="DIR", help="the templates, when there were some")
    verify.add_argument("--quiet", action="store_true", help="only what differs, and errors")
    verify.set_defaults(model=None, out=None)
