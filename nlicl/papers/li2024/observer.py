"""What a training run of Li et al. 2024 records as it goes: errors in and out of domain, attention, projections, neurons."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.arrays import packed
from ...core.checks import instance, integer, real
from ...core.memory import check_memory
from ...core.seeds import Li2024Test, for_test
from ...models.overflow import finite
from ...models.transformer.checks import real_params
from ...models.transformer.prompts import CodedPrompts, Params
from ...models.transformer.steps import measured
from . import mechanism
from ._lucky import counted_lucky
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
        tokens = self.codes["train"][:400]  # 8000 contexts are plenty for a mean
        self._projected = {"query": _Projected(problem, tokens, -1, None), "key": _Projected(problem, tokens, 0, -1)}

    def __call__(self, params: Params) -> dict[str, Any]:
        params = Params(*map(packed, real_params(params)))  # as kernels take them, for all tests
        found: dict[str, Any] = {}
        for name, codes in self.codes.items():
            score, same, on = measured(params, codes)
            margin = codes.labels * score
            found[f"hinge_{name}"] = _mean("a hinge loss", np.maximum(0, 1 - margin))
            found[f"error_{name}"] = np.mean(wrong(margin))
            found[f"attention_{name}"] = np.mean(same)
            if name == "train":
                found |= self._projections(params)
                W, U = counted_lucky(params.a, on, codes.labels)
                found |= {"lucky_positive": W.sum(), "lucky_negative": U.sum()}
        return found | mechanism.neurons(params, self.problem.mu_bar, self.problem.q)._asdict()

    def _projections(self, params: Params) -> dict[str, Any]:
        found = {}
        for name, W in (("query", params.W_Q), ("key", params.W_K)):
            norm, component = self._projected[name].means(W.astype(float, copy=False))
            found[f"{name}_norm"] = norm
            if component is not None:
                found[f"{name}_component"] = component
        return found


def _dot(x: np.ndarray, y: np.ndarray) -> Any:
    """sum x y of two matrices, to the same bits on any number of threads: BLAS's own would be another sum on two."""
    return np.einsum("ij,ij->", x, y)


class _Projected:
    """`mechanism.projection` of the tokens `first` to `last` of prompts, and its means, without making the tokens.

    A token is p = v_c + kappa E_i. Its column c says which pattern and which label it carries, so there are 3 M1 of the v_c.

        ||W p||^2 = ||W v_c||^2 + 2 kappa (W v_c) . (W E_i) + kappa^2 ||W E_i||^2

    are three look-ups. The component along the pattern is linear in the token: its mean is that of a pattern's mean token.
    """

    def __init__(self, problem: "DataModel", codes: CodedPrompts, first: int, last: int | None) -> None:
        E = codes.dictionary
        relevant, irrelevant, kappa, sign = (
            array[:, first:last].ravel() for array in (codes.relevant, codes.irrelevant, codes.kappa, codes.sign)
        )
        M1 = problem.M1
        self.E = np.hstack([E[:, :M1] + s * E[:, -1:] for s in (0, 1, -1)] + [E])  # v_c, and then E
        c, i = relevant + M1 * np.where(sign < 0, 2, sign), irrelevant + 3 * M1
        width = self.E.shape[1]
        self.squares, self.products, self.kappa = np.stack([c, i]) * (width + 1), c * width + i, kappa
        places, weights = np.concatenate([relevant * width + c, relevant * width + i]), np.ones(2 * len(kappa))
        weights[len(kappa) :] = kappa
        codes_of = np.bincount(places, weights / len(kappa), M1 * width).reshape(M1, width)
        self.mean = codes_of @ self.E.T  # (M1, d): the sum of the tokens that carry a pattern, over the number of all
        self.unit = problem.mu / np.linalg.norm(problem.mu, axis=1, keepdims=True)

    @np.errstate(over="ignore", invalid="ignore")  # it is found, and raised
    def means(self, W: np.ndarray) -> tuple[Any, Any]:
        """Mean norm, and mean component: None unless W (m_a, d) has as many rows as columns."""
        images = W @ self.E
        Gram = images.T @ images
        of_c, of_i = Gram.take(self.squares)
        square = of_c + self.kappa * (2 * Gram.take(self.products) + self.kappa * of_i)
        norm = _mean("a norm", np.sqrt(np.maximum(square, 0)))  # which rounding may leave below 0
        if W.shape[0] != W.shape[1]:
            return norm, None
        along = self.mean @ W.T  # (M1, d)
        return norm, finite("the mean of a component", _dot(along[:, : self.unit.shape[1]], self.unit))


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
