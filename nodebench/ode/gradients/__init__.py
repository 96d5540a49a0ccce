"""The three gradients of a solve: direct, checkpointed, adjoint. Each is one function of a Problem."""
