"""What papers on the one-layer transformer Psi = {W_Q, W_K, W_V, W_O, a} share under audit.

Witnesses of the loss, and random points that leave a wrong formula nowhere to hide. The gradient with its factors marked is in
`.marked`.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

from ...audit.subject import Point
from ...kernels.compile import source as source_of
from ...kernels.layers import loss as losses
from ...kernels.steps import dense
from ..front import loss_and_grad
from . import reference
from .prompts import CodedPrompts, Params, Prompt, Prompts

__all__ = [
    "activity",
    "as_codes",
    "conditions",
    "definition",
    "gradient",
    "kernel",
    "of_neurons",
    "on_gpu",
    "placed",
    "pruned_point",
    "random_points",
    "regions",
    "signs",
    "sizes",
    "source",
]

_SIZES = (3, 4, 5, 6, 7, 8)  # of d, l, m, m_a, m_b: five different ones a point


def definition(loss: str) -> Callable[[Params, Prompt], tuple[Any, np.ndarray]]:
    """(loss, margins) of one prompt, by the definition."""

    def evaluate(params: Params, prompt: Prompt) -> tuple[Any, np.ndarray]:
        return reference.evaluate(params, prompt, loss)

    return evaluate


def activity(loss: str) -> Callable[[Params, Prompt], dict[str, float]]:
    """Shares of active neurons and, for the hinge, 1 where it is active and 0 where not, of one prompt."""

    def evaluate(params: Params, prompt: Prompt) -> dict[str, float]:
        margins = reference.margins(params, prompt, loss)
        u = margins[: len(params.a)]
        shares = {"relu_active": float(np.mean(u > 0))}
        return shares | ({"hinge_active": float(margins[-1] > 0)} if loss == "hinge" else {})

    return evaluate


def kernel(loss: str, forward: Callable[..., Any] = dense.forward) -> Callable[[Params, Prompts], Any]:
    """Mean loss of a batch through the compiled forward pass of a step, in float64 or complex128."""
    return _mean_loss(loss, forward, losses.mean)


def source(loss: str, forward: Callable[..., Any] = dense.forward) -> Callable[[Params, Prompts], Any]:
    """The same through the kernels' Python source, in any dtype, which is looked up when it is first asked for."""

    @cache
    def plain() -> Callable[[Params, Prompts], Any]:
        return _mean_loss(loss, source_of(forward), source_of(losses.mean))

    return lambda params, prompts: plain()(params, prompts)


def _mean_loss(loss: str, forward: Callable[..., Any], mean: Callable[..., Any]) -> Callable[[Params, Prompts], Any]:
    def evaluate(params: Params, prompts: Prompts) -> Any:
        dtype = np.result_type(*params)
        arrays = [np.ascontiguousarray(array, dtype) for array in params]
        tokens, labels = prompts.tokens.astype(dtype), prompts.labels.astype(dtype)
        keys = tokens.shape[1] if prompts.query_attends else tokens.shape[1] - 1
        F, *_ = forward(tokens, keys, *arrays)
        return mean(losses.NAMES[loss], F, labels)

    return evaluate


def gradient(loss: str, times: int = 1) -> Callable[[Params, Prompts], Params]:
    """The library's batched gradients; of every prompt so many `times`, for many and for few go through other kernels."""

    def evaluate(params: Params, prompts: Prompts) -> Params:
        return loss_and_grad(params, prompts[list(range(len(prompts))) * times] if times > 1 else prompts, loss)[1]

    return evaluate


def on_gpu(loss: str) -> dict[str, Callable[[Params, Prompts], Params]]:
    """The library's batched gradients through its GPU kernels: that for tokens and, of the same tokens, that for codes."""

    def through(kind: Callable[[Prompts], Any]) -> Callable[[Params, Prompts], Params]:
        return lambda params, prompts: loss_and_grad(params, kind(prompts), loss, backend="cuda")[1]

    return {"GPU, tokens": through(lambda prompts: prompts), "GPU, codes": through(as_codes)}


def as_codes(prompts: Prompts) -> CodedPrompts:
    """Prompts as codes of all kinds: token = E_r + kappa v + sign q with any v, q and a column E_r for each token."""
    B, rows, d = prompts.tokens.shape
    rng = np.random.default_rng(0)
    v, q = rng.standard_normal((2, d))
    kappa, sign = rng.uniform(-1, 1, (B, rows)), rng.choice([-1, 0, 1], (B, rows))
    sign[:, -1] = 0
    own = (prompts.tokens - kappa[..., None] * v - sign[..., None] * q).reshape(-1, d)
    relevant = np.arange(B * rows).reshape(B, rows)
    irrelevant = np.full((B, rows), B * rows)
    return CodedPrompts(
        np.vstack([own, v, q]).T, relevant, irrelevant, kappa, sign, prompts.labels, prompts.query_attends
    )


def random_points(rng: np.random.Generator, query_attends: bool) -> Iterator[Point]:
    """Endless random points: by turns rectangular, all sizes different, and square, m_a = d, neither W_Q nor W_K symmetric.

    Each has three prompts with answers of all kinds, see `placed`.
    """
    square = False
    while True:
        d, length, m, m_a, m_b = (int(size) for size in rng.permutation(_SIZES)[:5])
        point = _random_point(rng, d, length, m, d if square else m_a, m_b, query_attends)
        if point is not None:
            yield point
            square = not square


def _random_point(
    rng: np.random.Generator, d: int, length: int, m: int, m_a: int, m_b: int, query_attends: bool
) -> Point | None:
    scales = {"W_Q": d, "W_K": d, "W_V": d, "W_O": m_b, "a": m}
    shapes = {"W_Q": (m_a, d), "W_K": (m_a, d), "W_V": (m_b, d), "W_O": (m, m_b), "a": (m,)}
    params = Params(**{k: rng.standard_normal(shapes[k]) / np.sqrt(scales[k]) for k in shapes})
    prompts = Prompts(rng.standard_normal((3, length + 1, d)), np.ones(3), query_attends)
    place = f"random, {'square' if m_a == d else 'rectangular'} (d={d}, l={length}, m_a={m_a}, m_b={m_b}, m={m})"
    return placed(place, params, prompts)


def placed(label: str, params: Params, prompts: Prompts) -> Point | None:
    """A Point with answers of all kinds: zF < 0 at its first prompt, zF = 2 at its second; None if F is all 0.

    Where |F| allows it the last one has 0 < zF < 1. So the hinge is active at the first and the last and inactive at the
    second, and a logistic loss has slopes of all sizes.
    """
    scores = np.array([reference.forward(params, prompt).score for prompt in prompts])
    order = np.argsort(-abs(scores), kind="stable")
    order[:2] = order[1::-1]  # the second largest first: with all neurons off, F = 0 and so is every gradient
    scores = scores[order]
    if abs(scores[0]) < 1e-3:
        return None
    grow = 2.0 / abs(scores[1])  # |F| = 2 at the second prompt, at most 2 at the others
    labels = np.where(scores > 0, -1.0, 1.0)
    labels[1] = -labels[1]
    near = grow * abs(scores[2:]) < 1
    labels[2:][near] *= -1
    return Point(
        label, params._replace(a=params.a * grow), Prompts(prompts.tokens[order], labels, prompts.query_attends)
    )


def pruned_point(rng: np.random.Generator, query_attends: bool) -> Point:
    """A random point with one row of W_O zero: u_i = 0 exactly, a kink of the loss in that row and nowhere else."""
    point = next(random_points(rng, query_attends))
    W_O = point.params.W_O.copy()
    W_O[len(W_O) // 2] = 0
    params, prompts = point.params._replace(W_O=W_O), point.prompts[:1]
    z = -1.0 if reference.forward(params, prompts[0]).score.real > 0 else 1.0  # an active hinge: else all is 0 there
    return Point(
        "one neuron pruned: its row of W_O is 0", params, Prompts(prompts.tokens, np.array([z]), query_attends)
    )


def conditions(params: Params, prompt: Prompt) -> dict[str, str]:
    """The signs of F and of z F on a prompt, in words."""
    return signs(reference.forward(params, prompt).score, prompt.z)


def signs(F: float, z: float) -> dict[str, str]:
    """The signs of a score F and of z F, in words."""
    sign = ">" if F > 0 else "<" if F < 0 else "="
    return {"output": f"F {sign} 0", "answer": "z F > 0" if z * F > 0 else "z F <= 0"}


def regions(params: Params, prompt: Prompt) -> dict[str, dict[str, np.ndarray]]:
    """The entries of W_O and a that belong to neurons of one kind."""
    return of_neurons(reference.forward(params, prompt).preactivation, params, "W_O", "a")


def of_neurons(u: np.ndarray, params: Any, hidden: str, outer: str) -> dict[str, dict[str, np.ndarray]]:
    """The entries that belong to neurons of one kind, of the hidden layer's weights and of the weights behind it."""
    a = getattr(params, outer)
    kinds = {
        "inactive neurons": u <= 0,
        "active neurons": u > 0,
        f"neurons with {outer}_i < 0": a < 0,
        f"neurons with {outer}_i > 0": a > 0,
    }
    shape = getattr(params, hidden).shape
    rows = {f"rows of {kind}": np.broadcast_to(mask[:, None], shape) for kind, mask in kinds.items()}
    return {hidden: rows, outer: {f"entries of {kind}": mask for kind, mask in kinds.items()}}


def sizes(params: Params, prompt: Prompt) -> dict[str, float]:
    """The constants by which a formula may be off."""
    l = prompt.tokens.shape[0] - 1
    m_a, d = params.W_Q.shape
    m, m_b = params.W_O.shape
    return {"l": l, "l+1": l + 1, "m": m, "sqrt(m)": np.sqrt(m), "d": d, "m_a": m_a, "m_b": m_b, "sqrt(d)": np.sqrt(d),
            "sqrt(m_a)": np.sqrt(m_a)}  # fmt: skip
