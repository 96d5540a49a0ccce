"""The text of a matplotlib SVG as part of a page: the page's colours and fonts, ids of its own, nothing idle."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from importlib.resources import files

_OUTSIDE = re.compile(
    r"^.*?(?=<svg)|<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>|<defs>\s*</defs>", re.DOTALL
)
_OF_THE_OUTER_ELEMENT = re.compile(r' (?:width|height|version|xmlns(?::xlink)?)="[^"]*"')
_NUMERIC = re.compile(r' (?:d|points|transform|x|y|width|height)="[^"]*"')
_NUMBER = re.compile(r"-?\d+\.\d{2,}(?:e-\d+)?")
_STYLE = re.compile(r' style="([^"]*)"')
_FONT = re.compile(r"font: (?:(italic|oblique) )?(?:(bold|\d00) )?([\d.]+px)[^;]*")
_COLOUR = re.compile(r"#([0-9a-f]{6})\b")
_LEAVES = re.compile(r"<g>((?:<(?:path|use) [^>]*/>){2,})</g>")
_CLIP = re.compile(r' clip-path="([^"]*)"')
_MANY = 3  # elements of one style: they have a class


def inlined(svg: str, name: str) -> str:
    """The SVG as one element, without size, date, fonts and colours of its own; ids and classes begin with `name`.

    Numbers are rounded to hundredths of a point, less than a screen shows.
    """
    text = _OUTSIDE.sub("", svg)
    opening, _, rest = text.partition(">")
    opening = _OF_THE_OUTER_ELEMENT.sub("", opening)
    rest = _NUMERIC.sub(lambda found: _NUMBER.sub(_rounded, found[0]), rest)
    rest = re.sub(r' d="[^"]*"', lambda found: _closed_up(found[0]), rest)
    rest = re.sub(r">\s+<", "><", rest)
    rest = _STYLE.sub(lambda found: f' style="{_of_the_page(found[1])}"', rest)
    rest = _LEAVES.sub(_clipped_once, _with_own_ids(rest, name))
    rest, rules = _with_classes(rest, name)
    style = f"<style>{rules}</style>" if rules else ""
    return f"{' '.join(opening.split())}>{style}{rest.strip()}"


def _clipped_once(found: re.Match[str]) -> str:
    """A group of leaves that are all clipped alike, with that said of the group."""
    leaves, clips = found[1], _CLIP.findall(found[1])
    if len(set(clips)) != 1 or len(clips) != leaves.count("<"):
        return found[0]
    return f'<g clip-path="{clips[0]}">{_CLIP.sub("", leaves)}</g>'


def _rounded(found: re.Match[str]) -> str:
    return f"{round(float(found[0]), 2):g}" if abs(float(found[0])) < 1e5 else found[0]


def _closed_up(path: str) -> str:
    """A path without spaces that separate nothing."""
    return re.sub(r" ?([MLCQHVZmlcqhvz]) ?", r"\1", path.replace("\n", "").replace(' d="', "\0")).replace(
        "\0", ' d="'
    )


def _of_the_page(style: str) -> str:
    """The page's font, its colours where it has one in place of a figure's, and no space that says nothing."""
    style = _FONT.sub(_font, style)
    style = _COLOUR.sub(
        lambda found: f"var(--c{found[1]})" if found[1] in page_colours() else found[0], style
    )
    return re.sub(r"([:;,]) ", r"\1", style)


def _font(found: re.Match[str]) -> str:
    italic, weight, size = found.groups()
    told = [f"font-style:{italic}"] if italic else []
    return ";".join([*told, *([f"font-weight:{weight}"] if weight else []), f"font-size:{size}"])


@cache
def page_colours() -> frozenset[str]:
    """The colours of figures that the page has others for in the dark: those named in its style."""
    style = (files("nodebench.reporting.report") / "assets" / "style.css").read_text(encoding="utf-8")
    return frozenset(re.findall(r"--c([0-9a-f]{6}):", style))


def _with_own_ids(text: str, name: str) -> str:
    """Ids that no other figure of the page has; those that nothing refers to are left out."""
    referred = [*re.findall(r'href="#([^"]*)"', text), *re.findall(r"url\(#([^)]*)\)", text)]
    short = {long: f"{name}-i{number}" for number, long in enumerate(dict.fromkeys(referred))}
    text = re.sub(
        r' id="([^"]*)"', lambda found: f' id="{short[found[1]]}"' if found[1] in short else "", text
    )
    text = re.sub(r'(?:xlink:)?href="#([^"]*)"', lambda found: f'href="#{short[found[1]]}"', text)
    text = re.sub(r"url\(#([^)]*)\)", lambda found: f"url(#{short[found[1]]})", text)
    return text.replace("xlink:href=", "href=")


def _with_classes(text: str, name: str) -> tuple[str, str]:
    """The text with a class in place of each style that many elements have, and the rules of the classes."""
    counts = Counter(_STYLE.findall(text))
    classes = {
        style: f"{name}-{number}"
        for number, style in enumerate(style for style, count in counts.items() if count >= _MANY)
    }

    def short(found: re.Match[str]) -> str:
        return f' class="{classes[found[1]]}"' if found[1] in classes else found[0]

    rules = "".join(f".{short}{{{style}}}" for style, short in classes.items())
    return _STYLE.sub(short, text), rules
