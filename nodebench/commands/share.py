"""What one of several runs on a machine gets of it: its cores, and a GPU where there are some."""

from __future__ import annotations

import os

from nodebench.records.jobs import JOBS

THREADS, GPUS = "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"


def cores() -> int:
    """The cores of the CPU that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_each(jobs: int) -> int:
    """The threads of each of `jobs` runs: what the environment gives a process, else an equal share of the cores."""
    given, _, _ = os.environ.get(THREADS, "").partition(",")  # behind it are those of nested regions
    return int(given) if given.isdecimal() and int(given) else max(1, cores() // jobs)


def share(slot: int, jobs: int, device: str, at_once: int | None = None) -> dict[str, str]:
    """The variables of the environment by which the run in `slot`, counted from 0, of `jobs` keeps to its share.

    Threads are those of `jobs` runs where fewer go on `at_once` too, as in a sweep that is given again: a run that is
    continued is bit-identical at the same number. They are set before its process begins, since OpenMP and CUDA read
    them once, and no run is named by them. A run whose `device` is left open gets the GPU of its slot, modulo the GPUs
    that this process sees.
    """
    gpus = visible_gpus() if device in ("auto", "cuda") else []
    return {
        JOBS: str(at_once or jobs),
        **({} if os.environ.get(THREADS) else {THREADS: str(threads_each(jobs))}),
        **({GPUS: gpus[slot % len(gpus)]} if gpus else {}),
    }


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls each GPU that torch sees."""
    import torch

    number, named = torch.cuda.device_count(), os.environ.get(GPUS)
    return named.split(",")[:number] if named else [str(index) for index in range(number)]
