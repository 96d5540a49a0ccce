"""What figures and tables are called on the page, as they are spoken."""

from __future__ import annotations

import re

_SPOKEN = {"nfe": "NFE", "per_image": "Image by image", "speed_accuracy": "Speed and accuracy"}


def title(name: str) -> str:
    """`Figure 3` of fig3, `Table 1` of table1, `Image by image` of per_image; others with a capital."""
    if numbered := re.fullmatch(r"(fig|table)(\d+)", name):
        return f"{'Figure' if numbered[1] == 'fig' else 'Table'} {numbered[2]}"
    return _SPOKEN.get(name, name.replace("_", " ").capitalize())
