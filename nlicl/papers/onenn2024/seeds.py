"""What this paper draws from a seed, each purpose by a generator of its own; `nlicl.core.seeds` says the form of the keys."""

from enum import IntEnum, unique

__all__ = ["Purpose", "Test"]


@unique
class Purpose(IntEnum):
    """Purposes, for `nlicl.core.seeds.generator`."""

    PROMPTS = 1  # classes and inputs of prompts
    SEPARATED = 2  # which context the query of a separated prompt is
    NOISE = 3  # the noise of an initial W
    POINTS = 4  # where the audit judges formulas of one prompt: (seed, number of the loss)
    LABEL_POINTS = 5  # of one set of inputs, labels averaged
    COSINE_POINTS = 6  # of one set of cosines


@unique
class Test(IntEnum):
    """Numbers of `nlicl.core.seeds.Part.TESTS`: (seed, 0, number)."""

    OBSERVED = 0  # uniform prompts that a run is measured on
    SEPARATED = 1  # separated ones
    SCALING = 2  # prompts of Figure 2: (seed, 0, 2, number, first prompt)
    THEOREMS = 40  # prompts that a theorem is tested on: (seed, 0, 40, number)
