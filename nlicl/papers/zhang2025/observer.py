"""What a training run of Zhang et al. 2025 records: losses, the effective matrix, and how near it is to a saddle."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.checks import instance, integer
from ...core.errors import InvalidType, InvalidValue
from ...core.seeds import Part
from ...kernels.steps import linear_attention as kernels
from ...models.front import loss_and_grad
from ...models.linear_attention.prompts import Params, Prompts, SeparateParams
from ...models.linear_attention.statistics import Statistics
from ...models.linear_attention.steps import check_params
from ...models.model import Batch
from . import population
from .seeds import Test

if TYPE_CHECKING:
    from .problem import Problem

__all__ = ["Observer", "effective"]


class Observer:
    """Measures parameters on prompts that no run trains on, and against the exact population.

    Parameters
    ----------
    problem : Problem
    n : int
        Test prompts of each kind.
    seed : int
        Independent of the training prompts of the same seed.

    Notes
    -----
    A call with parameters returns a dict:

    | name             | what                                                                                      |
    |------------------|-------------------------------------------------------------------------------------------|
    | test_loss        | on test prompts with tasks of their own                                                   |
    | in_weight_loss   | on those that share the one task, their context labels at random; with `icl` only         |
    | population_loss  | L(Mbar), exact where u = v_x = 0; linear attention on tasks of their own only, as the next |
    | plateau          | m of the golden loss L(M_m) that is nearest to it                                         |
    | distance         | how far it is from that                                                                   |
    | learnt (D,)      | e_d^T Mbar e_d / a_d, the share of each component that is learnt                          |
    | v_x, u           | norms of V[:, -1, :-1], and of W[:, -1, :-1] or K[:, :, -1]                               |
    | Mbar (D, D)      | sum_h v_h U_h in units of beta: s N times the code's                                      |
    """

    def __init__(self, problem: "Problem", n: int = 5000, seed: int = 0) -> None:
        from .problem import Problem  # which has this observer

        self.problem = problem = instance("problem", problem, Problem)
        n, seed = integer("n", n, 1), integer("seed", seed, 0)
        tests: dict[str, tuple[Test, float | None]] = {"test_loss": (Test.OBSERVED, None)}
        if problem.icl is not None:
            tests = {"test_loss": (Test.IN_CONTEXT, 1.0), "in_weight_loss": (Test.IN_WEIGHT, 0.0)}
        self._tests = {
            name: _condensed(problem.sample(n, seed=(seed, Part.TESTS, number), icl=icl))
            for name, (number, icl) in tests.items()
        }
        self._factor = population.factor(problem.length, 1 / problem.length if problem.scale is None else problem.scale)
        self._golden = None
        if not problem.softmax and problem.icl is None:
            self._golden = population.saddle_losses(problem.Lambda, problem.length)
        self._axes, self._amplitudes = problem.axes, population.amplitudes(problem.eigenvalues, problem.length)

    def __call__(self, params: Params | SeparateParams) -> dict[str, Any]:
        Mbar = self._factor * effective(params)
        if len(Mbar) != self.problem.d:
            raise InvalidValue(
                f"params.V has shape {params.V.shape}; expected (H, {self.problem.d + 1}, {self.problem.d + 1}), as d of the "
                f"problem is {self.problem.d}."
            )
        params = type(params)(*(np.asarray(array, np.float64) for array in params))
        found: dict[str, Any] = {name: loss_and_grad(params, test)[0] for name, test in self._tests.items()}
        if self._golden is not None:
            loss = population.loss(Mbar, self.problem.Lambda, self.problem.length)
            apart = abs(self._golden - loss)
            found |= {"population_loss": loss, "plateau": int(apart.argmin()), "distance": float(apart.min())}
        last = params.W[:, -1, :-1] if isinstance(params, Params) else params.K[:, :, -1]
        return {
            **found,
            "learnt": np.einsum("id,ij,jd->d", self._axes, Mbar, self._axes) / self._amplitudes,
            "v_x": float(np.linalg.norm(params.V[:, -1, :-1])),
            "u": float(np.linalg.norm(last)),
            "Mbar": Mbar,
        }


def effective(params: Params | SeparateParams) -> np.ndarray:
    """sum_h v_h U_h (D, D), in units of the parameters: the effective matrix Mbar is s N times that.

    Raises
    ------
    TypeError, ValueError
        Parameters of another model, or whose shapes do not go together.
    """
    if not isinstance(params, (Params, SeparateParams)):
        raise InvalidType("params is none of linear attention's; expected Params(V, W), or SeparateParams(V, K, Q).")
    params = check_params(params, type(params))
    V, *others = (array.astype(np.float64) for array in params)
    W = others[0] if len(others) == 1 else kernels.merge(*others)
    return np.asarray((V[:, -1, -1, None, None] * W[:, :-1, :-1]).sum(axis=0))


def _condensed(prompts: Prompts) -> Batch:
    """Prompts as what a loss costs least on."""
    return prompts if prompts.softmax else Statistics.of(prompts)
