"""Tasks: what is optimised and measured. Each follows the protocol in nodebench.training.protocols."""

from nodebench.tasks.classification import Classification
from nodebench.tasks.density import Density
from nodebench.tasks.density_matching import DensityMatching
from nodebench.tasks.point_process import PointProcess
from nodebench.tasks.time_series import TimeSeries

__all__ = ["Classification", "Density", "DensityMatching", "PointProcess", "TimeSeries"]
