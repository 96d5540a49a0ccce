"""Solvers against each other and against other libraries, on the same work: what `nodebench bench` runs.

contestants: who takes part, and what one run of it says; race: they take turns, and the medians are kept.
problems: the work (a field, a start, a loss) with its float64 reference; libraries: who can solve it.
diffrax_baseline: one more library, in JAX and compiled; twins: the fields that it solves.
published: the fields of torchdiffeq's examples, written anew; bare: evaluations without a solver around them.
rows, ratios, curves, slopes: what the table says of a race; report: the files that are left.
workloads: one module a workload, found by its name.
"""
