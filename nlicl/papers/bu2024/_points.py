"""Where the formulas of Bu et al. 2024 are judged, and the kernels they are judged by.

At W_Q = W_K = sigma_0 I a transpose or a swap of the two is invisible: parameters are generic, but for the initialisation
and a trained point. Prompts whose neurons are all dead prove nothing, nor do those of one sign, for attention: there are none.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...audit.subject import Point, fill
from ...core.seeds import Bu2024Uncounted, uncounted
from ...kernels.compile import source as source_of
from ...kernels.layers import loss as losses
from ...kernels.steps import multihot, unmerged
from ...models.front import loss_and_grad
from ...models.transformer import audited
from ...models.transformer.prompts import Params, Prompts
from ...models.transformer.reference import forward
from . import reference
from .problem import Problem
from .prompts import CodedPrompts

_NOISY = Problem(concepts=2, dictionary=5, d_x=6, d_y=5, norm_x=1.5, norm_y=1.5, sigma_xi=0.3, p_z=0.3, length=4, m=7,
                 sigma_0=0.3, sigma_1=0.1, weight_decay=0.01, step_offset=400.0, batch=16)  # fmt: skip
_CLEAN = Problem(concepts=3, dictionary=7, d_x=8, d_y=7, norm_x=1.5, norm_y=1.3, kappa_x=0.3, kappa_y=0.6, sigma_xi=0.0,
                 p_z=0.0, length=5, m=6, sigma_0=0.3, sigma_1=0.1, weight_decay=0.01, step_offset=400.0, batch=16)  # fmt: skip


def activity(evaluate: Callable[[Any, Any], tuple[Any, np.ndarray]]) -> Callable[[Any, Any], dict[str, float]]:
    """The share of active neurons, of one prompt, from (loss, margins)."""
    return lambda params, prompt: {"relu_active": float(np.mean(evaluate(params, prompt)[1] > 0))}


def conditions(blocks: Any, prompt: Any) -> dict[str, str]:
    """The signs of F and z F, and of the labels among the demonstrations, in words."""
    return audited.signs(reference.forward(blocks, prompt).F.real, prompt.z)


def sizes(params: Any, prompt: Any) -> dict[str, float]:
    """The constants by which a formula may be off."""
    l, d = len(prompt.tokens) - 1, prompt.tokens.shape[1]
    m = len(params[-1])
    return {"L": l, "L+1": l + 1, "m": m, "sqrt(m)": np.sqrt(m), "d": d, "sqrt(d)": np.sqrt(d)} | (
        {"d_x": prompt.d_x, "sqrt(d_x)": np.sqrt(prompt.d_x), "d_y": d - prompt.d_x} if hasattr(prompt, "d_x") else {}
    )


# ---- All matrices


def all_matrices(draws: int, seed: int, query_attends: bool) -> list[Point]:
    """Random ones of all sizes, the paper's initialisation, a trained point, a pruned neuron."""
    rng = uncounted(Bu2024Uncounted.POINTS, seed)
    random = audited.random_points(rng, query_attends)
    start, trained, prompts = _small_run(seed)
    tokens = prompts.dense().tokens
    run = [
        Point(label, params, Prompts(tokens[part], prompts.labels[part], query_attends))
        for label, params, part in (
            ("the paper's initialisation", start, slice(0, 2)),
            ("trained for 60 steps", trained, slice(2, 4)),
        )
    ]
    return fill([next(random), next(random), *run, audited.pruned_point(rng, query_attends)], random, draws)


def _small_run(seed: int) -> tuple[Params, Params, Any]:
    """The initialisation, a point trained from it, and prompts on which neither is silent."""
    problem = _NOISY
    start = params = problem.initialize(seed=(seed, 1))
    words = problem.mask["W_Q"]  # and of W_K
    for t in range(60):
        _, grads = loss_and_grad(params, problem.sample(16, seed=(seed, t)))
        params = params._replace(
            W_Q=params.W_Q - grads.W_Q * words, W_K=params.W_K - grads.W_K * words, W_O=params.W_O - grads.W_O
        )
    prompts = problem.sample(60, seed=(seed, 60))
    return start, params, prompts[_telling(prompts, start, params)[:6]]


def _telling(prompts: Any, *several: Params) -> list[int]:
    """The numbers of those prompts that say something of attention: both signs, and neurons that tell labels apart, at each of
    the params. There may be none: a batch of none is no batch."""
    return [n for n in range(len(prompts)) if all(_tells(params, prompts[n]) for params in several)]


def _tells(params: Params, prompt: Any) -> bool:
    """Whether phi_l = sum_i zeta_i <w_i, W_V p_l> differ by more than they have lost by cancellation."""
    h = forward(params, prompt).preactivation
    summands = (params.a * (h > 0))[:, None] * (params.W_O @ params.W_V @ prompt.keys)
    phi = summands.sum(axis=0)
    return abs(prompt.signs[:-1].sum()) < len(phi) and np.ptp(phi) > 0.1 * abs(summands).sum(axis=0).max() > 0


# ---- Merged


def merged(draws: int, seed: int, query_attends: bool) -> list[Point]:
    """Random ones: W_QK is not symmetric, and no two sizes are equal."""
    rng = uncounted(Bu2024Uncounted.MERGED_POINTS, seed)
    random = audited.random_points(rng, query_attends)

    def endless() -> Iterator[Point]:
        while True:
            _, params, prompts, _ = next(random)
            d = params.W_Q.shape[1]
            W_QK = rng.standard_normal((d, d)) / d
            found = audited.placed(
                f"random (d={d}, l={prompts.length})",
                reference.full_merged(reference.Merged(W_QK, params.W_V, params.W_O, params.a)),
                prompts,
            )
            if found is not None:
                W_Q, _, W_V, W_O, a = found.params
                yield found._replace(params=reference.Merged(W_Q, W_V, W_O, a))

    return fill([], endless(), draws)


def merged_kernel(source: bool = False) -> Callable[[reference.Merged, Prompts], Any]:
    """Mean loss of a batch through the forward pass for few prompts, with W_K the identity."""
    evaluate = audited.source("logistic", unmerged.forward) if source else audited.kernel("logistic", unmerged.forward)
    return lambda merged, prompts: evaluate(reference.full_merged(merged), prompts)


def merged_gradient(merged: reference.Merged, prompts: Prompts) -> reference.Merged:
    """The library's batched gradients: with W_K = I that of W_Q is that of W_QK."""
    grads = loss_and_grad(reference.full_merged(merged), prompts, "logistic")[1]
    return reference.Merged(grads.W_Q, grads.W_V, grads.W_O, grads.a)


# ---- Blocks


def blocks(draws: int, seed: int, query_attends: bool) -> list[Point]:
    """Random blocks on noisy prompts of several concepts, the initialisation, a trained point, prompts of one concept."""
    rng = uncounted(Bu2024Uncounted.BLOCK_POINTS, seed)
    start, trained, prompts = _small_run(seed)
    run = [
        Point("the paper's initialisation", _blocks_of(start), prompts[:2]),
        Point("trained for 60 steps", _blocks_of(trained), prompts[2:4]),
    ]
    noisy, clean = _random(rng, seed, _NOISY, reference.Blocks), _random(rng, seed, _CLEAN, reference.Blocks)
    return fill([next(noisy), *run, next(clean)], noisy, draws)


def one_concept(draws: int, seed: int, query_attends: bool) -> list[Point]:
    """Random blocks on prompts of one concept without noise."""
    return fill(
        [], _random(uncounted(Bu2024Uncounted.ONE_CONCEPT_POINTS, seed), seed, _CLEAN, reference.OneConcept), draws
    )


def _random(rng: np.random.Generator, seed: int, problem: Problem, kind: Callable[..., Any]) -> Iterator[Point]:
    """Endless random blocks with three telling prompts each."""
    d_x, d_y, m = problem.d_x, problem.d_y, problem.m
    holds = ("one concept, no noise",) if problem is _CLEAN else ()
    for n in range(1_000_000):
        found = kind(
            rng.standard_normal((d_x, d_x)) / np.sqrt(d_x),
            rng.standard_normal((d_x, d_x)) / np.sqrt(d_x),
            rng.standard_normal((m, d_y)),
            rng.standard_normal(m) / np.sqrt(m),
        )
        prompts = problem.sample(30, seed=(seed, n, 1))
        telling = _telling(prompts, reference.full(found))
        if len(telling) >= 3:
            concepts = "several concepts and noise" if problem is _NOISY else "one concept, no noise"
            yield Point(
                f"random, {concepts} (d_x={d_x}, d_y={d_y}, L={problem.length}, m={m})",
                found,
                prompts[telling[:3]],
                holds,
            )


def _blocks_of(params: Params) -> reference.Blocks:
    d_x = _NOISY.d_x
    return reference.Blocks(params.W_Q[:, :d_x], params.W_K[:, :d_x], params.W_O, params.a)


def block_kernel(source: bool = False) -> Callable[[Any, Any], Any]:
    """Mean loss of a batch, through the step for codes where prompts have no tokens, or through the forward pass for few
    prompts."""
    on_codes: Callable[..., Any] = source_of(multihot.step) if source else multihot.step
    on_tokens = (audited.source if source else audited.kernel)("logistic", unmerged.forward)

    def evaluate(blocks: Any, prompts: Any) -> Any:
        params = reference.full(blocks)
        if not isinstance(prompts, CodedPrompts) or prompts.tokens is not None:
            return on_tokens(params, prompts.dense())
        dtype = np.result_type(*params)
        arrays = [np.ascontiguousarray(array, dtype) for array in params]
        labels = prompts.labels.astype(dtype)
        return on_codes(*prompts.codes(dtype), labels, prompts.length, *arrays, losses.LOGISTIC)[0]

    return evaluate


def block_gradient(kind: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """The library's batched gradients, each of its block."""

    def evaluate(blocks: Any, prompts: Any) -> Any:
        d_x = len(blocks[0])
        arrays = [np.ascontiguousarray(array) for array in reference.full(blocks)]
        if prompts.tokens is None:  # the mean over many equal prompts is that over one: codes are for many
            prompts = prompts[list(range(len(prompts))) * 8]
        grads = loss_and_grad(Params(*arrays), prompts)[1]
        return kind(grads.W_Q[:, :d_x], grads.W_K[:, :d_x], grads.W_O, grads.a)

    return evaluate
