"""Where the formulas of Zhang et al. 2025 are judged, and the kernels they are judged by.

Weights are dense, W is not symmetric and all sizes of a draw are different: at u = v_x = 0 mistakes in the terms that contain
them do not show, and at a diagonal Lambda and Mbar the population's gradient is symmetric. Small and equal sizes, one context,
one dimension, one head, rank one, come once each. The paper's initialisation, where u = v_x = 0, and a trained point are among
the draws; s is 1/N, 1 or another number.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...audit.subject import Point, fill
from ...core.seeds import generator
from ...kernels.compile import source as source_of
from ...kernels.layers import loss as losses
from ...kernels.steps import linear_attention as kernels
from ...models.front import loss_and_grad
from ...models.linear_attention.prompts import Params, Prompts, SeparateParams
from ...models.linear_attention.reference import forward
from . import reference
from .law import Law
from .problem import Problem
from .reference import Block, Effective, Heads, Population, SeparateSoftmax, Softmax, embedded
from .seeds import Purpose

__all__ = ["POINTS", "conditions", "gradient", "mean_loss", "regions", "sizes"]

# D, N, H, R: no two equal, none is D + 1, and N + 1 is none of the others.
_SIZES = ((3, 6, 2, 5), (2, 5, 4, 1), (4, 2, 6, 7), (3, 7, 5, 2), (2, 6, 5, 4))
_SMALL = ((1, 3, 1, 1), (2, 1, 1, 2), (2, 1, 3, 1), (3, 3, 3, 3), (2, 3, 3, 3), (5, 9, 2, 1))
_REDUCED = ("u = v_x = 0",)
_LINEAR = ("labels are linear functions of the inputs",)


# ---- Places


def _of(part: str, number: int) -> Callable[[int, int, bool], list[Point]]:
    """points(draws, seed, query_attends) of a loss of one prompt. The query attends in either case."""

    def points(draws: int, seed: int, query_attends: bool) -> list[Point]:
        rng = generator(Purpose.POINTS, (seed, number))
        random = _random(part, rng)
        start, trained = _small_run(part, seed)
        small = [
            _dense("small", part, rng, 1, sizes, scale)
            for sizes, scale in zip(_SMALL, (1.0, None, 2.5, None, 0.7, 1.0), strict=True)
        ]
        return fill([next(random), next(random), start, trained, *small], random, draws)

    return points


def _random(part: str, rng: np.random.Generator) -> Iterator[Point]:
    turn = 0
    while True:
        yield _dense("random, dense", part, rng, 2, _SIZES[turn % len(_SIZES)], (None, 1.0, 0.7)[turn % 3])
        turn += 1


def _dense(
    name: str, part: str, rng: np.random.Generator, B: int, sizes: tuple[int, int, int, int], scale: float | None
) -> Point:
    """A point of B prompts, D, N, H, R their sizes."""
    D, N, H, R = sizes
    H = 1 if part == "classifier" else H
    tokens = rng.standard_normal((B, N + 1, D + 1))
    labels = rng.standard_normal(B)
    if part == "classifier":
        tokens[..., -1], labels = rng.choice([-1.0, 1.0], (B, N + 1)), rng.choice([-1.0, 1.0], B)
    tokens[:, -1, -1] = 0
    params = _parameters(part, rng, D, H, R)
    label = f"{name} (D={D}, N={N}, H={H}{f', R={R}' if 'separate' in part else ''})"
    return Point(label, params, Prompts(tokens, labels, "softmax" in part, scale))


def _parameters(part: str, rng: np.random.Generator, D: int, H: int, R: int) -> Any:
    """Dense ones, so scaled that softmax weights are neither equal nor saturated, and heads not alike."""
    E = D + 1
    size = (0.5 + rng.random((H, 1, 1))) / np.sqrt(D)
    if part == "classifier":
        return Block(size[0] * rng.standard_normal((D, D)))
    if part == "reduced":
        return Heads(rng.standard_normal(H), size * rng.standard_normal((H, D, D)))
    V = rng.standard_normal((H, E, E))
    if "separate" in part:
        K, Q = (
            np.sqrt(size) / R**0.25 * rng.standard_normal((H, R, E)) for _ in range(2)
        )  # W as large as a merged one
        return (SeparateSoftmax if "softmax" in part else SeparateParams)(V, K, Q)
    return (Softmax if "softmax" in part else Params)(V, size * rng.standard_normal((H, E, E)))


def _small_run(part: str, seed: int) -> tuple[Point, Point]:
    """The paper's initialisation, larger, and where thirty steps lead from it."""
    softmax = "softmax" in part
    problem = Problem(
        d=3, length=6, heads=2, rank=1 if "separate" in part else None, softmax=softmax, scale=None, init=0.4, Lambda_seed=seed
    )  # fmt: skip
    prompts = problem.sample(12, seed=(seed, 0))
    if part == "classifier":
        signs = np.where(prompts.tokens[..., -1] < 0, -1.0, 1.0)
        signs[:, -1] = 0
        tokens = np.concatenate([prompts.tokens[..., :-1], signs[..., None]], axis=2)
        prompts = Prompts(tokens, np.where(prompts.labels < 0, -1.0, 1.0), scale=None)
    start = params = _taken(part, problem.initialize(seed=seed))
    for _ in range(30):
        moves = gradient(params, prompts)
        params = type(params)(*(one - 0.3 * move for one, move in zip(params, moves, strict=True)))
    holds = () if part == "classifier" else _LINEAR
    initial = Point("the initialisation", start, prompts[:2], _REDUCED + holds)
    return initial, Point("trained for 30 steps", params, prompts[2:4], holds)


def _taken(part: str, params: Any) -> Any:
    """A loss's own parameters out of the model's."""
    if part in ("merged", "separate"):
        return params
    if "softmax" in part:
        return (SeparateSoftmax if "separate" in part else Softmax)(*params)
    v, U = params.V[:, -1, -1], params.W[:, :-1, :-1]
    return Heads(v, U) if part == "reduced" else Block(U[0] + U[1])


def _of_populations(draws: int, seed: int, query_attends: bool) -> list[Point]:
    """Dense Mbar and Lambda, of few prompts that stand for all; Mbar = 0; one dimension, a diagonal Lambda."""
    rng = generator(Purpose.POINTS, (seed, 6))
    random = _random_populations(rng)
    fixed = [next(random) for _ in range(6)]
    for Lambda, N, scale in ((np.array([[0.8]]), 3, None), (np.diag([0.9, 0.4]), 3, 2.5)):
        D = len(Lambda)
        law = Population(Lambda, N, scale)
        fixed.append(Point(f"small (D={D}, N={N})", Effective(rng.standard_normal((D, D))), (law,)))
    return fill(fixed, random, draws)


def _random_populations(rng: np.random.Generator) -> Iterator[Point]:
    turn = 0
    while True:
        D, N = ((2, 2), (3, 1), (2, 1))[turn % 3]
        root = np.eye(D) + 0.5 * rng.standard_normal((D, D))
        Mbar = rng.standard_normal((D, D)) * (turn != 4)
        law = Population(root @ root.T / 2, N, (None, 0.7)[turn % 2])
        yield Point("Mbar = 0" if turn == 4 else f"random, dense (D={D}, N={N})", Effective(Mbar), (law,))
        turn += 1


POINTS: dict[str, Callable[[int, int, bool], list[Point]]] = {
    part: _of(part, number)
    for number, part in enumerate(("merged", "separate", "softmax", "softmax-separate", "reduced", "classifier"))
} | {"population": _of_populations}
"""points(draws, seed, query_attends) of each loss."""


def sizes(params: Any, prompt: Any) -> dict[str, float]:
    """The constants by which a formula may be off."""
    if isinstance(prompt, Population):
        D = len(prompt.Lambda)
        return {"N": prompt.N, "D": D, "N+1": prompt.N + 1, "tr Lambda": float(np.trace(prompt.Lambda))}
    T, E = prompt.tokens.shape
    found = {"s": prompt.scale, "N": T - 1, "N+1": T, "D": E - 1, "D+1": E}
    heads = {} if isinstance(params, Block) else {"H": len(params[0])}
    ranks = {"R": params[1].shape[1]} if isinstance(params, (SeparateParams, SeparateSoftmax)) else {}
    return found | heads | ranks


def conditions(params: Any, prompt: Any) -> dict[str, str]:
    """The sign of the error, and what the scale is, in words; of a law, what the scale is."""
    if isinstance(prompt, Population):
        default = prompt.scale is None or prompt.scale == 1 / prompt.N
        return {"scale": "s = 1/N" if default else "s is not 1/N"}
    T = len(prompt.tokens)
    found = {"scale": "s = 1/N" if np.isclose(prompt.scale, 1 / (T - 1)) else "s is not 1/N"}
    yhat = forward(embedded(params), prompt)[0]
    if isinstance(params, Block):
        return found | {"output": "the score is positive" if yhat > 0 else "the score is not positive"}
    return found | {"error": "yhat > z" if yhat > prompt.z else "yhat <= z"}


def regions(params: Any, prompt: Any) -> dict[str, dict[str, np.ndarray]]:
    """The last row and the last column of each matrix, those of the labels, and the block of inputs."""
    found = {}
    for name, array in params._asdict().items():
        if name in ("V", "W", "V_softmax", "W_softmax"):
            parts = {"the last row": (-1, slice(None)), "the last column": (slice(None), -1),
                     "the block of inputs": (slice(-1), slice(-1)), "the last row's last entry": (-1, -1)}  # fmt: skip
            found[name] = {f"{words} of each head": _only(array, (..., *index)) for words, index in parts.items()}
    return found


def _only(array: np.ndarray, index: tuple[Any, ...]) -> np.ndarray:
    mask = np.zeros(array.shape, bool)
    mask[index] = True
    return mask


# ---- Kernels


def mean_loss(source: bool = False) -> Callable[[Any, Any], Any]:
    """Mean loss of prompts, or of laws, through the steps, compiled or as plain Python."""
    steps: tuple[Callable[..., Any], ...] = (kernels.step, kernels.separate_step)
    merged, separate = (source_of(step) if source else step for step in steps)

    def evaluate(params: Any, prompts: Any) -> Any:
        own = embedded(params)
        if isinstance(params, Effective):
            return sum(_of_law(merged, own, law) for law in prompts) / len(prompts)
        v, *others = (np.ascontiguousarray(array) for array in (own.V[:, -1], *own[1:]))
        tokens, labels = prompts.tokens.astype(v.dtype), prompts.labels.astype(v.dtype)
        kind = losses.LOGISTIC if isinstance(params, Block) else losses.SQUARED
        step = merged if isinstance(own, Params) else separate
        return step(tokens, labels, prompts.s, prompts.softmax, v, *others, kind)[0]

    return evaluate


def _of_law(step: Callable[..., Any], own: Any, law: Population) -> Any:
    """The population loss through the step: the loss is quadratic in w, so that a prompt's weight goes into its task."""
    x, x_query, w, weight = reference.every_prompt(law.Lambda, law.N)
    w = w * np.sqrt(weight * len(weight))[:, None]
    tokens = np.zeros((len(w), law.N + 1, x.shape[2] + 1), own.V.dtype)
    tokens[:, :-1, :-1], tokens[:, -1, :-1], tokens[:, :-1, -1] = x, x_query, np.einsum("pnd,pd->pn", x, w)
    labels = (w * x_query).sum(axis=1).astype(own.V.dtype)
    scale = 1 / law.N if law.scale is None else law.scale
    return step(tokens, labels, scale, False, np.ascontiguousarray(own.V[:, -1]), own.W, losses.SQUARED)[0]


def gradient(params: Any, prompts: Any) -> Any:
    """The library's gradient of the mean loss, in a loss's own parameters."""
    own = embedded(params)
    if isinstance(params, Effective):
        found = [loss_and_grad(own, Law(*law))[1].W[0, :-1, :-1] for law in prompts]
        return Effective(np.asarray(sum(found) / len(found)))
    grads = loss_and_grad(own, prompts, "logistic" if isinstance(params, Block) else "squared")[1]
    if isinstance(params, Heads):
        return Heads(grads.V[:, -1, -1], grads.W[:, :-1, :-1])
    return Block(grads.W[0, :-1, :-1]) if isinstance(params, Block) else type(params)(*grads)
