"""A number with the noun that it counts, as a sentence has it."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """`1 step`, `3,000 steps`, `2 series`; the noun is one whose plural ends in s."""
    return f"{number:,} {noun}{'' if number == 1 or noun.endswith('series') else 's'}"
