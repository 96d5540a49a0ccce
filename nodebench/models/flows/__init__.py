"""Flows: distributions with a density, carried from a Gaussian by an invertible map."""
