"""What is read off a trained net. Each function takes a module and a task, and leaves both as they were."""

from nodebench.measurement.evaluate import evaluate

__all__ = ["evaluate"]
