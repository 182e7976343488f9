"""A training step of each model beside those of NumPy and of frameworks, and the problems it is timed on."""
