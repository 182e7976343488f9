"""Where the formulas of this paper are judged, and the kernels they are judged by.

W has entries everywhere, as W(0) has not: at the initialisation, and in the mean of the population on the family, most blocks
of the gradient are 0 whatever a formula says. xi1 and xi2 are of one size: the query's own weight counts. Sizes differ, so
that an axis is none of the others; small and equal ones, one context, one dimension, two classes, come once each. Among the
prompts are some whose largest score is not the nearest context's.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...audit.subject import Point, fill
from ...core.seeds import generator
from ...kernels.compile import source as source_of
from ...kernels.steps import nearest
from ...models.front import loss_and_grad
from ...models.nearest.prompts import Params, Prompts
from .family import width
from .law import Law
from .population import Source, moments
from .problem import Problem
from .reference import Averaged, Cosines, Inputs, Traces, Xi, embedded, labelled, member
from .seeds import Purpose

__all__ = [
    "cosines_kernel",
    "family_sizes",
    "inputs_gradient",
    "inputs_kernel",
    "inputs_sizes",
    "of_cosines",
    "of_inputs",
    "of_prompts",
    "prompt_conditions",
    "prompt_gradient",
    "prompt_kernel",
    "prompt_regions",
    "prompt_sizes",
    "traces_gradient",
    "xi_gradient",
]

_SPHERE = ("inputs on the sphere",)  # where all prompts of the papers lie
CROSS_ENTROPY = "c = 1"


def _sphere(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Uniform on the unit sphere, along the last axis."""
    x = rng.standard_normal(shape)
    return x / np.sqrt((x * x).sum(axis=-1, keepdims=True))


# ---- One prompt


def of_prompts(loss: str, kind: Callable[..., Any]) -> Callable[[int, int, bool], list[Point]]:
    """Points for one loss, whose parameter is `kind`: random ones, a start, a trained W, any inputs, binary labels."""

    def points(draws: int, seed: int, query_attends: bool) -> list[Point]:
        rng = generator(Purpose.POINTS, (seed, nearest.NAMES[loss]))
        random = _random_prompts(rng, loss, kind)
        fixed = [next(random), next(random), *_small_run(seed, loss, kind), _general_position(rng, loss, kind)]
        return fill([*fixed, *_small_prompts(rng, loss, kind)], random, draws)

    return points


def _mixtures(loss: str) -> tuple[float, ...]:
    return (0.3, 1.0) if loss == "mixture" else (0.5,)


def _holds(loss: str, mixture: float, *more: str) -> tuple[str, ...]:
    return (*more, CROSS_ENTROPY) if loss == "mixture" and mixture == 1 else more


def _random_prompts(rng: np.random.Generator, loss: str, kind: Callable[..., Any]) -> Iterator[Point]:
    """Sizes that differ; with the squared loss every third point has binary labels."""
    made = 0
    while True:
        K, N, d = (int(size) for size in rng.choice(np.arange(2, 8), 3, replace=False))
        if len({K, N, N + 1, d}) < 4 or K == 2 or N < 3:
            continue
        binary = loss == "squared" and made % 3 == 2
        mixture = _mixtures(loss)[made % len(_mixtures(loss))]
        classes = rng.choice([-1, 1], (3, N)) if binary else rng.integers(0, K, (3, N))
        if any(len(set(row)) < 2 for row in classes.tolist()):
            continue
        prompts = Prompts(_sphere(rng, 3, N + 1, d), classes, None if binary else K, mixture)
        if made == 0 and (scored := _largest_scores(prompts, rng)) is None:
            continue
        W = scored if made == 0 else _weights(rng, prompts.size)
        label = (
            f"random ({'binary' if binary else f'K={K}'}, N={N}, d={d}{f', c={mixture}' if loss == 'mixture' else ''})"
        )
        yield Point(label, kind(W), prompts, _holds(loss, mixture, *_SPHERE))
        made += 1


def _weights(rng: np.random.Generator, E: int) -> np.ndarray:
    return rng.uniform(0.5, 1.5) * rng.standard_normal((E, E))


def _largest_scores(prompts: Prompts, rng: np.random.Generator) -> np.ndarray | None:
    """A random W by which the largest score is the nearest context's on some prompts and another's on others."""
    W = _weights(rng, prompts.size)
    scores = np.einsum("bne,ef,bf->bn", prompts.tokens[:, :-1], W, prompts.tokens[:, -1])
    right = np.mean(scores.argmax(axis=1) == prompts.nearest)
    return W if 0 < right < 1 else None


def _small_prompts(rng: np.random.Generator, loss: str, kind: Callable[..., Any]) -> list[Point]:
    """One context, one dimension, two classes, all sizes equal, binary labels: what is wrong for them alone is seen here."""
    last = (None, 2, 3, 0.5) if loss == "squared" else (2, 3, 3, 1.0)
    found = []
    for K, N, d, mixture in ((2, 1, 2, 1.0), (3, 2, 1, 1.0), (3, 3, 3, 0.0), last):
        mixture = mixture if loss == "mixture" else 0.5
        X = rng.standard_normal((1, N + 1, d)) if d == 1 else _sphere(rng, 1, N + 1, d)
        classes = np.array([[-1, 1], [1, -1]]) if K is None else np.arange(N)[None] % K
        holds = _holds(loss, mixture, *(() if d == 1 else _SPHERE))
        prompts = Prompts(np.broadcast_to(X, (len(classes), *X.shape[1:])), classes, K, mixture)
        label = f"small ({'binary' if K is None else f'K={K}'}, N={N}, d={d})"
        found.append(Point(label, kind(_weights(rng, prompts.size)), prompts, holds))
    return found


def _small_run(seed: int, loss: str, kind: Callable[..., Any]) -> tuple[Point, Point]:
    """The initialisation with noise, and where 60 steps lead from there."""
    mixture = _mixtures(loss)[0]
    problem = Problem(d=4, length=6, K=3, sigma=1.0, init_noise=0.1, loss=loss, mixture=mixture)
    start = params = problem.initialize(seed)
    for t in range(60):
        params = Params(params.W - 2 * loss_and_grad(params, problem.sample(64, seed=(seed, t)), loss)[1].W)
    prompts = problem.sample(6, seed=(seed, 60))
    holds = _holds(loss, mixture, *_SPHERE)
    return (
        Point("the initialisation with noise", kind(start.W), prompts[:3], holds),
        Point("trained for 60 steps", kind(params.W), prompts[3:], holds),
    )


def _general_position(rng: np.random.Generator, loss: str, kind: Callable[..., Any]) -> Point:
    """Inputs of any length: what holds on the sphere holds for them."""
    N, d, K, mixture = 5, 3, 4, _mixtures(loss)[0]
    classes = np.array([[0, 1, 2, 3, 0], [1, 1, 0, 2, 3], [2, 0, 3, 0, 1]])
    prompts = Prompts(rng.standard_normal((3, N + 1, d)), classes, K, mixture)
    W = rng.standard_normal((d + K + 1, d + K + 1)) / 2
    return Point(f"inputs in general position (N={N}, d={d}, K={K})", kind(W), prompts, _holds(loss, mixture))


def prompt_sizes(params: Any, prompt: Any) -> dict[str, float]:
    """The constants by which a formula may be off."""
    N = len(prompt.tokens) - 1
    return {"N": N, "N+1": N + 1, "d": prompt.d, "K": prompt.width, "sqrt(d)": np.sqrt(prompt.d)}


def prompt_conditions(params: Any, prompt: Any) -> dict[str, str]:
    """Whether the nearest context has the largest score, and what the labels are, in words."""
    scores = prompt.tokens[:-1] @ params[0] @ prompt.tokens[-1]
    nearest = int(np.argmax(scores)) == prompt.c
    return {
        "nearest": f"the largest score is {'' if nearest else 'not '}the nearest context's",
        "labels": "labels are binary, -1 and 1" if prompt.K is None else "labels are classes",
    }


def prompt_regions(params: Any, prompt: Any) -> dict[str, dict[str, np.ndarray]]:
    """The blocks of W: inputs, labels, and the last row and column."""
    name, W, d = params._fields[0], params[0], prompt.d
    parts = {"x": slice(d), "labels": slice(d, -1), "the indicator": slice(-1, None)}
    found = {}
    for row, rows in parts.items():
        for column, columns in parts.items():
            mask = np.zeros(W.shape, bool)
            mask[rows, columns] = True
            found[f"the block of {row} by {column}"] = mask
        mask = np.zeros(W.shape, bool)
        mask[rows] = True
        found[f"the rows of {row}"], found[f"the columns of {row}"] = mask, mask.T
    return {name: found}


def prompt_kernel(loss: str, source: bool = False) -> Callable[[Any, Any], Any]:
    """Mean loss of a batch through the step, compiled or as plain Python."""
    step = source_of(nearest.step) if source else nearest.step

    def evaluate(params: Any, prompts: Prompts) -> Any:
        return _stepped(step, params[0], prompts, loss)[0]

    return evaluate


def _stepped(step: Callable[..., Any], W: np.ndarray, prompts: Prompts, loss: str) -> Any:
    W = np.ascontiguousarray(W)
    tokens, where = prompts.tokens.astype(W.dtype), np.array(prompts.nearest)
    return step(tokens, where, prompts.width, W, nearest.NAMES[loss], prompts.mixture)


def prompt_gradient(loss: str, kind: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """The library's gradient of a loss, as the parameter that the subject calls by another name."""
    return lambda params, prompts: kind(loss_and_grad(Params(params[0]), prompts, loss)[1].W)


# ---- Labels averaged, in W


def of_inputs(draws: int, seed: int, query_attends: bool) -> list[Point]:
    """Random W with W_21 = W_23 = 0, on the sphere and in general position; a member of the family, and one near it."""
    rng = generator(Purpose.LABEL_POINTS, seed)
    random = _random_inputs(rng)
    fixed = [next(random), next(random), _near_the_family(rng, 0.0), _near_the_family(rng, 0.3)]
    return fill([*fixed, *_small_inputs(rng)], random, draws)


def _small_inputs(rng: np.random.Generator) -> list[Point]:
    """Binary labels, one context, one dimension, all sizes equal."""
    found = []
    for K, N, d in ((None, 3, 2), (2, 1, 2), (3, 2, 1), (3, 3, 3), (None, 1, 4)):
        X = rng.standard_normal((N + 1, d)) if d == 1 else _sphere(rng, N + 1, d)
        W = _without_label_rows(_weights(rng, d + width(K) + 1), d)
        label = f"small ({'binary' if K is None else f'K={K}'}, N={N}, d={d})"
        found.append(Point(label, Averaged(W), (Inputs(X.T, K),), () if d == 1 else _SPHERE))
    return found


def _random_inputs(rng: np.random.Generator) -> Iterator[Point]:
    sizes = ((3, 3, 2, _SPHERE), (4, 2, 5, _SPHERE), (2, 5, 3, ()), (5, 2, 4, _SPHERE), (3, 2, 6, _SPHERE))
    while True:
        for K, N, d, holds in sizes:
            X = _sphere(rng, 3, N + 1, d) if holds else rng.standard_normal((3, N + 1, d)) / np.sqrt(d)
            W = _without_label_rows(_weights(rng, d + K + 1), d)
            yield Point(f"random (K={K}, N={N}, d={d})", Averaged(W), tuple(Inputs(x.T, K) for x in X), holds)


def _without_label_rows(W: np.ndarray, d: int) -> np.ndarray:
    """W with W_21 = W_23 = 0."""
    W[d:-1, :d] = 0
    W[d:-1, -1] = 0
    return W


def _near_the_family(rng: np.random.Generator, noise: float) -> Point:
    K, N, d = 2, 4, 5
    W = member(2.0, 1.0, d, K) + noise * rng.standard_normal((d + K + 1, d + K + 1))
    X = _sphere(rng, 3, N + 1, d)
    label = f"{'near ' if noise else ''}the family at xi1 = 2, xi2 = 1"
    return Point(label, Averaged(_without_label_rows(W, d)), tuple(Inputs(x.T, K) for x in X), _SPHERE)


def inputs_sizes(weights: Any, inputs: Inputs) -> dict[str, float]:
    """The constants by which a formula may be off."""
    d, rows = inputs.X.shape
    return {"N": rows - 1, "N+1": rows, "d": d, **_of_classes(inputs.K)}


def _of_classes(K: int | None) -> dict[str, float]:
    size = width(K)
    return {"K": size, "(K-1)": max(size - 1, 1), "kappa": 1.0 if K is None else (K - 1) / K}


def _of_labels(step: Callable[..., Any], W: np.ndarray, every: Any) -> tuple[Any, np.ndarray]:
    """Loss and gradient, the mean over several `Inputs` and all of their label vectors."""
    found = [_stepped(step, W, labelled(inputs), "squared") for inputs in every]
    return sum(loss for loss, _ in found) / len(found), sum(dW for _, dW in found) / len(found)


def inputs_kernel(source: bool = False) -> Callable[[Averaged, Any], Any]:
    """Mean loss of several `Inputs` through the step, over all label vectors."""
    step = source_of(nearest.step) if source else nearest.step
    return lambda weights, every: _of_labels(step, weights.W_labels, every)[0]


def inputs_gradient(weights: Averaged, every: Any) -> Averaged:
    """Its gradient, by the step's backward pass."""
    return Averaged(_of_labels(nearest.step, weights.W_labels, every)[1])


# ---- Labels averaged, on the family


def of_cosines(kind: Callable[[float, float, int], Any]) -> Callable[[int, int, bool], list[Point]]:
    """(xi1, xi2) of one size, xi2 above and below xi1; the initialisation; as `kind`(xi1, xi2, d) says it."""

    def points(draws: int, seed: int, query_attends: bool) -> list[Point]:
        rng = generator(Purpose.COSINE_POINTS, seed)
        random = _random_cosines(rng, kind)
        start = Point("the initialisation, sigma = 1", kind(0.0, 1.0, 5), _cosines(rng, 5, 4, 2), _SPHERE)
        return fill([next(random), next(random), start, *_small_cosines(rng, kind)], random, draws)

    return points


def _small_cosines(rng: np.random.Generator, kind: Callable[[float, float, int], Any]) -> list[Point]:
    """Binary labels, one context, all sizes equal; xi1 or xi2 below 0."""
    found = []
    for K, N, d, xi1, xi2 in (
        (None, 3, 4, 1.5, 0.9),
        (2, 1, 3, 0.8, 1.2),
        (3, 3, 3, -0.7, 0.4),
        (None, 1, 2, 0.6, -0.5),
    ):
        label = f"small ({'binary' if K is None else f'K={K}'}, N={N}, d={d}, xi1={xi1}, xi2={xi2})"
        found.append(Point(label, kind(xi1, xi2, d), _cosines(rng, d, N, K)[:1], _SPHERE))
    return found


def _random_cosines(rng: np.random.Generator, kind: Callable[[float, float, int], Any]) -> Iterator[Point]:
    sizes = ((5, 3, 3), (2, 2, 4), (7, 4, 2), (3, 2, 5), (4, 5, 2))
    while True:
        for d, N, K in sizes:
            xi1, xi2 = rng.uniform(0.5, 4, 2)
            yield Point(f"random (K={K}, N={N}, d={d})", kind(xi1, xi2, d), _cosines(rng, d, N, K), _SPHERE)


def _cosines(rng: np.random.Generator, d: int, N: int, K: int | None) -> tuple[Cosines, ...]:
    return tuple(Cosines(2 * rng.beta((d - 1) / 2, (d - 1) / 2, N) - 1, d, K) for _ in range(3))


def family_sizes(weights: Any, cosines: Cosines) -> dict[str, float]:
    """The constants by which a formula may be off."""
    N = len(cosines.t)
    return {"N": N, "N+1": N + 1, "d": cosines.d, **_of_classes(cosines.K)}


def _xi(weights: Xi | Traces, d: int) -> tuple[Any, Any]:
    if isinstance(weights, Traces):
        return weights.traces[0] / d, weights.traces[1]
    return weights.xi[0], weights.xi[1]


def cosines_kernel(source: bool = False) -> Callable[[Any, Any], Any]:
    """Mean loss of several `Cosines` through the step, over all label vectors, at a W of the family."""
    step = source_of(nearest.step) if source else nearest.step

    def evaluate(weights: Xi | Traces, every: Any) -> Any:
        d, K = every[0].d, every[0].K
        W = member(*_xi(weights, d), d, K)
        return _of_labels(step, W, [embedded(cosines) for cosines in every])[0]

    return evaluate


def _source(every: Any) -> Source:
    return Source(np.array([cosines.t for cosines in every]), np.full(len(every), 1 / len(every)), every[0].d)


def xi_gradient(weights: Xi, every: Any) -> Xi:
    """(partial_1, partial_2) by the closed system."""
    xi1, xi2 = weights.xi.tolist()
    found = moments(xi1, xi2, _source(every), every[0].kappa)
    return Xi(np.array([found.partial_1, found.partial_2]))


def traces_gradient(weights: Traces, every: Any) -> Traces:
    """What gradient descent on the population takes: an entry of W_11's diagonal, and minus that of W_33."""
    d, K = every[0].d, every[0].K
    W = Params(member(*_xi(weights, d), d, K))
    dW = loss_and_grad(W, Law(_source(every), K))[1].W
    return Traces(np.array([dW[0, 0], -dW[-1, -1]]))
