"""What a training run of Li et al. 2024 records as it goes: errors in and out of domain, attention, projections, neurons."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.checks import instance, integer, real
from ...core.memory import check_memory
from ...core.seeds import Li2024Test, for_test
from ...models.front import forward
from ...models.overflow import finite
from ...models.transformer.prompts import CodedPrompts, Params
from . import mechanism
from .errors import wrong

if TYPE_CHECKING:
    from .data import DataModel
    from .problem import Problem

__all__ = ["Observer", "drawn_tests"]

_TOKEN = 26  # bytes of a token that is kept, and of its attention


class Observer:
    """Measures parameters on test prompts that are drawn once.

    Parameters
    ----------
    problem : Problem
        In domain.
    n : int
        Prompts for each of the three tests: training tasks, unseen tasks (T without T_tr), out of domain.
    seed : int
        Test prompts of a seed are independent of its training prompts.
    S_1, alpha : float
        Of the out-of-domain test: 1.2 and 0.8, as the published attention curve suggests [derived].

    Notes
    -----
    A call with parameters returns a dict. TEST stands for `train`, `unseen` or `ood`; a test that the problem does not
    allow (no unseen task, fewer than four patterns to combine) is absent.

    | name                                  | what                                                            |
    |---------------------------------------|-----------------------------------------------------------------|
    | hinge_TEST, error_TEST                | mean hinge loss; Pr[sign F != z], where F = 0 is an error (`wrong`) |
    | attention_TEST                        | mean attention on contexts with the query's pattern             |
    | query_norm, query_component           | mean of ||W_Q p_query||, of its part along the query's pattern  |
    | key_norm, key_component               | mean of ||W_K p_i|| over contexts, of its part along p_i's pattern |
    | norm, feature, label, feature_angle, label_angle (m,) | of the neurons, see `nlicl.papers.li2024.mechanism.Neurons`   |
    | lucky_positive, lucky_negative        | number of neurons in W(t) and U(t), see `lucky_neurons`         |

    Projections and lucky neurons are measured on training tasks. The components need m_a = d and are absent otherwise.
    """

    def __init__(
        self, problem: "Problem", n: int = 2000, seed: int = 0, *, S_1: float = 1.2, alpha: float = 0.8
    ) -> None:
        from .problem import Problem  # which has this observer

        self.problem = instance("problem", problem, Problem)
        S_1 = real("S_1", S_1, "at most sqrt(2) in absolute value", lambda x: abs(x) <= math.sqrt(2))
        alpha = real("alpha", alpha, "in (0, 1], a share of contexts", lambda x: 0 < x <= 1)
        tokens = integer("n", n, 1) * (problem.length + 1)
        check_memory(
            f"n is {n} with length {problem.length}: up to three tests of {tokens} tokens hold {_TOKEN} bytes for each",
            3 * _TOKEN * tokens,
            "Lower n or length.",
        )
        self.codes = drawn_tests(problem, lambda of: of.sample, n, seed, S_1, alpha)
        self.tokens = self.codes["train"][:400].dense().tokens  # 8000 contexts are plenty for a mean

    def __call__(self, params: Params) -> dict[str, Any]:
        measured: dict[str, Any] = {}
        for name, codes in self.codes.items():
            out = forward(params, codes)
            margin = codes.labels * out.score
            measured[f"hinge_{name}"] = _mean("a hinge loss", np.maximum(0, 1 - margin))
            measured[f"error_{name}"] = np.mean(wrong(margin))
            measured[f"attention_{name}"] = np.mean(mechanism.same_pattern_attention(out.attention, codes))
            if name == "train":
                measured |= self._projections(params)
                W, U = mechanism.lucky_neurons(params, out.preactivation, codes.labels)
                measured |= {"lucky_positive": W.sum(), "lucky_negative": U.sum()}
        return measured | mechanism.neurons(params, self.problem.mu_bar, self.problem.q)._asdict()

    def _projections(self, params: Params) -> dict[str, Any]:
        tokens = self.tokens
        patterns = self.problem.mu[self.codes["train"].relevant[: len(tokens)]]
        measured = {}
        for name, W, which in (("query", params.W_Q, slice(-1, None)), ("key", params.W_K, slice(-1))):
            found = mechanism.projection(W, tokens[:, which], patterns[:, which])
            measured[f"{name}_norm"] = _mean("a norm", found.norm)
            if found.component is not None:
                measured[f"{name}_component"] = _mean("a component", found.component)
        return measured


def drawn_tests(
    problem: "DataModel",
    drawing: Callable[[Any], Callable[..., CodedPrompts]],
    n: int,
    seed: int,
    S_1: float,
    alpha: float,
) -> dict[str, CodedPrompts]:
    """The prompts that a run is measured on, by the test's name: those of `train`, `unseen` and `ood` that the problem allows.

    `drawing` gives a problem's method that draws prompts as codes.
    """
    draw = drawing(problem)
    draws = {"train": lambda s: draw(n, seed=s, tasks="train")}
    if len(problem.training_tasks) < len(problem.tasks("all")):
        draws["unseen"] = lambda s: draw(n, seed=s, tasks="unseen")
    if problem.M1 >= 4:
        M1 = min(3, problem.M1 // 2)
        ood = drawing(problem.out_of_domain(S_1=S_1, M1=M1))
        draws["ood"] = lambda s: ood(n, alpha=1.0 if M1 == 2 else alpha, seed=s)
    return {name: test(for_test(seed, Li2024Test.OBSERVED + i)) for i, (name, test) in enumerate(draws.items())}


@np.errstate(over="ignore", invalid="ignore")  # it is found, and raised
def _mean(what: str, values: np.ndarray) -> Any:
    """The mean; `NotFinite` where the sum overflows."""
    return finite(f"the mean of {what}", values.mean())
