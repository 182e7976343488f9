"""What Zhang et al. 2025 draws random numbers for: see `nlicl.core.seeds`."""

from enum import IntEnum, unique

__all__ = ["Purpose", "Test"]


@unique
class Purpose(IntEnum):
    """Purposes of `nlicl.core.seeds.generator`."""

    PROMPTS = 1  # inputs and tasks of prompts
    PARAMETERS = 2  # the initial V, W, K and Q
    COVARIANCE = 3  # the eigenvectors of Lambda
    TASK = 4  # the one task that prompts share where they can be learnt in weights
    POINTS = 5  # where the audit judges formulas: (seed, number of the subject)
    CLASSES = 6  # prompts of the classifier


@unique
class Test(IntEnum):
    """Numbers of `Part.TESTS`: (seed, 0, number)."""

    OBSERVED = 0  # what `Observer` measures on
    IN_WEIGHT = 1  # prompts that share the one task, context labels at random
    IN_CONTEXT = 2  # prompts with tasks of their own
    CLASSES = 3  # prompts of the classifier: (seed, 0, 3, number of the radius)
