"""Style sheets, scripts and data scripts as they stand inside a document, and the policy that names them."""

import base64
import hashlib
import html
import json
import posixpath
import re
from collections.abc import Sequence

from reportgen.site.rewriting import MIME
from reportgen.site.source import Source

_DATA_SCRIPT = re.compile(r"reportgen\.([\w.]+)\((.*)\);\s*", re.DOTALL)
_IMG = re.compile(r"(?<![\w.#-])img(?![\w-])")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_URL = re.compile(r"""url\(\s*['"]?(?!data:)([^'")?#]+)[^)]*\)""")


def style_text(name: str, source: Source) -> str:
    """Return the style sheet `name` for use inside a document.

    What is said of `img` holds for drawn pictures as well, and files that it names are in it as data.
    """
    text = _COMMENT.sub("", source.text(name))
    text = _IMG.sub(":is(img, svg.picture)", text)
    return _URL.sub(lambda match: _embedded(match, name, source), text).replace("</", "<\\/")


def _embedded(match: re.Match[str], sheet: str, source: Source) -> str:
    file = posixpath.normpath(posixpath.join(posixpath.dirname(sheet), match[1].strip()))
    mime = MIME.get(file.rpartition(".")[2])
    if file not in source.sizes or mime is None:
        return match[0]
    return f'url("data:{mime};base64,{base64.b64encode(source.read(file)).decode()}")'


def script_text(text: str) -> str:
    """Return a script so that nothing in it ends the element it stands in; such signs occur in texts alone."""
    return re.sub(r"<(?=/script|!--)", r"\\x3c", text, flags=re.IGNORECASE)


def data_block(name: str, text: str) -> str:
    """Return a data script as a block of JSON that no browser runs; empty for a script that is no data script.

    A data script is one call of a function of reportgen, whose arguments are JSON.
    """
    match = _DATA_SCRIPT.fullmatch(text)
    if match is None:
        return ""
    try:
        values = json.dumps(json.loads(f"[{match[2]}]"), ensure_ascii=False, separators=(",", ":"))
    except ValueError:
        return ""
    values = values.replace("<", "\\u003c")
    about = f'data-file="{html.escape(name)}" data-call="{match[1]}"'
    return f'<script type="application/json" {about}>{values}</script>\n'


def policy(style: str, scripts: Sequence[str]) -> str:
    """Return the content policy of a document with one style and these scripts, and all else as data."""
    rules = {
        "default-src": ["'none'"],
        "img-src": ["data:"],
        "font-src": ["data:"],
        "style-src": [_hash(style)],
        "script-src": [_hash(script) for script in scripts],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    return "; ".join(" ".join([name, *values]) for name, values in rules.items())


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
