from __future__ import annotations

import torch
from torch.nn import functional as F

from nodebench.models.residual import ResidualBlock, group_norm


def test_a_block_without_stride_adds_its_input() -> None:
    block, x = ResidualBlock(64).double(), torch.randn(2, 64, 5, 5, dtype=torch.float64)
    before = x.clone()
    expected = x + block.conv2(F.relu(block.norm2(block.conv1(F.relu(block.norm1(x))))))
    torch.testing.assert_close(block(x), expected)
    assert torch.equal(x, before)


def test_a_strided_block_takes_its_shortcut_from_the_activated_input() -> None:
    block, x = ResidualBlock(64, stride=2).double(), torch.randn(2, 64, 7, 7, dtype=torch.float64)
    activated = F.relu(block.norm1(x))
    residual = block.conv2(F.relu(block.norm2(block.conv1(activated))))
    assert block.shortcut is not None
    torch.testing.assert_close(block(x), residual + block.shortcut(activated))
    assert block(x).shape == (2, 64, 4, 4)


def test_blocks_have_the_reference_parameter_counts() -> None:
    assert sum(p.numel() for p in ResidualBlock(64).parameters()) == 73_984
    assert sum(p.numel() for p in ResidualBlock(64, stride=2).parameters()) == 78_080


def test_the_norm_has_32_groups_or_one_a_channel() -> None:
    assert group_norm(64).num_groups == 32
    assert group_norm(8).num_groups == 8
