"""What Zhang et al. 2025 draws random numbers for: see `nlicl.core.seeds`."""

from enum import IntEnum, unique

__all__ = ["Purpose", "Statement", "Test"]


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
class Statement(IntEnum):
    """Purposes of `nlicl.core.seeds.uncounted`, of the statements that are tested as theorems: [purpose, seed]."""

    AXES = 17  # the axes of a covariance
    SADDLES = 23  # a start of separate keys and queries
    FEWER = 29  # a start with fewer heads than components
    MERGED = 31  # weights of the merged model
    BALANCED = 37  # a balanced start
    CONSERVED = 41  # weights and prompts whose conserved quantities are followed, separate keys and queries
    CONSERVED_MERGED = 43  # the same, of merged keys and queries
    DRIFTS = 47  # starts of descent on the population, whose drift is measured


@unique
class Test(IntEnum):
    """Numbers of `Part.TESTS`: (seed, 0, number)."""

    OBSERVED = 0  # what `Observer` measures on
    IN_WEIGHT = 1  # prompts that share the one task, context labels at random
    IN_CONTEXT = 2  # prompts with tasks of their own
    CLASSES = 3  # prompts of the classifier: (seed, 0, 3, number of the radius)
