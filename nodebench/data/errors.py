"""The one error of this package."""

from __future__ import annotations


class DataError(ValueError):
    """Data that cannot be used: files missing, damaged or unreadable, or settings that do not fit them."""
