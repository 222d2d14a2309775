"""MkDocs hook: pages that lie outside docs/ stand on the site, and links between all of them hold there.

In the repository a page links to files as they lie there, so that it reads well where it lies. On the site a link to a
page goes to that page; a link to any other file becomes its text, since the site does not hold the code. A link to what
does not exist is a warning, which `mkdocs build --strict` fails on. Pages that mkdocs.yml does not name stand under
"More".
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
FOLDED = {
    "index.md": "README.md",
    "architecture.md": "ARCHITECTURE.md",
    "glossary.md": "GLOSSARY.md",
    "changelog.md": "CHANGELOG.md",
    "reference/stacks.md": "config/stacks/README.md",
    "reference/demo-data.md": "data/README.md",
    "reference/demo-base.md": "models/demo-base/README.md",
    "zh-CN/index.md": "README.zh-CN.md",
}
"""Pages of the site by the file in the repository that they are."""
log = logging.getLogger("mkdocs.hooks.folded")
_LINK = re.compile(r"(!?)\[([^\]\[]*)\]\(([^()\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.M | re.S)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the folded pages, and to the navigation whatever it does not name."""
    for page, source in FOLDED.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    named = set(_named(config.nav))
    more = sorted(file.src_uri for file in files.documentation_pages() if file.src_uri not in named)
    if more and config.nav is not None:
        config.nav.append({"More": more})
    return files


def _named(nav: Any) -> list[str]:
    """Every page that a navigation names."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav or ()
    return [page for part in parts for page in _named(part)]


def on_page_markdown(markdown: str, *, page: Any, config: MkDocsConfig, files: Files) -> str:
    """The page's text with its links as the site needs them; what stands in code blocks stays."""
    place = page.file.src_uri
    if place.startswith("reference/") and place not in FOLDED:
        return markdown  # made by the other hook, for the site
    source = FOLDED.get(place, f"docs/{place}")
    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_mended(markdown[end : fence.start()], place, source), fence[0]]
        end = fence.end()
    return "".join([*parts, _mended(markdown[end:], place, source)])


def _mended(text: str, place: str, source: str) -> str:
    pages = {repository: page for page, repository in FOLDED.items()}

    def mend(link: re.Match[str]) -> str:
        image, words, target = link[1], link[2], link[3]
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target) or not path:
            return link[0]
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if not (ROOT / wanted).exists():
            log.warning("%s links to %s, which does not exist", source, target)
            return words
        found = pages.get(wanted) or pages.get(f"{wanted}/README.md")
        if found is None and wanted.startswith("docs/") and (ROOT / wanted).is_file():
            found = wanted.removeprefix("docs/")
        if found is None:
            return words if "`" in words or "/" not in words else f"`{words}`"
        relative = posixpath.relpath(found, posixpath.dirname(place) or ".")
        return f"{image}[{words}]({relative}{'#' + anchor if anchor else ''})"

    return _LINK.sub(mend, text)
