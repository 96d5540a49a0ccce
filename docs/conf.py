"""How `make docs` makes the site: Sphinx reads the Markdown of this folder, and nodebench.ode's docstrings.

Docstrings are plain sentences that also read well in a terminal; here they become reStructuredText.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nodebench import __version__

project = "nodebench"
release = __version__
html_title = f"nodebench {__version__}"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["results/*/runs/**", "package_index.md"]
html_theme = "furo"
html_show_copyright = False
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["site.css"]
suppress_warnings = ["myst.header"]  # pages included below a heading begin deeper
default_role = "code"
myst_heading_anchors = 4
autodoc_typehints = "none"  # what each takes is said in words
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 90

_ENTRY = re.compile(r"^([a-z_0-9]+(?:, [a-z_0-9]+)*): (.*)")


def _as_rst(lines: list[str]) -> Iterator[str]:
    """`name: what it is` becomes an entry of a definition list, and a drawing a literal block."""
    is_entry = False
    for number, line in enumerate(lines):
        after_blank = number == 0 or not lines[number - 1].strip()
        if after_blank and line.startswith("    "):
            yield from ("::", "")
            is_entry = False
        if found := _ENTRY.match(line):
            yield from ("", found[1], f"    {_plain(found[2])}")
            is_entry = True
        elif line.startswith("    ") and not is_entry:
            yield line
        else:
            is_entry = is_entry and line.startswith("    ")
            yield _plain(line)


def _plain(line: str) -> str:
    """A line of text whose stars and bars mean themselves, outside of code."""
    parts = line.split("`")
    parts[::2] = [re.sub(r"([*|]|\b_|_\b)", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def setup(app: object) -> None:
    """Sphinx calls this."""

    def in_place(app: object, what: str, name: str, found: object, options: object, lines: list[str]) -> None:
        lines[:] = list(_as_rst(lines))

    def with_title(app: object, page: str, source: list[str]) -> None:
        """Tables that `nodebench table` made have none."""
        if page.startswith("results/") and not source[0].startswith("# "):
            folder, name = page.split("/")[-2:]
            source[0] = f"# {folder}: {name}\n\n{source[0]}" if name != folder else f"# {name}\n\n{source[0]}"

    app.connect("autodoc-process-docstring", in_place)  # type: ignore[attr-defined]
    app.connect("source-read", with_title)  # type: ignore[attr-defined]
