"""Implicit Runge-Kutta methods: Jacobians a sample, Newton's iteration, its gradient, and the methods themselves."""
