"""What a trained classifier's ODE block does, batch by batch of the test set: counts, errors, times, memory.

cases: what is measured, in which order; reference: the float64 solve that errors are against; float64_convolution:
what makes it bearable on a CPU; baselines: torchdiffeq's solvers on the same field; passes: one forward and backward
pass; measurement: the rows, one after the other; images: the same image by image, with steps of their own.
"""

from nodebench.measurement.cases import Case, order
from nodebench.measurement.images import ImageMeasurement
from nodebench.measurement.measurement import Measurement
from nodebench.measurement.reference import ReferenceErrors, ReferenceSettings

__all__ = ["Case", "ImageMeasurement", "Measurement", "ReferenceErrors", "ReferenceSettings", "order"]
