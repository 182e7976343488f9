"""Training by gradient descent: plan, loop, optimizers, runs and their checkpoints."""
