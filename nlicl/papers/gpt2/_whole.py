"""Where the gradient of the whole of GPT-2 is judged, and the kernels it is judged by.

On one kind of draw no two sizes are equal, and there is one layer. Others have two, so that every gradient passes through a
whole block. On one kind sizes are equal on purpose: there a sum along the wrong axis is an array of the right shape.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...audit.subject import Point, fill
from ...core.seeds import GPT2 as Purpose
from ...core.seeds import generator
from ...kernels.compile import source as source_of
from ...kernels.layers import loss as losses
from ...kernels.steps import gpt2 as steps
from ...models.front import loss_and_grad
from ...models.gpt2 import reference
from ...models.gpt2.prompts import Params, Prompt, Prompts
from .problem import Problem

__all__ = ["activity", "conditions", "definition", "gradient", "kernel", "points", "sizes", "source"]

# d, H, D, L, M, T, positions, tokens that are read, causal, scale of the weights
_SIZES: tuple[tuple[int, int, int, int, int, int, int, tuple[int, ...], bool, float], ...] = (
    (7, 2, 3, 1, 8, 5, 9, (0, 1, 2, 4), True, 1.0),
    (4, 3, 2, 2, 5, 4, 6, (2,), True, 0.5),
    (4, 2, 2, 2, 4, 4, 4, (0, 1, 2, 3), True, 1.0),
    (5, 1, 3, 2, 4, 4, 5, (0, 3), False, 2.0),
)
_INTO_STREAM = ("W_in", "b_in", "wpe", "W_o", "b_o", "W_pr", "b_pr")
_TINY = Problem(M1=3, M2=2, d_X=5, d_Y=2, K=0.5, length=3, layers=2, heads=2, width=4, hidden=5, learning_rate=0.02)


def points(draws: int, seed: int, query_attends: bool) -> list[Point]:
    """Random places, GPT-2's own initial parameters on prompts of Li et al. 2024, a point trained from there.

    The query attends in either case.
    """
    rng = generator(Purpose.POINTS, seed)
    random = _random_points(rng)
    fixed = [next(random), next(random), *_small_run(rng, seed)]
    return fill(fixed, random, draws)


def _random_points(rng: np.random.Generator) -> Iterator[Point]:
    number = 0
    while True:
        d, H, D, L, M, T, P, reads, causal, scale = _SIZES[number % len(_SIZES)]
        C = H * D
        shapes = {
            "W_in": (C, d), "b_in": (C,), "wpe": (P, C), "gamma_1": (L, C), "beta_1": (L, C), "W_qkv": (L, 3, H, D, C),
            "b_qkv": (L, 3, H, D), "W_o": (L, C, C), "b_o": (L, C), "gamma_2": (L, C), "beta_2": (L, C), "W_fc": (L, M, C),
            "b_fc": (L, M), "W_pr": (L, C, M), "b_pr": (L, C), "gamma_f": (C,), "beta_f": (C,), "w_out": (C,), "b_out": (1,),
        }  # fmt: skip
        params = Params(**{name: scale * rng.standard_normal(shape) for name, shape in shapes.items()})
        if number % len(_SIZES) == 1:  # epsilon counts where the variance is small
            params = params._replace(**{name: 0.05 * getattr(params, name) for name in _INTO_STREAM})
        prompts = Prompts(rng.standard_normal((3, T, d)), np.ones((3, len(reads))), reads, causal)
        masked = "causal" if causal else "no mask"
        label = (
            f"random, {masked}, weights of scale {scale:g} (d={d}, H={H}, D={D}, L={L}, M={M}, T={T}, R={len(reads)})"
        )
        yield _placed(rng, label, params, prompts)
        number += 1


def _placed(rng: np.random.Generator, label: str, params: Params, prompts: Prompts) -> Point:
    """A Point with margins of all kinds, none of them near the kink, by a scaled read-out and by its labels.

    The hinge is active at some tokens of most prompts, of the first one too, and inactive at some.
    """
    F = np.array([reference.forward(params, prompt).score for prompt in prompts])
    grow = 1.5 / np.median(abs(F))
    while (abs(abs(grow * F) - 1) < 0.02).any():
        grow *= 1.1
    while True:
        labels = rng.choice([-1.0, 1.0], F.shape)
        active = 1 - labels * grow * F > 0
        if active[0].any() and active.any(axis=1).sum() >= 2 and not active.all():
            break
    params = params._replace(w_out=grow * params.w_out, b_out=grow * params.b_out)
    return Point(label, params, Prompts(prompts.tokens, labels, prompts.reads, prompts.causal))


def _small_run(rng: np.random.Generator, seed: int) -> tuple[Point, Point]:
    """The initial parameters, and 60 steps of Adam on."""
    start = _TINY.initialize(seed=seed)
    w = np.concatenate(start, axis=None)
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t in range(60):
        _, grads = loss_and_grad(_like(start, w), _TINY.sample(16, seed=(seed, t)))
        g = np.concatenate(grads, axis=None)
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
        w = w - _TINY.learning_rate * m / (1 - 0.9 ** (t + 1)) / (np.sqrt(v / (1 - 0.99 ** (t + 1))) + 1e-8)
    prompts = _TINY.sample(6, seed=(seed, 60))
    initial = Point("the initial parameters, prompts of Li et al.", start, prompts[:3])
    return initial, _placed(rng, "trained for 60 steps", _like(start, w), prompts[3:])


def _like(params: Params, numbers: np.ndarray) -> Params:
    """All numbers, one after the other, in the shapes of `params`."""
    parts = np.split(numbers, np.cumsum([array.size for array in params])[:-1])
    return Params(*(part.reshape(array.shape) for part, array in zip(parts, params, strict=True)))


def definition(params: Params, prompt: Prompt) -> tuple[Any, np.ndarray]:
    """(loss, margins) of one prompt: the hinge."""
    return reference.evaluate(params, prompt, "hinge")


def activity(params: Params, prompt: Prompt) -> dict[str, float]:
    """The share of tokens that are read whose hinge is active."""
    return {"hinge_active": float(np.mean(definition(params, prompt)[1] > 0))}


def conditions(params: Params, prompt: Prompt) -> dict[str, str]:
    """What attends, and how many tokens are read, in words."""
    several = len(prompt.reads) > 1
    return {"mask": "attention is causal" if prompt.causal else "attention has no mask",
            "reads": "several tokens are read" if several else "one token is read"}  # fmt: skip


def sizes(params: Params, prompt: Prompt) -> dict[str, float]:
    """The constants by which a formula may be off."""
    (T, _), (L, _, H, D, C) = prompt.tokens.shape, params.W_qkv.shape
    return {"T": T, "R": len(prompt.reads), "L": L, "H": H, "D": D, "sqrt(D)": np.sqrt(D), "C": C, "sqrt(C)": np.sqrt(C),
            "M": params.W_fc.shape[1]}  # fmt: skip


def _loss(params: Params, prompts: Prompts, step: Any) -> Any:
    L, _, H, _, C = params.W_qkv.shape
    dtype = np.result_type(*params)
    packed = steps.Parameters(*(np.ascontiguousarray(array, dtype) for array in params))
    packed = packed._replace(W_qkv=packed.W_qkv.reshape(L, 3 * C, C), b_qkv=packed.b_qkv.reshape(L, 3 * C))
    tokens, labels = prompts.tokens.astype(dtype), prompts.labels.astype(dtype)
    return step(tokens, labels, np.array(prompts.reads), prompts.causal, H, packed, losses.NAMES["hinge"])[0]


def kernel(params: Params, prompts: Prompts) -> Any:
    """Mean loss of a batch through the compiled step, in float64 or complex128."""
    return _loss(params, prompts, steps.step)


_source = source_of(steps.step)


def source(params: Params, prompts: Prompts) -> Any:
    """The same through the kernels' Python source, in any dtype."""
    return _loss(params, prompts, _source)


def gradient(params: Params, prompts: Prompts) -> Params:
    """The library's batched gradient; of every prompt so often that the batch is split up, as in a training run."""
    return loss_and_grad(params, prompts[list(range(len(prompts))) * 100])[1]
