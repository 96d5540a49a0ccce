"""The environment of every test, set before anything imports torch."""

from __future__ import annotations

import os

# The tests compute on small tensors, where more threads only get in each other's way; children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
