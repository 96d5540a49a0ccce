"""What a trained classifier's ODE block does, batch by batch of the test set: counts, errors, times, memory.

rows: the table's columns and lines; cases: what is measured, in which order; reference: the float64 solve that
errors are against; baselines: torchdiffeq's solvers on the same field; passes: one forward and backward pass;
measurement: the rows, one after the other.
"""

from nodebench.measurement.cases import TOLERANCES, Case, order
from nodebench.measurement.measurement import Measurement
from nodebench.measurement.reference import ReferenceErrors, ReferenceSettings
from nodebench.measurement.rows import COLUMNS, OWN, DamagedTableError, Key, Row, header, read_rows, write_row

__all__ = [
    "COLUMNS",
    "OWN",
    "TOLERANCES",
    "Case",
    "DamagedTableError",
    "Key",
    "Measurement",
    "ReferenceErrors",
    "ReferenceSettings",
    "Row",
    "header",
    "order",
    "read_rows",
    "write_row",
]
