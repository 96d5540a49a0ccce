"""nodebench: the reference runner for Neural ODE experiments (Chen et al., 2018)."""

__version__ = "0.1.0"
