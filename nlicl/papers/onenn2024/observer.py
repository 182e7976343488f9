"""What a training run records: loss, accuracy and logit error on uniform and on separated prompts, and where W is."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.checks import instance, integer
from ...core.seeds import for_test
from ...models.front import forward, loss_and_grad
from ...models.nearest.prompts import Params, Prompts, codes
from .family import place
from .seeds import Test

if TYPE_CHECKING:
    from .problem import Problem

__all__ = ["Observer", "errors"]


def errors(params: Params, prompts: Prompts) -> tuple[float, float]:
    """(accuracy, logit error) on prompts: how often the predicted class is the nearest context's, and the mean ||l - u||^2.

    Parameters
    ----------
    params : Params
    prompts : Prompts
        Of the same dtype.

    Returns
    -------
    accuracy, logit_error : float
    """
    out = forward(params, prompts)
    targets = prompts.targets
    gaps = out.answer - codes(targets, prompts.K)
    return float(np.mean(out.predicted == targets)), float((gaps * gaps).sum(axis=1).mean())


class Observer:
    """Measures parameters on prompts that no run trains on.

    Parameters
    ----------
    problem : Problem
    n : int
        Test prompts of each kind.
    seed : int
        Independent of the training prompts of the same seed.

    Notes
    -----
    A call with parameters returns a dict.

    | name                 | what                                                                                  |
    |----------------------|---------------------------------------------------------------------------------------|
    | loss                 | the problem's mean loss on uniform prompts                                            |
    | accuracy             | on uniform prompts, the share whose predicted class is the nearest context's          |
    | logit_error          | the mean of the squared distance of l and u on them: twice the squared loss           |
    | separated_accuracy   | on separated prompts, whose query is one of the contexts                              |
    | separated_error      | the logit error on them                                                               |
    | xi1, xi2             | the mean of W_11's diagonal, and minus the last entry                                 |
    | distance             | from diag(xi1 I, 0, -xi2), in the blocks that enter the scores                        |
    | idle                 | the norm of the label's columns, which never change                                   |
    """

    def __init__(self, problem: "Problem", n: int = 2000, seed: int = 0) -> None:
        from .problem import Problem  # which has this observer

        problem, n = instance("problem", problem, Problem), integer("n", n, 1)
        self.K, self.loss = problem.K, problem.loss
        self.uniform = problem.sample(n, seed=for_test(seed, Test.OBSERVED))
        self.separated = problem.separated(n, seed=for_test(seed, Test.SEPARATED))

    def __call__(self, params: Params) -> dict[str, Any]:
        dtype = np.asarray(params.W).dtype
        uniform, separated = self.uniform.cast(dtype), self.separated.cast(dtype)
        accuracy, logit_error = errors(params, uniform)
        separated_accuracy, separated_error = errors(params, separated)
        here = place(params, self.K)
        return {
            "loss": float(loss_and_grad(params, uniform, self.loss)[0]),
            "accuracy": accuracy,
            "logit_error": logit_error,
            "separated_accuracy": separated_accuracy,
            "separated_error": separated_error,
            "xi1": here.xi1,
            "xi2": here.xi2,
            "distance": here.distance,
            "idle": here.idle,
        }
