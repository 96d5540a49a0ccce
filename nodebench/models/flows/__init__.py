"""Flows: distributions with a density, carried from a Gaussian by an invertible map."""

from nodebench.models.flows.cnf import CNF, PlanarField
from nodebench.models.flows.continuous import ContinuousFlow
from nodebench.models.flows.ffjord import FFJORD, ConcatSquashField
from nodebench.models.flows.flow import Flow
from nodebench.models.flows.planar_nf import PlanarNF

__all__ = ["CNF", "FFJORD", "ConcatSquashField", "ContinuousFlow", "Flow", "PlanarField", "PlanarNF"]
