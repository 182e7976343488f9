"""Where the formulas of Huang et al. 2023 are judged, and the kernels they are judged by.

No draw is symmetric, no two sizes of a draw are equal, frequencies are unequal and d > K: a transposed or a missing factor has
nowhere to hide. Runs from Q = 0 are symmetric for equal frequencies, and are not used.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...audit.subject import Point, fill
from ...core.seeds import Huang2023Uncounted, uncounted
from ...kernels.compile import source as source_of
from ...kernels.steps import regression
from ...models.front import loss_and_grad
from ...models.regression.prompts import CodedPrompts, Params, Prompts
from ...models.regression.reference import forward
from . import population as populations
from .problem import Problem
from .reference import Counted, Population, PopulationWeights, Weights

_SCALE = (1.0, 3.0)  # of the scores v_n^T Q v_k
_FEATURES = ("orthonormal features",)  # what all prompts of the paper have


def _frequencies(rng: np.random.Generator, K: int) -> np.ndarray:
    """Unequal: no two closer than a twentieth of their mean."""
    while True:
        p = rng.dirichlet(np.full(K, 3.0))
        if np.diff(np.sort(p)).min() > 0.05 / K and p.min() > 0.2 / K:
            return p


def activity(gradient: Callable[[Any, Any], np.ndarray]) -> Callable[[Any, Any], dict[str, float]]:
    """Whether the gradient of one prompt is other than zero: it is zero if all contexts carry one feature."""

    def evaluate(params: Any, prompt: Any) -> dict[str, float]:
        return {"gradient_active": float(abs(gradient(params, prompt)).max() > 1e-12)}

    return evaluate


# ---- One prompt


def of_prompts(draws: int, seed: int, query_attends: bool) -> list[Point]:
    """Random ones, coded and as tokens, the initialisation, a trained point, inputs in general position."""
    rng = uncounted(Huang2023Uncounted.POINTS, seed)
    random = _random_prompts(rng, query_attends)
    start, trained = _small_run(seed, query_attends)
    return fill([next(random), next(random), start, trained, _general_position(rng, query_attends)], random, draws)


def _random_prompts(rng: np.random.Generator, query_attends: bool) -> Iterator[Point]:
    coded = True
    while True:
        K, N = int(rng.integers(3, 7)), int(rng.integers(4, 11))
        d = K + int(rng.integers(1, 4))
        if len({K, N, d, N + 1}) < 4:
            continue
        V = np.linalg.qr(rng.standard_normal((d, K)))[0]
        features = rng.choice(K, (3, N + 1), p=_frequencies(rng, K)).astype(np.int32)
        if any(len(set(row)) < 2 for row in features[:, :-1].tolist()):
            continue
        prompts = CodedPrompts(V, features, rng.standard_normal((3, K)), query_attends)
        params = Params(rng.uniform(*_SCALE) * rng.standard_normal((d, d)))
        label = f"random, {'coded' if coded else 'tokens'} (K={K}, N={N}, d={d})"
        yield Point(label, params, prompts if coded else prompts.dense(), _FEATURES)
        coded = not coded


def _small_run(seed: int, query_attends: bool) -> tuple[Point, Point]:
    problem = Problem(K=4, d=6, length=9, p=(0.4, 0.3, 0.2, 0.1), V_seed=seed)
    start = params = problem.initialize()
    for t in range(60):
        params = Params(params.Q - 2 * loss_and_grad(params, problem.sample(64, seed=(seed, t)))[1].Q)
    x = problem.sample(6, seed=(seed, 60))
    prompts = CodedPrompts(x.V, x.features, x.omega, query_attends)
    initial = Point("the initialisation Q = 0", start, prompts[:3], _FEATURES)
    return initial, Point("trained for 60 steps", params, prompts[3:], _FEATURES)


def _general_position(rng: np.random.Generator, query_attends: bool) -> Point:
    """Inputs that are no features: what holds for the paper's data holds for any."""
    N, d = 6, 4
    x, w = rng.standard_normal((3, N + 1, d)), rng.standard_normal((3, d))
    y = np.einsum("nid,nd->ni", x, w)
    tokens = np.concatenate([x, y[..., None]], axis=2)
    tokens[:, -1, -1] = 0
    Q = rng.standard_normal((d, d)) / d
    return Point(f"inputs in general position (N={N}, d={d})", Params(Q), Prompts(tokens, y[:, -1], query_attends))


def sizes(params: Params, prompt: Any) -> dict[str, float]:
    """The constants by which a formula may be off."""
    N, d = len(prompt.y), len(prompt.x_query)
    return {"N": N, "N+1": N + 1, "d": d, "sqrt(d)": np.sqrt(d), "d+1": d + 1}


def conditions(params: Params, prompt: Any) -> dict[str, str]:
    """The sign of the error, and whether the query's token is among the contexts, in words."""
    yhat = forward(params, prompt)[0]
    seen = bool(np.equal(prompt.X.T, prompt.x_query).all(axis=1).any())
    words = "the query's input is among the contexts" if seen else "the query's input is not among the contexts"
    return {"error": "yhat > z" if yhat > prompt.z else "yhat <= z", "query": words}


def counted_conditions(weights: Weights, counted: Counted) -> dict[str, str]:
    """Whether the query's feature is among the contexts, and whether all features are, in words."""
    seen, every = counted.counts[counted.query] > 0, counted.counts.min() > 0
    return {
        "query": f"the query's feature is {'' if seen else 'not '}among the contexts",
        "features": "every feature is among the contexts" if every else "some feature is not among the contexts",
    }


def counted_regions(weights: Weights, counted: Counted) -> dict[str, dict[str, np.ndarray]]:
    """Rows and columns of S: of the query's feature, of features that are absent."""
    ones, k, absent = np.ones(weights.S.shape, bool), np.arange(len(weights.S)) == counted.query, counted.counts == 0
    return {"S": {"the query's row": ones * k[:, None], "the query's column": ones * k,
                  "rows of absent features": ones * absent[:, None]}}  # fmt: skip


def prompt_kernel(source: bool = False) -> Callable[[Params, Any], Any]:
    """Mean loss of a batch through the step for tokens or for codes, compiled or as plain Python."""
    steps: tuple[Callable[..., Any], ...] = (regression.step, regression.coded_step)
    step, coded_step = (source_of(f) if source else f for f in steps)

    def evaluate(params: Params, prompts: Any) -> Any:
        Q = np.ascontiguousarray(params.Q)
        if isinstance(prompts, CodedPrompts):
            V, counts, omega = (array.astype(Q.dtype) for array in (prompts.V, prompts.counts, prompts.omega))
            query = np.ascontiguousarray(prompts.query)
            return coded_step(counts, omega, query, int(prompts.query_attends), V, Q)[0]
        tokens, labels = prompts.tokens.astype(Q.dtype), prompts.labels.astype(Q.dtype)
        return step(tokens, labels, prompts.length + prompts.query_attends, Q)[0]

    return evaluate


# ---- One prompt, averaged over its task


def of_counts(draws: int, seed: int, query_attends: bool) -> list[Point]:
    """Random S of scale 1 to 3, some features absent; S = 0; a point trained from there."""
    rng = uncounted(Huang2023Uncounted.AVERAGED_POINTS, seed)
    random = _random_counts(rng, query_attends)
    problem = Problem(K=4, length=9, p=(0.4, 0.3, 0.2, 0.1))
    start, trained = problem.initialize().Q, _trained(problem.frequencies, 9)
    counted = _counted(rng, problem.frequencies, 9, 6, query_attends)
    fixed = [
        next(random),
        next(random),
        Point("the initialisation S = 0", Weights(start), counted[:3]),
        Point("trained for 60 steps", Weights(trained), counted[3:]),
    ]
    return fill(fixed, random, draws)


def _random_counts(rng: np.random.Generator, query_attends: bool) -> Iterator[Point]:
    while True:
        K, N = int(rng.integers(3, 7)), int(rng.integers(4, 11))
        if K != N:
            S = rng.uniform(*_SCALE) * rng.standard_normal((K, K))
            prompts = _counted(rng, _frequencies(rng, K), N, 3, query_attends)
            yield Point(f"random (K={K}, N={N})", Weights(S), prompts)


def _counted(rng: np.random.Generator, p: np.ndarray, N: int, n: int, query_attends: bool) -> tuple[Counted, ...]:
    found: list[Counted] = []
    while len(found) < n:
        counts, query = rng.multinomial(N, p), int(rng.choice(len(p), p=p))
        if (counts > 0).sum() > 1:
            found.append(Counted(counts, query, query_attends))
    return tuple(found)


def _trained(p: np.ndarray, N: int) -> np.ndarray:
    """S after 60 steps of gradient descent on the population loss."""
    S, law = np.zeros((len(p), len(p))), populations.enumerated(p, N)
    for _ in range(60):
        S = S + 2 * populations.increments(S, p, law)
    return S


def _tasks(
    step: Callable[..., Any], weights: np.ndarray, counts: np.ndarray, query: np.ndarray, attends: bool, S: np.ndarray
) -> Any:
    """Loss and gradient in S, summed over count vectors (M, K) with weights (M,) and averaged over the tasks sqrt(K) v_j.

    The tasks' second moments are I, which is all that the loss, a quadratic form in the task, knows of them. That it is one
    also allows a prompt's weight to go into its task.
    """
    M, K = counts.shape
    rows = M * K
    omega = np.tile(np.sqrt(K) * np.eye(K), (M, 1)) * np.sqrt(np.repeat(weights / K, K) * rows)[:, None]
    c, q = np.repeat(counts, K, axis=0), np.repeat(query, K).astype(np.int32)
    return step(c.astype(S.dtype), omega.astype(S.dtype), q, int(attends), np.eye(K, dtype=S.dtype), S)


def _of_counted(step: Callable[..., Any], S: np.ndarray, prompts: Any) -> Any:
    counts, query = np.array([x.counts for x in prompts]), np.array([x.query for x in prompts])
    weights = np.full(len(prompts), 1 / len(prompts))
    return _tasks(step, weights, counts, query, prompts[0].query_attends, np.ascontiguousarray(S))


def task_averaged_kernel(source: bool = False) -> Callable[[Weights, Any], Any]:
    """Mean loss of several `Counted` through the step for codes."""
    step = source_of(regression.coded_step) if source else regression.coded_step
    return lambda weights, prompts: _of_counted(step, weights.S, prompts)[0]


def task_averaged_gradient(weights: Weights, prompts: Any) -> Weights:
    """Its gradient, by the kernel's backward pass."""
    return Weights(_of_counted(regression.coded_step, weights.S, prompts)[1])


# ---- The population


def of_populations(draws: int, seed: int, query_attends: bool) -> list[Point]:
    """Random weights of scale 1 to 3 and laws of K = 3, N = 4 or 5 and K = 4, N = 3; the initialisation; a trained point."""
    rng = uncounted(Huang2023Uncounted.POPULATION_POINTS, seed)
    random = _random_populations(rng, query_attends)
    p = np.array([0.5, 0.3, 0.2])
    law = (Population(p, 4, query_attends),)
    fixed = [
        next(random),
        next(random),
        Point("the initialisation", PopulationWeights(np.zeros((3, 3))), law),
        Point("trained for 60 steps", PopulationWeights(_trained(p, 4)), law),
    ]
    return fill(fixed, random, draws)


def _random_populations(rng: np.random.Generator, query_attends: bool) -> Iterator[Point]:
    while True:
        for K, lengths in ((3, (4, 5)), (4, (3, 3))):
            AB = rng.uniform(*_SCALE) * rng.standard_normal((K, K))
            laws = tuple(Population(_frequencies(rng, K), N, query_attends) for N in lengths)
            yield Point(
                f"random (K={K}, N={' and '.join(map(str, sorted(set(lengths))))})", PopulationWeights(AB), laws
            )


def population_kernel(source: bool = False) -> Callable[[PopulationWeights, Any], Any]:
    """Mean population loss through the step for codes, on all count vectors, weighted."""
    step = source_of(regression.coded_step) if source else regression.coded_step

    def of(AB: np.ndarray, law: Population) -> Any:
        counts, weights = populations.enumerated(law.p, law.length)
        K = len(law.p)
        queries = np.repeat(np.arange(K), len(counts))
        every = np.tile(counts, (K, 1)), np.outer(law.p, weights).ravel()
        return _tasks(step, every[1], every[0], queries, law.query_attends, np.ascontiguousarray(AB))[0]

    return lambda weights, laws: sum(of(weights.AB, law) for law in laws) / len(laws)


def population_gradient(weights: PopulationWeights, laws: Any) -> PopulationWeights:
    """Minus the library's increments, the mean over the laws."""
    found = [
        populations.increments(weights.AB, law.p, populations.enumerated(law.p, law.length), not law.query_attends)
        for law in laws
    ]
    return PopulationWeights(np.asarray(-sum(found) / len(laws)))
