"""Products in bfloat16: which devices have units for them, and the region in which a net computes so.

bfloat16 has the range of float32 and 8 bits of its precision. Inside of torch.autocast convolutions and matrix products
take their factors so and sum in float32; weights and what is not a product stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch

_UNITS = ("avx512_bf16", "amx_bf16", "avx10_2", "bf16", "sve_bf16")
"""What torch.cpu calls them, on x86 and on ARM; without them oneDNN computes in float32 all the same, and rounds."""


def missing_bf16(device: torch.device) -> str | None:
    """Why products in bfloat16 would be no faster on a device, in half a sentence; None if it has units for them."""
    if device.type == "cpu":
        # torch 2.11 does not tell yet.
        known: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return None if any(known.get(unit) for unit in _UNITS) else "torch sees no bf16 units in this CPU"
    if device.type == "cuda":
        has_units = torch.cuda.is_bf16_supported(including_emulation=False)
        return None if has_units else "this GPU has no bf16 units"
    return f"bf16 is for a CPU and for CUDA, not for {device.type}"


def products_in_bf16(device: torch.device) -> AbstractContextManager[object]:
    """Within, convolutions and matrix products on a device are in bfloat16.

    Weights are cast where they are used, each time: torch would keep what it cast, and of a weight that was first used
    without autograd, as a solve does, its gradient would be lost.
    """
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
