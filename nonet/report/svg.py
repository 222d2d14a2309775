"""Figures as SVG for a page: colours that follow the page's theme, tips on marks, no script. Knows matplotlib's SVG.

matplotlib has one colour for everything and knows no CSS. So figures are drawn in stand-in colours, one for each
variable of the page's style, and the finished SVG gets the variables in their place.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

NAMES = ("text", "muted", "line", "paper", "accent", "bad", *(f"series{at}" for at in range(10)))
"""Variables of the page's style (`--text`, …) that figures are drawn in."""
FONT_SIZE = 9
SMALLEST, LARGEST = 64, 120
"""CSS pixels an inch of a figure is shown at: on narrow screens it scrolls, on wide ones small figures do not shout."""
_STAND_IN = "#0d0e{:02x}"
_FOUND = re.compile(r"#0d0e([0-9a-f]{2})")
_FONT = re.compile(r"font-family: [^;\"]+")
_SVG = "http://www.w3.org/2000/svg"


def colour(name: str) -> str:
    """The stand-in for the variable `name` of the page's style; raises ValueError for an unknown one."""
    return _STAND_IN.format(NAMES.index(name))


def series(at: int) -> str:
    """The stand-in for the colour of the series at position `at`."""
    return colour(f"series{at % 10}")


@contextmanager
def drawing(name: str) -> Iterator[None]:
    """Draw in the page's look while this lasts; `name` keeps the ids of this figure apart from those of others."""
    import matplotlib

    look: dict[Any, Any] = {
        "svg.fonttype": "none",  # text as text: it can be read, searched, and takes the page's font
        "svg.hashsalt": name,
        "text.parse_math": False,
        "font.size": FONT_SIZE,
        "text.color": colour("text"),
        "axes.labelcolor": colour("muted"),
        "axes.edgecolor": colour("line"),
        "axes.titlesize": FONT_SIZE + 1,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": colour("line"),
        "ytick.color": colour("line"),
        "xtick.labelcolor": colour("muted"),
        "ytick.labelcolor": colour("text"),
        "grid.color": colour("line"),
        "axes.axisbelow": True,
        "legend.frameon": False,
    }
    with matplotlib.rc_context(look):
        yield


def new_figure(width: float, height: float) -> Any:
    """An empty figure of so many inches, without a window or any state of pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="none")


def svg_of(figure: Any, label: str, tips: Mapping[str, str]) -> str:
    """The figure as an <svg> element called `label`; a mark whose gid is in `tips` shows that text under the mouse."""
    data = io.StringIO()
    figure.savefig(data, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(data.getvalue())
    _bare(root)
    least, most = (figure.get_figwidth() * pixels for pixels in (SMALLEST, LARGEST))
    root.set("style", f"min-width: {least:.0f}px; max-width: {most:.0f}px")
    root.set("role", "img")
    root.set("aria-label", label)
    for mark in root.iter():
        tip = tips.get(mark.get("id", ""))
        if tip is not None:
            title = ElementTree.Element(f"{{{_SVG}}}title")
            title.text = tip
            mark.insert(0, title)
        if mark.tag == f"{{{_SVG}}}g":
            mark.attrib.pop("id", None)  # nothing refers to groups, and other figures have the same names
    text = ElementTree.tostring(root, encoding="unicode")
    text = _FOUND.sub(lambda found: f"var(--{NAMES[int(found[1], 16)]})", text)
    return _FONT.sub("font-family: var(--font)", text)


def _bare(root: ElementTree.Element) -> None:
    """Without matplotlib's metadata, and without a size: the page gives it one."""
    for found in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(found)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
