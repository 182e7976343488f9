"""Random numbers: one register of purposes, so that what is drawn for two purposes from one seed is independent.

A generator starts from a key, a list of integers that begins with the number of its purpose. There are two forms:

    [purpose, number of seeds, *seeds]      `generator`: the form for everything new
    [purpose, *seeds]                       `uncounted`: the form of the purposes in the classes `...Uncounted`

The number of seeds belongs to the key because NumPy ignores trailing zeros: without it, step 0 of seed 7 would be seed 7. The
second form lacks it and stays for the bits that it has always drawn. It is safe where a purpose has always as many seeds.

Every purpose of the library is listed here with its number. Numbers are unique within a class. A paper's two classes may share
a number, since the forms differ, and so may different papers: one paper's problem never draws for another's.

A paper outside of the library lists its purposes in a class of its own, and numbers them from 1, too:

    class Purpose(IntEnum):
        LABELS = 1
        NOISE = 2

    rng = seeds.generator(Purpose.LABELS, seed)

Some draws have no purpose, since nothing else is drawn from their seed: `audit_gradient`, `recursion.random_start` and
`population.sampled` start from the seed as it is given, a theorem of Huang et al. 2023 from [seed, K, length of the kind].

Prompts of training step t have the seed (seed, t). Whatever else is drawn by `problem.sample` in a run has a seed of at least
three numbers, (seed, part, number ...), and the parts are listed here as well.
"""

from collections.abc import Sequence
from enum import IntEnum, unique
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .checks import integer
from .memory import check_count

__all__ = [
    "GPT2",
    "Bu2024",
    "Bu2024Part",
    "Bu2024Test",
    "Bu2024Uncounted",
    "Huang2023",
    "Huang2023Uncounted",
    "Li2024",
    "Li2024Part",
    "Li2024Test",
    "Li2024Uncounted",
    "Part",
    "Seed",
    "Sweeps",
    "TrainingUncounted",
    "checked",
    "for_test",
    "generator",
    "key",
    "orthonormal",
    "uncounted",
]

Seed: TypeAlias = int | Sequence[int]
"""An integer of at least 0, or several: (seed, step) names the prompts of a training step."""


# ---- The register: purposes


@unique
class Li2024(IntEnum):
    """Li et al. 2024."""

    PROMPTS = 1  # tasks, labels and patterns of prompts
    PARAMETERS = 2  # the initial W_O and a
    ORDER = 3  # the random order in which neurons are pruned
    GPT2_PARAMETERS = 4  # the initial parameters of GPT-2
    LENGTHS = 5  # how many contexts the prompts of a training step of GPT-2 have, where that varies


@unique
class Li2024Uncounted(IntEnum):
    """Li et al. 2024, in the second form."""

    POINTS = 3  # where the audit judges formulas: [3, seed]
    LARGE = 5  # the random order of large neurons in Theorem 3.7: [5, seed]


@unique
class Huang2023(IntEnum):
    """Huang et al. 2023."""

    PROMPTS = 1  # features and tasks of prompts
    FEATURES = 2  # the orthonormal features, where d > K
    COUNTS = 4  # the count vectors that stand for the population


@unique
class Huang2023Uncounted(IntEnum):
    """Huang et al. 2023, in the second form."""

    TESTS = 3  # the count vectors that a run is measured on: [3, seed]
    POINTS = 5  # where the audit judges formulas of one prompt: [5, seed]
    AVERAGED_POINTS = 6  # of one prompt, averaged over its task: [6, seed]
    POPULATION_POINTS = 7  # of the population: [7, seed]


@unique
class Bu2024(IntEnum):
    """Bu et al. 2024."""

    PROMPTS = 1  # concepts, signs and noise of prompts
    PARAMETERS = 2  # the initial W_O and r
    WORDS = 3  # the orthonormal directions of words, and unseen ones
    LABELS = 4  # the orthonormal directions of labels, and unseen ones
    NOISE = 5  # the noise vectors that a run's products are measured on


@unique
class Bu2024Uncounted(IntEnum):
    """Bu et al. 2024, in the second form."""

    POINTS = 3  # where the audit judges formulas of all matrices: [3, seed]
    MERGED_POINTS = 6  # of the merged W_QK: [6, seed]
    BLOCK_POINTS = 7  # of the blocks: [7, seed]
    ONE_CONCEPT_POINTS = 8  # of the blocks on prompts of one concept: [8, seed]


@unique
class GPT2(IntEnum):
    """The audit of GPT-2."""

    POINTS = 1  # where it judges the gradient of the whole
    LAYER_POINTS = 2  # of each layer: (seed, number of the layer)


@unique
class TrainingUncounted(IntEnum):
    """Training on any problem, in the second form."""

    CHOICE = 4  # which prompts of a fixed training set step t takes: [4, seed, t]


@unique
class Sweeps(IntEnum):
    """Laws of sweeps. Their numbers are none of a paper's: the same seed draws prompts and initial parameters, too."""

    RESAMPLING = 101  # how often each seed counts in a draw of the bootstrap


# ---- The register: parts of a run's seed, and numbers of its tests


@unique
class Part(IntEnum):
    """The second number of a seed (seed, part, ...), for every paper."""

    TESTS = 0  # prompts that a run is tested on, and never trained on: (seed, 0, number)
    TRAINING_SET = 1  # a fixed training set, or the population: (seed, 1, 0)


@unique
class Li2024Part(IntEnum):
    """Further parts, of figures of Li et al. 2024."""

    LENGTHS = 2  # test prompts of Figure 3A: (seed, 2, length)
    TASKS = 3  # test prompts of Figures 3B, (seed, 3, length), and 4: (seed, 3, length, number of the domain)
    PRUNED = 4  # test prompts of Figures 5: (seed, 4, 10 alpha')


@unique
class Bu2024Part(IntEnum):
    """Parts of the figure of Bu et al. 2024 on prompts out of distribution. It has no fixed training set."""

    WATCHED = 1  # prompts that training is watched on: (seed, 1, number of the distribution)
    FINAL = 2  # prompts that the trained model is tested on: (seed, 2, number of the distribution, chunk)


@unique
class Li2024Test(IntEnum):
    """Numbers of `Part.TESTS`: (seed, 0, number)."""

    OBSERVED = 0  # and 1 and 2: what `Observer` measures on, as many of its three tests as the problem has
    THEOREM_3_3 = 20
    THEOREM_3_4_LUCKY = 30  # prompts that say which neurons are lucky
    THEOREM_3_4 = 31
    THEOREM_3_7_OOD = 40
    THEOREM_3_7_UNSEEN = 41
    PROPOSITION_4_1 = 50
    PROPOSITION_4_1_OOD = 51
    PROPOSITION_4_4_LUCKY = 60
    PROPOSITION_4_4 = 61
    PROPOSITION_4_4_OOD = 62
    IDENTITIES = 70


@unique
class Bu2024Test(IntEnum):
    """Numbers of `Part.TESTS`: (seed, 0, number)."""

    OBSERVED = 0  # what `Observer` and the figures of the law measure on
    THEOREMS = 40
    COMPOSITION = 41  # (seed, 0, 41, number of the distribution)


def for_test(seed: int, number: int, *more: int) -> tuple[int, ...]:
    """The seed of test prompts of a run: (seed, `Part.TESTS`, number, ...), with a number of the paper's list of tests."""
    return seed, Part.TESTS, number, *more


# ---- Keys and generators


def checked(seed: Seed) -> list[int]:
    """The integers of a seed; TypeError or ValueError unless it is an integer of at least 0, or several."""
    if isinstance(seed, (list, tuple, range)) or (isinstance(seed, np.ndarray) and seed.ndim == 1):
        check_count("seed", seed, 50)
        return [integer("seed", value, 0, most=None) for value in seed]
    return [integer("seed", seed, 0, most=None)]


def key(purpose: int, seed: Seed) -> list[int]:
    """What `numpy.random.default_rng` takes, in the first form: [purpose, number of seeds, *seeds].

    Raises
    ------
    TypeError, ValueError
        A seed that is no integer of at least 0.
    """
    seeds = checked(seed)
    return [int(purpose), len(seeds), *seeds]


def generator(purpose: int, seed: Seed) -> np.random.Generator:
    """A generator for one purpose, in the first form. Errors as of `key`."""
    return np.random.default_rng(key(purpose, seed))


def uncounted(purpose: int, *seeds: int) -> np.random.Generator:
    """A generator in the second form, [purpose, *seeds]: for the purposes of the classes `...Uncounted` only."""
    return np.random.default_rng([int(purpose), *checked(seeds)])


def orthonormal(purpose: int, seed: Seed, rows: int, columns: int) -> NDArray[np.float64]:
    """Random orthonormal columns (rows, columns), uniform over all such; columns <= rows."""
    V, R = np.linalg.qr(generator(purpose, seed).standard_normal((rows, columns)))
    return np.ascontiguousarray(V * np.sign(np.diag(R)))
