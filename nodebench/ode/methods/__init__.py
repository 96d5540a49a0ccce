"""How one step is taken: explicit Runge-Kutta, Adams and SciPy's methods, and the seam for others (method.py)."""
