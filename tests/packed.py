"""A packed report read by other means than those that wrote it."""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote
from xml.etree.ElementTree import Element

import html5lib

REFERENCES = ("for", "aria-labelledby", "aria-describedby", "aria-controls")


def parse(text: str) -> Element:
    return _plain(html5lib.HTMLParser(namespaceHTMLElements=False).parse(text))


def _plain(root: Element) -> Element:
    """Without the namespaces of SVG, whose elements stand beside those of HTML."""
    for element in elements(root):
        element.tag = element.tag.rpartition("}")[2]
        for name in [name for name in element.attrib if not isinstance(name, str) or name.startswith("{")]:
            element.attrib[str(name).rpartition("}")[2]] = element.attrib.pop(name)
    return root


def elements(root: Element) -> Iterator[Element]:
    return (element for element in root.iter() if isinstance(element.tag, str))


def sections(root: Element) -> dict[str, Element]:
    return {element.attrib["data-page"]: element for element in elements(root) if "data-page" in element.attrib}


def check_packed(path: Path) -> list[str]:
    """Return every problem of a packed report: what would be missing, loaded from elsewhere, or ambiguous in it."""
    text = path.read_text(encoding="utf-8")
    parser = html5lib.HTMLParser(namespaceHTMLElements=False)
    root = _plain(parser.parse(text))
    problems = [f"not valid HTML: {code}" for _, code, _ in parser.errors]
    ids = Counter(element.attrib["id"] for element in elements(root) if "id" in element.attrib)
    problems += [f"id {identity!r} stands {count} times" for identity, count in ids.items() if count > 1]
    for element in elements(root):
        problems += _check_element(element, ids)
    return [*problems, *_check_policy(root)]


def _check_element(element: Element, ids: Counter[str]) -> Iterator[str]:
    for name, value in element.attrib.items():
        yield from _check_attribute(element, name, value, ids)
    if element.tag == "img" and not element.attrib.keys() >= {"src", "alt", "width", "height"}:
        yield f"img has only {sorted(element.attrib)}"
    if element.tag in ("iframe", "object", "embed", "base"):
        yield f"there is a {element.tag}"
    if element.tag == "link" and element.get("href") != "data:,":
        yield f"link to {element.get('href')!r}"


def _check_attribute(element: Element, name: str, value: str, ids: Counter[str]) -> Iterator[str]:
    if name == "style" or name.startswith("on"):
        yield f"{element.tag} has {name}"
    if name in REFERENCES:
        yield from (f"{name} names {each!r}" for each in value.split() if each not in ids)
    if name in ("src", "poster", "srcset") and not value.startswith("data:"):
        yield f"{name} is {value[:80]!r}"
    if name in ("href", "xlink:href"):
        yield from _check_link(element, value, ids)


def _check_link(element: Element, address: str, ids: Counter[str]) -> Iterator[str]:
    if address.startswith("#"):
        if unquote(address[1:]) not in ids:
            yield f"{address!r} leads nowhere"
    elif not address.startswith("data:") and set(element.get("rel", "").split()) != {"noopener", "noreferrer"}:
        yield f"{element.tag} leads to {address[:80]!r}"


def _check_policy(root: Element) -> Iterator[str]:
    (policy,) = (element.attrib["content"] for element in elements(root) if "http-equiv" in element.attrib)
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
    if rules["default-src"] != ["'none'"] or rules["img-src"] != ["data:"] or "unsafe" in policy:
        yield f"the policy is {policy}"
    for kind in ("style", "script"):
        inline = [each for each in elements(root) if each.tag == kind and each.get("type") != "application/json"]
        hashes = [_hash(each.text or "") for each in inline]
        if rules[f"{kind}-src"] != hashes:
            yield f"{kind}-src allows {rules[f'{kind}-src']}, not {hashes}"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def embedded(root: Element) -> list[str]:
    """The address of every picture that the document holds."""
    found = (element.get("src") or element.get("href") or "" for element in elements(root) if element.tag in (
        "img", "image"
    ))  # fmt: skip
    return [address for address in found if address]


def content_of(address: str) -> bytes:
    match = re.fullmatch(r"data:[a-z0-9/+.-]+;base64,([A-Za-z0-9+/=]*)", address)
    assert match, address[:80]
    return base64.b64decode(match[1], validate=True)
