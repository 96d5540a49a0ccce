"""The rule that calls a trained net a flow or a discretisation, and what a test set is too small to decide.

Question and reading after Ott et al., "ResNet after all? Neural ODEs and their numerical solution" (ICLR 2021).
"""

from __future__ import annotations

FLOW_LIMIT = 0.1
"""Percent of the test images: of a flow fewer are called another class under every solve that spends at least
training's evaluations. Where records do not tell the predictions, points of test error, which moves by no more than
they do.
"""
FLOW, DISCRETISATION, UNDECIDED = "a flow", "a discretisation", "undecided"
_ROUNDING = 1e-9  # of 10,000 images, 10 are 0.1 points and not 0.09999


def judge(change: float, num_images: int | None) -> str:
    """FLOW, DISCRETISATION or UNDECIDED, by the largest change: of predictions in percent, or of the error in points.

    Of `num_images` test images one is 100 / num_images points: where that is above the limit, an error that stays, or
    changes by one image, says neither. None: not known, and enough.
    """
    one_image = 100 / num_images if num_images else 0.0
    if abs(change) < FLOW_LIMIT - _ROUNDING:
        return FLOW if one_image <= FLOW_LIMIT + _ROUNDING else UNDECIDED
    return DISCRETISATION if abs(change) > one_image + _ROUNDING else UNDECIDED


def why_undecided(num_images: int) -> str:
    """What the test set is too small for, in half a sentence."""
    needed, one_image = round(100 / FLOW_LIMIT), f"{100 / num_images:.2g}"
    return (
        f"one of {num_images:,} test images is {one_image} {'point' if one_image == '1' else 'points'}: the rule's "
        f"{FLOW_LIMIT} needs more than {needed:,} images"
    )
