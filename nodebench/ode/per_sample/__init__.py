"""A step size a sample: solves in which every sample of a batch has its own time, step, error, history and end.

What a step is decided by is float64 on the host, an array with one entry for each row of the batch; states stay on
their device, and a step costs one wait for it, as elsewhere. Rows are the samples under way: those that have arrived
are left out of the batch where that pays (see loop.py).
"""
