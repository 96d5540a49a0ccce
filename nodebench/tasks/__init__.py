"""Tasks: what is optimised and measured. Each follows the protocol in nodebench.training.protocols."""

from nodebench.tasks.classification import Classification

__all__ = ["Classification"]
