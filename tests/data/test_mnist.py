from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from nodebench.data.mnist import mnist

ROOTS = (os.environ.get("NODEBENCH_DATA"), Path(__file__).parents[3] / "shared" / "data")
REAL_ROOT = next((Path(root) for root in ROOTS if root and Path(root, "MNIST", "raw").is_dir()), None)


@pytest.mark.skipif(
    REAL_ROOT is None, reason="needs MNIST: set NODEBENCH_DATA to the folder that holds MNIST/raw"
)
def test_the_real_mnist_passes_its_checks() -> None:
    assert REAL_ROOT is not None
    data = mnist(REAL_ROOT)
    assert data.val is not None
    assert (len(data.train), len(data.val), len(data.test)) == (55000, 5000, 10000)
    num_of_each = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert torch.bincount(data.test.labels).tolist() == num_of_each
    total = sum(part.images.sum(dtype=torch.int64).item() for part in (data.train, data.val))
    assert total / (255 * 60000 * 28 * 28) == pytest.approx(0.1307, abs=1e-4)
