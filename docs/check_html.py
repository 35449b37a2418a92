"""Walk built documentation and name what a reader would find broken: ``python docs/check_html.py docs/_build/html``.

Sphinx checks what it resolves itself. It does not see raw HTML, links in docstrings, a picture that was not copied, an
anchor that a theme renamed, or a search that finds nothing. Addresses outside of the folder are looked at, not opened.
"""

import json
import os
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: Words that readers of this documentation search for.
KEYWORDS = (
    "apogee",
    "nirspec",
    "lamost",
    "mask",
    "ivar",
    "velocity",
    "embedding",
    "recall",
    "gpu",
    "plugin",
    "Cramér-Rao",
)
#: The attribute in which an element points elsewhere.
ELEMENTS = {"a": "href", "link": "href", "object": "data"}
ELEMENTS |= dict.fromkeys(("img", "script", "source", "iframe"), "src")
NO_PAGES = ("_static", "_sources", "_downloads")


@dataclass
class Page(HTMLParser):
    """What one page has and where it points."""

    title: str = ""
    links: list = field(default_factory=list)
    anchors: set = field(default_factory=set)
    without_alt: list = field(default_factory=list)
    in_title: bool = False

    def __post_init__(self):
        super().__init__()

    def handle_starttag(self, tag, attributes):
        """Called by the parser."""
        found = dict(attributes)
        self.anchors |= {found[key] for key in ("id", "name") if found.get(key) and tag != "meta"}
        self.in_title = self.in_title or (tag == "title" and not self.title)
        if found.get(ELEMENTS.get(tag)):
            self.links.append((tag, found[ELEMENTS[tag]].strip()))
        if tag == "img" and not (found.get("alt") or "").strip():
            self.without_alt.append(found.get("src", "?"))

    def handle_endtag(self, tag):
        """Called by the parser."""
        self.in_title = self.in_title and tag != "title"

    def handle_data(self, data):
        """Called by the parser."""
        self.title += data if self.in_title else ""


def read_pages(folder):
    """Every page below a folder of built HTML, by its path."""
    pages = {}
    for path in sorted(folder.rglob("*.html")):
        if path.relative_to(folder).parts[0] not in NO_PAGES:
            pages[path] = Page()
            pages[path].feed(path.read_text(encoding="utf-8"))
    return pages


def page_faults(page):
    """Faults of a page by itself."""
    if not page.title.strip():
        yield "has no title"
    for source in page.without_alt:
        yield f"picture without alt text: {source}"


def link_fault(folder, path, pages, tag, target):
    """What is wrong with a link of the page at ``path``, or None."""
    try:
        parts = urlsplit(target)
    except ValueError as error:
        return f"{tag}: {target}: {error}"
    if parts.scheme or parts.netloc:
        return external_fault(tag, target, parts)
    place = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
    if not place.is_relative_to(folder):
        return f"{tag}: {target}: points out of the documentation"
    if not place.is_file():
        return f"{tag}: {target}: no such file"
    if not place.stat().st_size:
        return f"{tag}: {target}: the file is empty"
    fragment = unquote(parts.fragment)
    if tag == "a" and fragment and place in pages and fragment not in pages[place].anchors:
        return f"{tag}: {target}: no such anchor"
    return None


def external_fault(tag, target, parts):
    """What is wrong with an address elsewhere, by its looks alone."""
    if parts.scheme in ("mailto", "data"):
        return None
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or "." not in host or any(sign.isspace() for sign in target):
        return f"{tag}: {target}: not an address"
    return None


def read_index(folder):
    """The search index of Sphinx, or None where there is none that can be read."""
    path = folder / "searchindex.js"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    body = text[text.find("(") + 1 : text.rfind(")")]
    try:
        return json.loads(body)
    except json.JSONDecodeError:
        return None


def is_stem(stem, word):
    """Whether a word may have been cut to this stem; short ones are not cut."""
    return stem == word or (len(word) > 5 and word.startswith(stem) and 2 * len(stem) >= len(word))


def search_faults(folder, keywords=KEYWORDS):
    """Words that the search would not find; the index holds stems, which are beginnings of words."""
    index = read_index(folder)
    if index is None:
        yield "searchindex.js: not there, or not what Sphinx writes"
        return
    stems = set(index["terms"]) | set(index["titleterms"])
    for keyword in keywords:
        for word in keyword.lower().split("-"):
            if not any(is_stem(stem, word) for stem in stems):
                yield f"the search does not know {word!r}"


def find_faults(folder):
    """All that is broken, as lines of text."""
    folder = Path(folder).resolve()
    pages = read_pages(folder)
    if folder / "index.html" not in pages:
        return [f"{folder}: no index.html"]
    faults = []
    for path, page in pages.items():
        found = [*page_faults(page), *(link_fault(folder, path, pages, *link) for link in page.links)]
        faults += [f"{path.relative_to(folder)}: {fault}" for fault in dict.fromkeys(found) if fault]
    return faults + list(search_faults(folder))


def main(arguments):
    """Print what is broken; the exit code is 1 where something is, 2 without a folder."""
    if len(arguments) != 1:
        print(__doc__.splitlines()[0])
        return 2
    faults = find_faults(arguments[0])
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults in {len(read_pages(Path(arguments[0]).resolve()))} pages")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
