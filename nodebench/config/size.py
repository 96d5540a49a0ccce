"""Whether a net fits into memory, known before any is asked for; and what an allocator's error means."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from nodebench.config.errors import ConfigError

_GIB = 2**30


def check_size(
    make: Callable[..., nn.Module], keys: Mapping[str, Any], name: str, device: torch.device
) -> None:
    """Raises ConfigError if the weights and gradients of the net `make(**keys)` are more than the device's memory.

    The net is made on torch's meta device, where tensors have a shape and no content, so nothing is allocated and no
    random number drawn.
    """
    with torch.device("meta"):
        net = make(**keys)
    num_params = sum(parameter.numel() for parameter in net.parameters())
    num_bytes = 2 * sum(parameter.numel() * parameter.element_size() for parameter in net.parameters())
    memory = memory_of(device)
    if num_bytes > memory:
        raise ConfigError(
            f"model={name} would have {num_params:,} parameters, whose weights and gradients take "
            f"{num_bytes / _GIB:,.1f} GiB, and {device} has {memory / _GIB:,.1f}; "
            f"lower {' or '.join(key for key, _ in _sizes(keys))}"
        )


def memory_of(device: torch.device) -> int:
    """Bytes of memory on the device, used or not; mps shares the CPU's."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception is an allocator's: CUDA's has a type of its own, the CPU's only its words."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def out_of_memory(config: Mapping[str, Any]) -> str:
    """What to do about it, with the keys of `config` that memory grows with and their values."""
    sizes = [("data.batch_size", config["data"]["batch_size"]), *_sizes(config["model"])]
    asked = ", ".join(f"{key}={value}" for key, value in sizes)
    return f"out of memory with {asked}; lower {'one of them' if sizes[1:] else 'it'}"


def _sizes(model: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The model's keys that hold a whole number, or a list of them: its sizes."""
    for key, value in model.items():
        numbers = value if isinstance(value, list) and value else [value]
        if key != "dim" and all(
            isinstance(number, int) and not isinstance(number, bool) for number in numbers
        ):
            yield f"model.{key}", value
