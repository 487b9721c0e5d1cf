"""Pictures in captions: which files they mean, and what of these becomes a part of the site.

The address in `![a cat](photos/cat.png)` is read as a browser would read it on a page beside the caption's file: it
is percent-decoded, what follows `?` or `#` is no part of the name, and `..` leads a directory up. Only regular
files within the captions' directory are taken, links resolved; whatever has a scheme or a host, is absolute or
leads out is never opened. What is stored is made of a picture's pixels alone, under an address that tells nothing
of its name: `static/picture.<hash>.png`.
"""

import os
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

from reportgen.errors import UsageError
from reportgen.site.captions import Illustration, caption_files, pictures_in, replace_controls
from reportgen.site.record import IllustrationEntry
from reportgen.site.theme import hashed

MAX_PICTURES = 256
"""So many different pictures may the captions of a report show."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\\]")
_NAME = "picture.png"


@dataclass(frozen=True)
class Encoded:
    """A picture as it is stored: a PNG of `width` x `height` pixels."""

    content: bytes
    width: int
    height: int


Encode = Callable[[Path, str], Encoded]
"""From a picture's file, and what an error calls it, to what is stored; raises UsageError when it can't be read."""


@dataclass(frozen=True)
class Illustrated:
    """Captions with their pictures: Markdown by place, what each address in it leads to, and the files by path."""

    texts: Mapping[str, str] = field(default_factory=dict)
    entries: Sequence[IllustrationEntry] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)


def read_illustrated(directory: Path, encode: Encode | None) -> Illustrated:
    """Read every caption below `directory`, as `read_captions` does, and the pictures that they show.

    A picture that isn't there is left out, as the warnings then say; without `encode` each is. Raises UsageError,
    besides what `read_captions` raises, for a file that is there and can't be used as a picture, and for more than
    MAX_PICTURES of them.
    """
    found = list(caption_files(directory))
    reader = _Reader(directory, encode)
    entries = [entry for key, path, text in found for entry in reader.entries(key, path, text)]
    entries.sort(key=lambda entry: entry.caption)  # stable: of one caption, in the order they are shown in
    return Illustrated(dict(sorted((key, text) for key, _, text in found)), entries, reader.files)


class _Reader:
    """Reads each picture once, however often it is shown."""

    def __init__(self, directory: Path, encode: Encode | None) -> None:
        self._directory, self._root, self._encode = directory, directory.resolve(), encode
        self._read: dict[Path, tuple[str, Encoded]] = {}
        self.files: dict[str, bytes] = {}

    def entries(self, key: str, caption: Path, text: str) -> Iterator[IllustrationEntry]:
        folder = caption.parent.relative_to(self._directory).as_posix()
        for address in pictures_in(text):
            path = self._find(folder, address)
            if path is not None and self._encode is not None:
                name, picture = self._stored(path, self._encode, f"caption {str(caption)!r}: picture {address!r}")
                yield IllustrationEntry(key, address, name, picture.width, picture.height)

    def _find(self, folder: str, address: str) -> Path | None:
        """The file within the captions that `address` leads to from `folder`; None when there is none."""
        try:
            name = os.fsdecode(local_name(address).encode())  # names of files are UTF-8 whatever the locale
            inside = posixpath.normpath(posixpath.join(folder, name)) if name else ".."
            if inside.split("/")[0] == "..":
                return None
            path = (self._root / inside).resolve()
            return path if path.is_relative_to(self._root) and path.is_file() else None
        except (OSError, RuntimeError, ValueError):  # names that no file can have, links in a ring
            return None

    def _stored(self, path: Path, encode: Encode, shown: str) -> tuple[str, Encoded]:
        if path not in self._read:
            if len(self._read) == MAX_PICTURES:
                raise UsageError(f"{shown} is one too many; captions may show {MAX_PICTURES} different ones")
            picture = encode(path, shown)
            self._read[path] = (hashed(_NAME, picture.content), picture)
            self.files[self._read[path][0]] = picture.content
        return self._read[path]


def local_name(address: str) -> str:
    """Return the path that a picture's address names, relative to its caption; "" when it leads anywhere else."""
    if _UNFIT.search(address) or address.startswith("/") or _SCHEME.match(address):
        return ""
    try:
        name = unquote(re.split(r"[?#]", address, maxsplit=1)[0], errors="strict")
    except UnicodeDecodeError:
        return ""
    return "" if name.startswith("/") or _UNFIT.search(name) else name


def unnamed(captions: Illustrated) -> Illustrated:
    """Return the captions with their pictures called `picture-1`, `picture-2`...: no text then names their files.

    Raises UsageError for an address that is written otherwise than it reads, so that it isn't found in its text.
    """
    files = list(dict.fromkeys(entry.file for entry in captions.entries))
    names: dict[str, dict[str, str]] = {key: {} for key in captions.texts}
    for entry in captions.entries:
        names[entry.caption][entry.reference] = f"picture-{files.index(entry.file) + 1}"
    texts = {key: _renamed(key, text, names[key]) for key, text in captions.texts.items()}
    entries = [replace(entry, reference=names[entry.caption][entry.reference]) for entry in captions.entries]
    return Illustrated(texts, list(dict.fromkeys(entries)), captions.files)


def _renamed(key: str, text: str, names: Mapping[str, str]) -> str:
    """The text with each address in `names` replaced, wherever it stands by itself."""
    if not names:
        return text
    known = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    changed = re.sub(rf"(?<![\w./%-])(?:{known})(?![\w/%-]|\.\w)", lambda found: names[found[0]], text)
    wanted = list(dict.fromkeys(names.get(address, address) for address in pictures_in(text)))
    if pictures_in(changed) != wanted:
        raise UsageError(
            f"captions/{key}.md: one of its pictures ({', '.join(names)}) is named so that the name can't be taken "
            "out; with --anonymous, write plain paths without escapes, or leave the picture out"
        )
    return changed


class Gallery:
    """The pictures of a report's captions, as its pages ask for them."""

    def __init__(self, entries: Sequence[IllustrationEntry]) -> None:
        self._entries = {(entry.caption, entry.reference): entry for entry in entries}

    def find(self, caption: str, reference: str, root: str) -> Illustration | None:
        """What the caption with the key `caption` shows for an address; `root` leads to the site's root."""
        entry = self._entries.get((caption, reference))
        return Illustration(f"{root}{entry.file}", entry.width, entry.height) if entry else None

    def missing(self, captions: Mapping[str, str]) -> Iterator[str]:
        """Yield a line for each address of a picture in `captions` that nothing is shown for."""
        for key, text in captions.items():
            for address in pictures_in(text):
                if (key, address) not in self._entries:
                    told = f"captions/{key}.md: the picture {address!r} is not shown: {_reason(address)}"
                    yield replace_controls(told)


def _reason(address: str) -> str:
    if not local_name(address):
        return "pictures come from the captions' directory only; copy it there, and name it relative to this file"
    return "there is no such file in the captions' directory; its path starts where this file lies"
