"""What a training run of Bu et al. 2024 records as it goes: loss, 0-1 error, correct attention, products."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.checks import instance
from ...core.seeds import Bu2024, Bu2024Test, for_test, generator
from ...models.front import forward
from ...models.transformer.checks import real_params
from ...models.transformer.prompts import Params
from . import mechanism, prediction

if TYPE_CHECKING:
    from .problem import Problem

__all__ = ["Observer"]

_VECTORS = 200  # noise vectors of which products are maxima


class Observer:
    """Measures parameters on test prompts that are drawn once.

    Parameters
    ----------
    problem : Problem
    n : int
        Test prompts.
    seed : int
        Test prompts of a seed are independent of its training prompts.
    **distribution
        As in `problem.sample`: prompts out of distribution, for instance `length=32`.

    Notes
    -----
    A call with parameters returns a dict.

    | name                    | what                                                                      |
    |-------------------------|---------------------------------------------------------------------------|
    | loss                    | mean logistic loss, without L2                                            |
    | error                   | 0-1 loss; F = 0 is half an error                                          |
    | attention               | mean of attn_+, attention on demonstrations with the query's sign         |
    | attention_k (K1,)       | the same by the shared concept (NaN for one that no prompt has)           |
    | attention_ke (K1, 2)    | by concept and sign of the query, + first                                 |
    | R, X (K1,)              | of the early phase, see `theory.early_quantities`                         |
    | dead, zero              | share of neurons dead on all prompts; share of prompts with F = 0         |
    | the fields of `mechanism.Products` | maxima of products with concepts and noise                     |
    | alpha_Q, beta_Q, alpha_K, beta_K (K1,) | see `mechanism.Coefficients`                               |
    """

    def __init__(self, problem: "Problem", n: int = 2000, seed: int = 0, **distribution: Any) -> None:
        from .problem import Problem  # which has this observer

        self.problem = instance("problem", problem, Problem)
        self.prompts = problem.sample(n, seed=for_test(seed, Bu2024Test.OBSERVED), **distribution)
        rng = generator(Bu2024.NOISE, seed)
        self.xi_x = problem.sigma_xi * rng.standard_normal((problem.d_x, _VECTORS))
        self.xi_y = problem.sigma_xi * rng.standard_normal((problem.d_y, _VECTORS))
        self.nu = problem.nu

    def __call__(self, params: Params) -> dict[str, Any]:
        params = real_params(params)
        prompts, semantics = self.prompts, self.problem.semantics
        out = forward(params, prompts)
        attention = mechanism.correct_attention(out.attention, prompts)
        concepts = range(self.problem.concepts)
        sign = prompts.labels
        measured = mechanism.answers(out, prompts)._asdict() | {
            "attention_k": np.array([_mean(attention, prompts.concept == k) for k in concepts]),
            "attention_ke": np.array(
                [[_mean(attention, (prompts.concept == k) & (sign == e)) for e in (1, -1)] for k in concepts]
            ),
            "dead": mechanism.dead_neurons(out.preactivation),
            "zero": np.mean(out.score == 0),
        }
        measured |= mechanism.products(params, semantics, self.nu, self.xi_x, self.xi_y)._asdict()
        if params.W_Q.shape[0] == self.problem.d_x:
            along = mechanism.coefficients(params, semantics)
            measured |= {name: getattr(along, name) for name in ("alpha_Q", "beta_Q", "alpha_K", "beta_K")}
            starts = [prediction.early(params, semantics, k) for k in concepts]
            measured |= {name: np.array([getattr(one, name) for one in starts]) for name in ("R", "X")}
        return measured


def _mean(values: np.ndarray, chosen: np.ndarray) -> float:
    """The mean of those; NaN of none."""
    return np.mean(values[chosen]) if np.any(chosen) else np.nan
