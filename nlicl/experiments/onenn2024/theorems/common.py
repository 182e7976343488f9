"""What the theorems of Athreya and Wang share: marks, conditions on N and sigma, prompts, where attention is looked at."""

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ....core.seeds import for_test
from ....models.nearest.prompts import Prompts
from ....papers.onenn2024 import Problem, theory
from ....papers.onenn2024.seeds import Test
from ...theorem import Condition

__all__ = [
    "DERIVED",
    "MARKS",
    "PAPER",
    "PLACES",
    "all_labels",
    "assumptions",
    "random_inputs",
    "sampled_prompts",
    "sizes",
]

DERIVED, PAPER = "derived", "paper"
PLACES = ((0.0, 3.0), (2.0, 5.0), (6.0, 3.0), (20.0, 12.0))
"""(xi1, xi2) that are looked at: the start of the experiments, and further on."""

MARKS = (
    "Marks: [paper] is the text of Athreya and Wang, who restate lemmas of Li et al.; what is said of Li et al. is Li et "
    "al. as they restate it, and errors are of that text. [derived] is ours, checked numerically; [set here] is a "
    "setting of this run."
)


def sizes(N: int, d: int, sigma: float) -> list[Condition]:
    """Theorem 1's and Lemma 12's conditions on N and sigma; those with an open constant cannot be decided."""
    rows = [
        Condition("N >= O(sqrt(d) log d) [paper]", f"N = {N}; sqrt(d) log d = {math.sqrt(d) * math.log(d):.3g}", None)
    ]
    for name, bound in theory.sigma_conditions(N, d).items():
        rows.append(Condition(f"sigma above {name} [paper]", f"sigma = {sigma:g}; {bound:.4g}", sigma > bound))
    return rows


def assumptions() -> list[Condition]:
    """Assumptions 1 and 2, which the runs meet exactly."""
    return [
        Condition(
            "inputs uniform on the sphere, classes uniform, all independent (Assumption 1) [paper]", "exactly", True
        ),
        Condition("W(0) = 0 but for its last entry, -sigma (Assumption 2) [paper]", "exactly", True),
    ]


def random_inputs(seed: int, length: int = 4, d: int = 5) -> NDArray[np.float64]:
    """One set of inputs (N+1, d), the query last."""
    return np.array(Problem(length=length, d=d).sample(1, seed=for_test(seed, Test.THEOREMS, 0)).inputs[0])


def all_labels(inputs: NDArray[np.float64], K: int | None) -> Prompts:
    """The prompts with these inputs and every vector of labels there is, K^N of them; 2^N for K = None."""
    N = len(inputs) - 1
    labels = np.array(list(product((-1, 1) if K is None else range(K), repeat=N)))
    return Prompts(np.broadcast_to(inputs, (len(labels), *inputs.shape)), labels, K)


def sampled_prompts(seed: int, n: int, separated: bool = False, K: int | None = 3) -> Prompts:
    """Prompts of the usual sizes, N = 16 and d = 8."""
    problem = Problem(K=K)
    draw = problem.separated if separated else problem.sample
    return draw(n, seed=for_test(seed, Test.THEOREMS, 2 if separated else 1))
