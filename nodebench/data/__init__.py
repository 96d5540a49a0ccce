"""Data sets of several kinds: images, densities known by samples or up to a constant, time series, events.

A data set is a function that takes plain keyword arguments; what its return annotation says is its kind:
`ImageData`, `DensityData`, `EnergyData`, `Trajectories`, `EventSequences`, or another class that follows
`protocol.Data`. Images are uint8 tensors (one module a set, files read and checked by `idx_files` and
`torchvision_images`, sheared upright once by `deskewing` if asked for, warped a batch at a time by `augmentation`);
points are drawn fresh from a generator (`toy_densities`) or come from a user's file (`points`); `energies` holds the
targets of density matching; time series (`spirals`, `spirals_example`, `periodic`) and events (`event_toy`) are drawn
once, the same in every run, or come from a user's file (`series`, `events`). There are no data loaders and no worker
processes.
"""

from __future__ import annotations

from nodebench.data.densities import DensityData
from nodebench.data.energies import EnergyData
from nodebench.data.errors import DataError
from nodebench.data.event_sequences import EventSequences, EventSet
from nodebench.data.images import ImageData, ImageSet
from nodebench.data.protocol import Data
from nodebench.data.trajectories import SeriesSet, Trajectories

__all__ = [
    "Data",
    "DataError",
    "DensityData",
    "EnergyData",
    "EventSequences",
    "EventSet",
    "ImageData",
    "ImageSet",
    "SeriesSet",
    "Trajectories",
]
