"""What all sources of models share: optional packages, the user's arguments, and how their refusal is told."""

import importlib
import logging
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reportgen.errors import InputError, ReportError, UsageError
from reportgen.inputs.weights import sha256_of
from reportgen.names import did_you_mean

_CHECKPOINT = "model.safetensors"

_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'|multiple values for (?:keyword )?argument '(\w+)'")


def import_extra(package: str, extra: str, spec: str) -> Any:
    """Import an optional package; InputError that says how to install it when it is missing."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        missing = getattr(error, "name", None) or package
        raise InputError(
            f"model {spec}: needs the package {missing.partition('.')[0]}; pip install 'reportgen[{extra}]'"
        ) from error


@contextmanager
def building(name: str, arguments: Mapping[str, Any], weights: str | None = None) -> Iterator[None]:
    """Turn what a builder raises into one line: UsageError where it is the user's argument, else InputError.

    `weights` are those that are to be downloaded or read, if any; the message then has both ways out.
    """
    try:
        yield
    except ReportError:
        raise
    except Exception as error:
        refused = _refused(error)
        if refused in arguments:
            raise refused_argument(name, refused) from error
        if weights is not None:
            raise no_weights(name, weights, error) from error
        given = f" with {arguments_text(arguments)}" if arguments else ""
        raise InputError(f"model {name}: could not be built{given} ({type(error).__name__}: {error})") from error


def _refused(error: Exception) -> str:
    """Return the argument that a builder doesn't know, or sets itself; else an empty string."""
    found = _UNEXPECTED.search(str(error)) if isinstance(error, TypeError) else None
    return next((part for part in found.groups() if part), "") if found else ""


def refused_argument(name: str, argument: str, known: Sequence[str] | None = None) -> UsageError:
    """Return the error for an argument that what builds the model `name` doesn't take; it takes those `known`."""
    hint = "its documentation says which there are"
    if known is not None:
        hint = did_you_mean(argument, known) or f"it takes {', '.join(known) or 'none'}"
    return UsageError(f"model-arg {argument}: {name} takes no such argument; {hint}")


def arguments_text(arguments: Mapping[str, Any]) -> str:
    """Return arguments as people write them: `depth=4, name=abc`."""
    return ", ".join(f"{name}={value}" for name, value in arguments.items())


def no_weights(name: str, weights: str, error: Exception) -> InputError:
    """Return the error for weights that can't be downloaded or read, with both ways out."""
    return InputError(
        f"model {name}: its weights{weights and ' '}{weights} could not be had ({type(error).__name__}: {error}); "
        "give --weights none for random values, or --weights FILE for a checkpoint you have"
    )


@contextmanager
def quietly() -> Iterator[None]:
    """Keep what the hubs' libraries would log, and their bars of progress, to themselves: errors are raised."""
    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "transformers", "timm")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with _bars_hidden(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _bars_hidden() -> Iterator[None]:
    """Hide the bars of transformers, where it is loaded: it shows them even where nobody sees them."""
    bars: Any = importlib.import_module("transformers").utils.logging if "transformers" in sys.modules else None
    if bars is None or not bars.is_progress_bar_enabled():
        yield
        return
    bars.disable_progress_bar()
    try:
        yield
    finally:
        bars.enable_progress_bar()


def published_hash(place: str, revision: str | None = None) -> str | None:
    """Return the SHA-256 of the weights in a directory, or of a repository's in the hub's cache.

    None where they are not one safetensors file.
    Raises InputError when the file can't be read.
    """
    if Path(place).is_dir():
        path: Any = Path(place) / _CHECKPOINT
    else:
        hub = importlib.import_module("huggingface_hub")
        path = hub.try_to_load_from_cache(place, _CHECKPOINT, revision=revision)
    return sha256_of(Path(path)) if isinstance(path, str | Path) and Path(path).is_file() else None
