"""Random problems for the tests, and how closely two computations of one must agree."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from nlicl import CodedPrompts, Params, Prompts

LOSSES = ("hinge", "logistic", "squared")
SMALL = st.integers(1, 9)  # every remainder of a loop unrolled by 2, 4 or 8, once and twice around


class Sizes(NamedTuple):
    B: int = 6
    l: int = 7
    d: int = 5
    m_a: int = 3
    m_b: int = 4
    m: int = 9


sizes = st.builds(Sizes, *[SMALL] * 6)
seeds = st.integers(0, 2**32 - 1)
losses = st.sampled_from(LOSSES)


def params(size, seed=0, dtype=np.float64, scale=1.0):
    """Gaussian parameters of order `scale`, such that scores and pre-activations are of order 1 at scale 1."""
    rng = np.random.default_rng([seed, 1])
    _, _, d, m_a, m_b, m = size
    shapes = [(m_a, d), (m_a, d), (m_b, d), (m, m_b), (m,)]
    arrays = [rng.normal(size=shape) * scale / np.sqrt(shape[-1]) for shape in shapes]
    return Params(*(array.astype(dtype) for array in arrays))


def prompts(size, seed=0, dtype=np.float64, query_attends=False):
    rng = np.random.default_rng([seed, 2])
    tokens = rng.normal(size=(size.B, size.l + 1, size.d)).astype(dtype)
    return Prompts(tokens, rng.choice([-1.0, 1.0], size.B), query_attends)


def problem(size, seed=0, dtype=np.float64, query_attends=False):
    return params(size, seed, dtype), prompts(size, seed, dtype, query_attends)


def clear_of_kinks(out, labels, loss, margin=1e-4):
    """Whether rounding cannot change which neurons and hinges are active. At a kink two exact answers differ by a
    whole summand, and which one rounding picks says nothing about either."""
    clear = np.abs(out.preactivation).min() > margin
    return bool(clear and (loss != "hinge" or np.abs(1 - labels * out.score).min() > margin))


def norm(array):
    return float(np.linalg.norm(np.ravel(array)))


class Bounds(NamedTuple):
    """What rounding may do, at most, to each result: eps times the size of the numbers that were added up.

    Not relative to the result, which may be zero by cancellation (dW_Q at l = 1, say). Scores s = (W_K p)^T W_Q p
    carry a rounding error of eps |W_Q| |W_K| |p|^2, which is a relative error of the attention; hence `growth`.
    """

    score: float
    attention: float
    context: float
    preactivation: float
    grads: Params


def bounds(params, prompts, factor=16):
    eps = float(np.finfo(params.W_Q.real.dtype).eps)
    Q, K, V, O, a = map(norm, params)
    p = max(norm(token) for token in prompts.tokens.reshape(-1, prompts.tokens.shape[2]))
    growth = factor * eps * (1 + Q * K * p * p)
    F = a * O * V * p
    g = 1 + F  # largest slope of the three losses
    grads = Params(
        W_Q=g * a * O * V * K * 2 * p**3,
        W_K=g * a * O * V * Q * 2 * p**3,
        W_V=g * a * O * p,
        W_O=g * a * V * p,
        a=g * O * V * p,
    )
    return Bounds(
        growth * F * g, growth, growth * p, growth * O * V * p, Params(*(growth * (1 + F) * size for size in grads))
    )


def assert_close(got, want, atol, what=""):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, expected {want.shape}"
    np.testing.assert_allclose(got, want, rtol=0, atol=float(atol), err_msg=what)


def assert_grads_close(got, want, atol):
    for name, given, expected, tolerance in zip(Params._fields, got, want, atol, strict=True):
        assert_close(given, expected, tolerance, f"d{name}")


def codes(size, K, seed=0, query_attends=False):
    """Random codes over K columns: equal ones, the label's column as a pattern, signs of 0 among them."""
    rng = np.random.default_rng([seed, 3])
    B, rows = size.B, size.l + 1
    sign = rng.integers(-1, 2, (B, rows))
    sign[:, -1] = 0
    relevant, irrelevant = rng.integers(K, size=(2, B, rows))
    irrelevant[0] = relevant[0]
    relevant[-1, -1] = K - 1
    E, kappa = rng.normal(size=(size.d, K)), rng.uniform(-1, 1, (B, rows))
    return CodedPrompts(E, relevant, irrelevant, kappa, sign, rng.choice([-1.0, 1.0], B), query_attends)
