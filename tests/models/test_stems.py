from __future__ import annotations

import pytest
import torch

from nodebench.models.stems import make_stem


@pytest.mark.parametrize(("name", "side", "num_params"), [("conv", 6, 132_096), ("res", 7, 156_800)])
def test_stems_have_the_reference_shape_and_parameter_count(name: str, side: int, num_params: int) -> None:
    stem = make_stem(name, 64)
    assert stem(torch.rand(2, 1, 28, 28)).shape == (2, 64, side, side)
    assert sum(p.numel() for p in stem.parameters()) == num_params


def test_an_unknown_stem_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"`model\.stem` is 'cnov'; allowed: conv, res"):
        make_stem("cnov", 64)
