"""Words and labels apart (`steps.words`): against the step on all columns, literal loops, complex step; threads; extremes."""

from typing import NamedTuple

import naive
import numpy as np
import pytest
from draws import LOSSES, SMALL, assert_close, losses, seeds
from hypothesis import example, given
from hypothesis import strategies as st

from nlicl import Params, Prompts
from nlicl.kernels import compile
from nlicl.kernels.layers.loss import NAMES as KIND
from nlicl.kernels.steps import unmerged, words
from nlicl.models.transformer import reference

dtypes = st.sampled_from([np.float32, np.float64, np.complex128])


class Sizes(NamedTuple):
    B: int = 6
    L: int = 4
    d_x: int = 11
    d_y: int = 7
    m: int = 9


sizes = st.builds(Sizes, SMALL, SMALL, st.integers(1, 19), st.integers(1, 9), SMALL)


def drawn(size, seed, dtype=np.float64):
    """Tokens (B, L+1, d), labels (B,), and W_Q^x, W_K^x, W_O, r."""
    B, L, d_x, d_y, m = size
    rng = np.random.default_rng([seed, 5])

    def normal(*shape, scale=1.0):
        array = scale * rng.normal(size=shape)
        return (array + 0.1j * scale * rng.normal(size=shape) if dtype is np.complex128 else array).astype(dtype)

    tokens = normal(B, L + 1, d_x + d_y)
    tokens[:, -1, d_x:] = 0
    labels = rng.choice([-1.0, 1.0], B).astype(dtype)
    blocks = (normal(d_x, d_x, scale=0.3), normal(d_x, d_x, scale=0.3), normal(m, d_y, scale=0.5), normal(m))
    return tokens, labels, blocks


def whole(blocks, d_x, d_y):
    """The same parameters with their zero and unit blocks."""
    W_Q, W_K, W_O, r = blocks
    nothing = np.zeros((d_x, d_y), W_Q.dtype)
    W_V = np.hstack([np.zeros((d_y, d_x), W_Q.dtype), np.eye(d_y, dtype=W_Q.dtype)])
    return Params(np.hstack([W_Q, nothing]), np.hstack([W_K, nothing]), W_V, W_O, r)


def multiplied(factors):
    return [A @ B for A, B in factors]


# ---------------------------------------------------------------- the step on all columns, and loops


@example(Sizes(1, 1, 1, 1, 1), np.float64, "logistic", 0)
@example(Sizes(3, 1, 9, 2, 8), np.float64, "hinge", 1)  # one demonstration: attention does not move
@given(sizes, dtypes, losses, seeds)
def test_factors_are_the_gradient_on_all_columns(size, dtype, loss, seed):
    tokens, labels, blocks = drawn(size, seed, dtype)
    value, factors = words.factors(tokens, labels, size.d_x, *blocks, KIND[loss])
    want, dW_Q, dW_K, _, dW_O, _ = unmerged.step(tokens, labels, size.L, *whole(blocks, size.d_x, size.d_y), KIND[loss])
    eps = 400 * np.finfo(dtype).eps
    assert value.dtype == dtype
    assert_close(value, want, eps * (1 + abs(want)))
    for got, of in zip(multiplied(factors), (dW_Q[:, : size.d_x], dW_K[:, : size.d_x], dW_O), strict=True):
        assert got.dtype == dtype
        assert_close(got, of, eps * (1 + abs(of).max()) * size.d_x)


@given(sizes, dtypes, seeds)
def test_forward_is_that_of_literal_loops(size, dtype, seed):
    tokens, _, blocks = drawn(size, seed, dtype)
    F, attn, C, U = words.forward(tokens, size.d_x, *blocks)
    p = whole(blocks, size.d_x, size.d_y)
    want = [naive.forward(*map(naive.numbers, [*p, prompt])) for prompt in tokens]
    eps = 2000 * np.finfo(dtype).eps * size.d_x
    for got, k in [(F, 0), (attn, 1), (C, 2), (U, 3)]:
        of = np.array([out[k] for out in want])
        assert got.dtype == dtype
        assert_close(got, of, eps * (1 + abs(of).max()))


@pytest.mark.parametrize("loss", LOSSES)
def test_factors_are_the_definition_s_complex_step(loss):
    size = Sizes()
    tokens, labels, blocks = drawn(size, 3)
    _, factors = words.factors(tokens, labels, size.d_x, *blocks, KIND[loss])
    p, h = whole(blocks, size.d_x, size.d_y), 1e-30
    prompts = Prompts(tokens, labels)
    for name, gradient in zip(("W_Q", "W_K", "W_O"), multiplied(factors), strict=True):
        found = np.zeros_like(gradient)
        for place in np.ndindex(*gradient.shape):
            moved = getattr(p, name).astype(complex)
            moved[place] += 1j * h
            loss_of = [reference.evaluate(p._replace(**{name: moved}), prompt, loss)[0] for prompt in prompts]
            found[place] = np.mean(loss_of).imag / h
        assert_close(gradient, found, 1e-14)


def test_many_prompts_go_by_the_hundred(monkeypatch):
    """`forward` copies a part of the prompts at a time: the same bits, however many."""
    tokens, _, blocks = drawn(Sizes(B=23), 4)
    once = words.forward(tokens, 11, *blocks)
    monkeypatch.setattr(words, "_PROMPTS", 5)
    for one, other in zip(words.forward(tokens, 11, *blocks), once, strict=True):
        np.testing.assert_array_equal(one, other)


# ---------------------------------------------------------------- the step of SGD


@example(1, 1, 1, np.float64, 0.0, 0.3, 0)
@given(st.integers(1, 40), st.integers(1, 25), st.integers(1, 17), dtypes, st.floats(0, 2), st.floats(0, 0.5), seeds)
def test_descend_is_the_step_of_sgd(rows, columns, rank, dtype, eta, weight_decay, seed):
    rng = np.random.default_rng(seed)
    W, A, B = (rng.normal(size=shape).astype(dtype) for shape in ((rows, columns), (rows, rank), (rank, columns)))
    want = W - eta * (A.astype(complex) @ B + weight_decay * W)
    got = W.copy()
    words.descend(got, A, B, eta, weight_decay)
    assert got.dtype == dtype
    assert_close(got, want, 100 * rank * np.finfo(dtype).eps * (1 + abs(want).max()))


def test_without_a_gradient_there_is_decay_alone():
    W = np.random.default_rng(0).normal(size=(19, 13))
    got = W.copy()
    words.descend(got, np.zeros((19, 2)), np.ones((2, 13)), 0.25, 0.5)
    np.testing.assert_array_equal(got, (1 - 0.25 * 0.5) * W)


# ---------------------------------------------------------------- bits, sources, extremes


@pytest.mark.compiled
@pytest.mark.parametrize("threads", [2, 3])
def test_the_same_bits_on_any_number_of_threads(monkeypatch, threads):
    size = Sizes(B=9, d_x=40)
    tokens, labels, blocks = drawn(size, 6)
    monkeypatch.setattr(words, "_WORTH_A_THREAD", 30)

    def found():
        mine = [block.copy() for block in blocks]
        value, factors = words.factors(tokens, labels, size.d_x, *mine, KIND["logistic"])
        for W, (A, B) in zip(mine, factors, strict=False):
            words.descend(W, A, B, 0.1, 0.01)
        return [value, *mine, *words.forward(tokens, size.d_x, *mine)]

    monkeypatch.setattr(compile, "THREADS", 1)
    once = found()
    monkeypatch.setattr(compile, "THREADS", threads)
    for one, other in zip(found(), once, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.compiled
@pytest.mark.parametrize("loss", LOSSES)
def test_compiled_code_is_its_source(loss):
    size = Sizes()
    tokens, labels, blocks = drawn(size, 7)
    value, factors = words.factors(tokens, labels, size.d_x, *blocks, KIND[loss])
    want, others = compile.source(words.factors)(tokens, labels, size.d_x, *blocks, KIND[loss])
    np.testing.assert_allclose(value, want, rtol=1e-13)
    for (A, B), (C, D) in zip(factors, others, strict=True):
        np.testing.assert_allclose(A, C, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(B, D, rtol=1e-12, atol=1e-14)
    by_both = []
    for descend in (words.descend, compile.source(words.descend)):
        W = blocks[0].copy()
        descend(W, *factors.W_Q, 0.3, 0.02)
        by_both.append(W)
    np.testing.assert_allclose(*by_both, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("scale", [1e3, 1e150])
def test_extreme_scores_give_finite_factors(scale):
    tokens, labels, (W_Q, *rest) = drawn(Sizes(B=20), 8)
    value, factors = words.factors(tokens, labels, 11, W_Q * scale, *rest, KIND["logistic"])
    assert np.isfinite(value) and all(np.isfinite(A).all() and np.isfinite(B).all() for A, B in factors)


def test_what_overflows_does_not_vanish():
    """A score of -inf, a pre-activation of -inf: NaN, not 0."""
    tokens, _, (W_Q, W_K, W_O, r) = drawn(Sizes(), 9, np.float32)
    with np.errstate(all="ignore"):
        scores = words.forward(tokens, 11, W_Q * np.float32(1e30), W_K * np.float32(1e30), W_O, r)[0]
        neurons = words.forward(tokens * np.float32(1e20), 11, 0 * W_Q, W_K, W_O * np.float32(1e30), r)[0]
    assert not np.isfinite(scores).any() and not np.isfinite(neurons).any()


def test_without_active_neurons_there_is_no_gradient():
    tokens, labels, (W_Q, W_K, W_O, r) = drawn(Sizes(), 10)
    value, factors = words.factors(abs(tokens), labels, 11, W_Q, W_K, -abs(W_O), r, KIND["logistic"])
    assert value == pytest.approx(np.log(2), rel=1e-15)
    assert not any(product.any() for product in multiplied(factors))


def test_wide_matrices_alone_take_this_path():
    assert words.pays(200, 16) and words.pays(1000, 1000) and not words.pays(60, 16) and not words.pays(200, 500)
    assert words.forward_pays(200, 60, 16) and words.forward_pays(1000, 1000, 5000)
    assert not words.forward_pays(200, 60, 2000) and not words.forward_pays(60, 60, 16)
