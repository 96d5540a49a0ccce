"""Nets as nn.Modules: stems, residual blocks, vector fields, the ODE block, and the classifiers made of them."""

from nodebench.models.classifiers import MLP, ODENet, ResNet
from nodebench.models.ode_block import ODEBlock, ode_blocks, recorded_solves
from nodebench.models.vector_fields import ConvVectorField, TimeConv2d

__all__ = [
    "MLP",
    "ConvVectorField",
    "ODEBlock",
    "ODENet",
    "ResNet",
    "TimeConv2d",
    "ode_blocks",
    "recorded_solves",
]
