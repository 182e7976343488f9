"""The steps for few prompts (`unmerged`) and for codes of any number of columns (`multihot`): naive loops, chunks, threads,
which is chosen.

What every kernel of the step must be, on tokens, is in test_kernels.py.
"""

from typing import NamedTuple
from unittest import mock

import naive
import numpy as np
import pytest
from draws import (
    LOSSES,
    SMALL,
    assert_close,
    assert_grads_close,
    bounds,
    clear_of_kinks,
    losses,
    params,
    problem,
    seeds,
)
from draws import Sizes as TokenSizes
from hypothesis import assume, example, given
from hypothesis import strategies as st
from steps import a_forward, a_step

import nlicl
from nlicl import Params, Prompts
from nlicl.core.errors import NotFinite
from nlicl.kernels import compile
from nlicl.kernels.layers.loss import NAMES as KIND
from nlicl.kernels.steps import multihot, unmerged
from nlicl.models.transformer.steps import TRANSFORMER
from nlicl.papers.bu2024 import CodedPrompts, Problem

dtypes = st.sampled_from([np.float32, np.float64, np.complex128])


def chosen(params, prompts):
    """The module whose step takes these prompts."""
    return TRANSFORMER.steps[type(prompts), "cpu"].operands(params, prompts)[0]


class Sizes(NamedTuple):
    """As `draws.Sizes`, and K columns of the dictionary, of which a token has a `share`."""

    B: int = 6
    l: int = 7
    d: int = 5
    m_a: int = 3
    m_b: int = 4
    m: int = 9
    K: int = 10
    share: float = 0.3


shares = st.sampled_from([0.0, 0.2, 0.6, 1.0])
sizes = st.builds(Sizes, SMALL, SMALL, st.integers(2, 9), SMALL, SMALL, SMALL, st.integers(2, 18), shares)


def coded(size, seed=0, dtype=np.float64):
    """Prompts of random columns, none or all of them too, over a dictionary of unequal ones, neither orthogonal nor real."""
    rng = np.random.default_rng([seed, 3])
    E = rng.normal(size=(size.d, size.K)) / np.sqrt(1 + size.share * size.K)
    if dtype is np.complex128:
        E = E + 0.1j * rng.normal(size=E.shape) / size.K
    shape = (size.B, size.l + 1)
    code, signs = rng.random((*shape, size.K)) < size.share, rng.choice([-1, 1], shape)
    d_x = int(rng.integers(1, size.d))
    x = CodedPrompts(E.real, d_x, code, rng.integers(0, size.K // 2, size.B), signs)
    return x, E.astype(dtype)


def model(size, seed=0, dtype=np.float64):
    p = params(size[:6], seed)
    if dtype is np.complex128:
        rng = np.random.default_rng([seed, 4])
        p = Params(*(array + 0.1j * rng.normal(size=array.shape) / array.shape[-1] for array in p))
    return Params(*(array.astype(dtype) for array in p))


def inputs(x, E):
    """What `sparse` takes before the labels, with E in place of the dictionary."""
    E_query = E.copy()
    E_query[x.d_x :] = 0
    return E, E_query, *x.codes(np.float64)[2:]


def step_of(x, E, p, loss, step=multihot.step):
    value, *grads = step(*inputs(x, E), x.labels.astype(E.dtype), x.length, *p, KIND[loss])
    return value, Params(*grads)


def of_tokens(x, E, p):
    """Tokens, one number at a time, and the bounds of rounding on them."""
    tokens = np.array(naive.sums(naive.numbers(E), naive.numbers(x.code), x.d_x)).astype(E.dtype)
    return tokens, bounds(p, Prompts(tokens, x.labels), factor=64)


# ---------------------------------------------------------------- codes against loops over their tokens


@example(Sizes(1, 1, 2, 1, 1, 1, 2, 0.6), np.float64, "logistic", 0)
@example(Sizes(share=0.0), np.float64, "logistic", 1)  # no token has a column: all are 0
@example(Sizes(share=1.0), np.float64, "logistic", 1)  # all tokens are the same
@given(sizes, dtypes, losses, seeds)
def test_the_step_on_codes_is_that_of_the_tokens(size, dtype, loss, seed):
    p, (x, E) = model(size, seed, dtype), coded(size, seed, dtype)
    tokens, tol = of_tokens(x, E, p)
    F, attn, C, U = multihot.forward(*inputs(x, E), x.length, *p)
    want = [naive.forward(*map(naive.numbers, [*p, prompt])) for prompt in tokens]
    for got, k, atol in [(F, 0, tol.score), (attn, 1, tol.attention), (C, 2, tol.context), (U, 3, tol.preactivation)]:
        assert got.dtype == dtype
        assert_close(got, [out[k] for out in want], atol, ["F", "attn", "C", "U"][k])
    margins = np.array([abs(u.real) for out in want for u in out[3]])
    hinges = np.array([abs((1 - z * out[0]).real) for z, out in zip(x.labels, want, strict=True)])
    zeros = not tokens.any()  # u = 0 exactly, on both sides
    assume(zeros or (margins.min() > 1e-4 and (loss != "hinge" or hinges.min() > 1e-4)))  # see draws.clear_of_kinks
    value, grads = step_of(x, E, p, loss)
    want_value, *want_grads = naive.batch(p, tokens, x.labels, loss)
    assert np.asarray(value).dtype == dtype and all(grad.dtype == dtype for grad in grads)
    assert_close(value, want_value, (tol.score + 4 * np.finfo(dtype).eps) * (1 + abs(want_value)))
    assert_grads_close(grads, want_grads, tol.grads)


@given(sizes, st.sampled_from([np.float32, np.float64]), losses, seeds)
def test_codes_through_the_front_door(size, dtype, loss, seed):
    """Whichever kernel takes them, and by their tokens."""
    p, (x, _) = model(size, seed, dtype), coded(size, seed)
    out = nlicl.forward(p, x)
    assume(clear_of_kinks(out, x.labels, loss))
    y = x.dense(dtype)
    tol = bounds(p, y, factor=64)
    for got, want, atol in zip(out, nlicl.forward(p, y), tol[:4], strict=True):
        assert got.dtype == dtype
        assert_close(got, want, atol)
    value, grads = nlicl.loss_and_grad(p, x, loss)
    want_value, want = nlicl.loss_and_grad(p, y, loss)
    assert value.dtype == want_value.dtype == dtype and all(grad.dtype == dtype for grad in grads)
    assert_close(value, want_value, (tol.score + 4 * np.finfo(dtype).eps) * (1 + abs(want_value)))
    assert_grads_close(grads, want, tol.grads)


def test_a_dictionary_of_zeros_has_scores_of_zero():
    size = Sizes(B=12)
    p, (x, _) = model(size), coded(size)
    zeros = CodedPrompts(0 * x.dictionary, x.d_x, x.code, x.concept, x.signs)
    assert chosen(p, zeros) is multihot
    value, grads = nlicl.loss_and_grad(p, zeros)
    assert value == pytest.approx(np.log(2), rel=1e-15) and not any(grad.any() for grad in grads)
    out = nlicl.forward(p, zeros)
    assert not out.score.any() and not out.context.any()
    np.testing.assert_allclose(out.attention, 1 / 7, rtol=1e-15)


@given(sizes, seeds)
def test_the_query_has_no_label(size, seed):
    """Label rows of the query's dictionary are 0: no gradient of W_Q there, and other label rows change no score."""
    p, (x, E) = model(size, seed), coded(size, seed)
    F, _, _, _ = multihot.forward(*inputs(x, E), x.length, *p)
    assert not step_of(x, E, p, "squared")[1].W_Q[:, x.d_x :].any()
    W_Q = p.W_Q.copy()
    W_Q[:, x.d_x :] = 99
    np.testing.assert_array_equal(multihot.forward(*inputs(x, E), x.length, *p._replace(W_Q=W_Q))[0], F)


@given(sizes, seeds)
def test_columns_can_be_renumbered(size, seed):
    p, (x, E) = model(size, seed), coded(size, seed)
    order = np.random.default_rng(seed).permutation(size.K)
    other = np.ascontiguousarray(E[:, order])
    y = CodedPrompts(other, x.d_x, x.code[..., order], x.concept, x.signs)
    _, tol = of_tokens(x, E, p)
    got, want = step_of(y, other, p, "squared"), step_of(x, E, p, "squared")
    assert_close(got[0], want[0], tol.score * (1 + want[0]))
    assume(clear_of_kinks(nlicl.forward(p, x.dense()), x.labels, "squared"))
    assert_grads_close(got[1], want[1], tol.grads)


@given(sizes, seeds)
def test_a_column_in_two_halves_is_the_column(size, seed):
    p, (x, E) = model(size, seed), coded(size, seed)
    double, twice = np.hstack([E, E]) / 2, np.concatenate([x.code, x.code], axis=2)
    y = CodedPrompts(double, x.d_x, twice, x.concept, x.signs)
    _, tol = of_tokens(x, E, p)
    assume(clear_of_kinks(nlicl.forward(p, x.dense()), x.labels, "squared"))
    got, want = step_of(y, double, p, "squared"), step_of(x, E, p, "squared")
    assert_close(got[0], want[0], tol.score * (1 + want[0]))
    assert_grads_close(got[1], want[1], tol.grads)


@pytest.mark.parametrize("scale", [1e3, 1e150])
def test_extreme_scores_of_codes_give_finite_steps(scale):
    size = Sizes(B=30)
    p, (x, E) = model(size), coded(size)
    value, grads = step_of(x, E, p._replace(W_Q=p.W_Q * scale), "logistic")
    assert np.isfinite(value) and all(np.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize("B", [4, 40])
def test_overflow_is_said(B):
    """By tokens and by codes."""
    size = Sizes(B=B)
    p, (x, _) = model(size, 0, np.float32), coded(size)
    assert chosen(p, x) is (multihot if B == 40 else unmerged)
    big = Params(*(array * np.float32(1e20) for array in p))
    with pytest.raises(NotFinite, match=r"overflow float32\. Scale parameters or prompts down, or use float64"):
        nlicl.loss_and_grad(big, x)


# ---------------------------------------------------------------- sources, precision, complex step


@pytest.mark.compiled
@pytest.mark.parametrize("loss", LOSSES)
def test_compiled_code_on_codes_is_its_source(loss):
    size = Sizes()
    p, (x, E) = model(size, 3), coded(size, 3)
    got, want = step_of(x, E, p, loss), step_of(x, E, p, loss, compile.source(multihot.step))
    for one, other in zip([got[0], *got[1]], [want[0], *want[1]], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
    out = multihot.forward(*inputs(x, E), x.length, *p)
    for one, other in zip(out, compile.source(multihot.forward)(*inputs(x, E), x.length, *p), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


def test_extended_precision_on_codes():
    size = Sizes()
    p, (x, E) = model(size, 4), coded(size, 4)
    wide = Params(*(array.astype(np.longdouble) for array in p))
    value, grads = step_of(x, E.astype(np.longdouble), wide, "logistic", compile.source(multihot.step))
    got, want = step_of(x, E, p, "logistic")
    assert value.dtype == np.longdouble and abs(float(value) - got) < 4e-15
    for grad, other in zip(grads, want, strict=True):
        assert grad.dtype == np.longdouble
        assert_close(other, grad.astype(float), 4e-15)


@given(losses, seeds)
def test_complex_step_on_codes(loss, seed):
    """<dloss/dW, D> is the imaginary part of the loss at W + i h D, exact to rounding."""
    size = Sizes()
    p, (x, E) = model(size, seed), coded(size, seed)
    assume(clear_of_kinks(nlicl.forward(p, x), x.labels, loss))
    _, grads = step_of(x, E, p, loss)
    rng = np.random.default_rng(seed)
    for name in Params._fields:
        D = rng.standard_normal(getattr(p, name).shape)
        moved = [array.astype(complex) for array in p]
        moved[Params._fields.index(name)] += 1e-30j * D
        slope = step_of(x, E.astype(complex), moved, loss)[0].imag / 1e-30
        assert slope == pytest.approx(float(np.sum(getattr(grads, name) * D)), rel=1e-10, abs=1e-12)


# ---------------------------------------------------------------- chunks and threads


@given(st.integers(1, 10**6), st.integers(1, 500), st.integers(2, 300), st.sampled_from([4, 8, 16]))
def test_plan_gives_every_chunk_something_to_do(B, m, K, itemsize):
    chunks, block = multihot.plan(B, m, K, itemsize)
    assert 1 <= chunks <= B and chunks & (chunks - 1) == 0
    assert 1 <= block <= -(-B // chunks)
    assert type(chunks) is type(block) is int


@given(st.integers(1, 10**6), st.integers(2, 200), st.integers(1, 300), st.integers(1, 10**7))
def test_chunks_of_tokens_have_something_to_do(B, rows, d, matrices):
    chunks, readers = unmerged.plan((B, rows, d), matrices), unmerged.readers((B, rows, d))
    assert type(chunks) is type(readers) is int
    assert 1 <= chunks <= min(B, 64) and 1 <= readers <= min(B, 64)
    assert chunks == 1 or B * (4 * rows * d + 3 * matrices) >= chunks * 700_000
    assert chunks == 1 or 8 * chunks <= B or 4 * rows * d > 3 * matrices
    assert readers == 1 or B * rows * d >= readers * 700_000


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 5), losses, seeds)
def test_chunks_and_blocks_of_codes_change_nothing(B, chunks, block, loss, seed):
    size = Sizes(B=B)
    p, (x, E) = model(size, seed), coded(size, seed)
    _, tol = of_tokens(x, E, p)
    with mock.patch.object(multihot, "plan", lambda *sizes: (1, B)):
        want_out, (want_value, want) = multihot.forward(*inputs(x, E), x.length, *p), step_of(x, E, p, loss)
    with mock.patch.object(multihot, "plan", lambda *sizes: (chunks, block)):
        out, (value, grads) = multihot.forward(*inputs(x, E), x.length, *p), step_of(x, E, p, loss)
    for got, expected in zip(out, want_out, strict=True):
        np.testing.assert_array_equal(got, expected)  # a prompt is computed in one place, to the bit
    assert_close(value, want_value, tol.score * (1 + value))
    assert_grads_close(grads, want, tol.grads)


@given(st.integers(1, 12), st.integers(2, 7), losses, seeds)
def test_chunks_of_tokens_change_nothing(B, chunks, loss, seed):
    """One chunk, more of them than prompts, or product by product, as of large matrices."""
    p, x = problem(TokenSizes(B=B), seed)
    assume(clear_of_kinks(nlicl.forward(p, x), x.labels, loss))
    tol = bounds(p, x, factor=64)
    want_out, (want_value, want) = a_forward(p, x, "unmerged"), a_step(loss, p, x, "unmerged")
    for replaced, by in (("plan", lambda *sizes: chunks), ("is_large", lambda *sizes: True)):
        with mock.patch.object(unmerged, replaced, by):
            out, (value, grads) = a_forward(p, x, "unmerged"), a_step(loss, p, x, "unmerged")
        for got, expected, bound in zip(out, want_out, tol[:4], strict=True):
            assert_close(got, expected, bound)
        assert_close(value, want_value, tol.score * (1 + value))
        assert_grads_close(grads, want, tol.grads)


def flat(results):
    """Numbers and arrays of nested tuples."""
    for item in results:
        yield from flat(item) if isinstance(item, tuple) else [item]


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 3), losses, seeds)
def test_chunks_may_be_done_in_any_order(B, chunks, block, loss, seed):
    """One at a time, the last first: the bits of all at once."""
    size = Sizes(B=B)
    p, (x, E) = model(size, seed), coded(size, seed)
    y = x.dense()

    def results():
        yield from flat([multihot.forward(*inputs(x, E), x.length, *p), step_of(x, E, p, loss)])
        yield from flat([a_forward(p, y, "unmerged"), a_step(loss, p, y, "unmerged")])

    def backwards(function, chunks, *arguments):
        for chunk in reversed(range(chunks)):
            function(chunk, chunk + 1, *arguments)

    replaced = mock.patch.object
    with (
        replaced(multihot, "plan", lambda *sizes: (chunks, block)),
        replaced(unmerged, "plan", lambda *sizes: chunks),
    ):
        want = list(results())
        with replaced(multihot, "launch", backwards), replaced(unmerged, "launch", backwards):
            got = list(results())
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("which", ["unmerged", "multihot"])
def test_the_same_bits_on_any_number_of_threads(which, dtype, monkeypatch):
    """Enough work for several chunks, and for products on several threads."""
    if which == "unmerged":
        size = TokenSizes(B=70, l=40, d=700, m_a=300, m_b=200, m=40)
        p, x = problem(size, 0, dtype)
        assert unmerged.pays(size.B, size.d, size.m_a, size.m_b, size.m) and unmerged.readers(x.tokens.shape) > 1
    else:
        size = Sizes(B=3000, l=4, d=30, m_a=20, m_b=20, m=60, K=24, share=0.1)
        p, (x, _) = model(size, 0, dtype), coded(size)
        assert chosen(p, x) is multihot and multihot.plan(size.B, size.m, size.K, p.a.itemsize)[0] > 2
    found = set()
    for threads in (1, 2, 3):
        monkeypatch.setattr(compile, "THREADS", threads)
        value, grads = nlicl.loss_and_grad(p, x, "logistic")
        found.add(b"".join(np.asarray(array).tobytes() for array in (value, *grads, *nlicl.forward(p, x))))
    assert len(found) == 1


@given(sizes, seeds)
def test_inputs_are_left_as_they_were(size, seed):
    p, (x, E) = model(size, seed), coded(size, seed)
    arrays = [*inputs(x, E), x.labels, *p]
    before = [array.copy() for array in arrays]
    multihot.forward(*arrays[:4], x.length, *p)
    multihot.step(*arrays[:4], arrays[4], x.length, *p, KIND["logistic"])
    y = x.dense()
    tokens = y.tokens.copy()
    unmerged.forward(y.tokens, x.length, *p)
    unmerged.step(y.tokens, y.labels, x.length, *p, KIND["logistic"])
    for array, was in zip([*arrays, y.tokens], [*before, tokens], strict=True):
        np.testing.assert_array_equal(array, was)


# ---------------------------------------------------------------- which kernel


def test_few_prompts_keep_the_matrices_apart(monkeypatch):
    """Merging pays from some number of prompts on; the reference setting's 16 are fewer."""
    p = Problem()
    assert unmerged.pays(p.batch, p.d, p.d_x, p.d_y, p.m) and not unmerged.pays(10**5, p.d, p.d_x, p.d_y, p.m)
    assert not unmerged.pays(1, 1, 1, 1, 1)
    size = TokenSizes(B=4, l=3, d=20, m_a=20, m_b=20, m=20)
    q, x = problem(size)
    assert unmerged.pays(4, 20, 20, 20, 20)
    want = nlicl.loss_and_grad(q, x), nlicl.forward(q, x)
    called = []
    for name in ("step", "forward"):
        real = getattr(unmerged, name)
        monkeypatch.setattr(unmerged, name, lambda *args, real=real, name=name: (called.append(name), real(*args))[1])
    nlicl.loss_and_grad(q, x), nlicl.forward(q, x)
    assert called == ["step", "forward"]
    monkeypatch.setattr(unmerged, "pays", lambda *sizes: False)
    got = nlicl.loss_and_grad(q, x), nlicl.forward(q, x)
    assert called == ["step", "forward"]
    tol = bounds(q, x)
    assert_close(got[0][0], want[0][0], tol.score)
    assert_grads_close(got[0][1], want[0][1], tol.grads)
    for one, other, atol in zip(got[1], want[1], tol[:4], strict=True):
        assert_close(one, other, atol)


@given(st.integers(1, 200), st.integers(1, 300), st.integers(1, 300), st.integers(1, 300), st.integers(1, 300))
def test_the_more_prompts_the_more_merging_pays(B, d, m_a, m_b, m):
    """Once it does, it does for more prompts; where all sizes are d, from d prompts on."""
    if not unmerged.pays(B, d, m_a, m_b, m):
        assert not unmerged.pays(B + 1, d, m_a, m_b, m)
    assert unmerged.pays(B, d, d, d, d) == (d > B)  # B (5 + 3 + 3) d^2 against 6 d^3 + B (2 + 3) d^2


def test_tokens_have_the_loss_of_their_codes():
    problem = Problem(sigma_xi=0.0)
    prompts, params = problem.sample(8, seed=0), problem.initialize(seed=1)
    value = nlicl.loss_and_grad(params, prompts)[0]
    assert (
        nlicl.loss_and_grad(params, prompts.dense())[0] == value == nlicl.loss_and_grad(params, prompts, "logistic")[0]
    )
    assert nlicl.loss_and_grad(params, prompts.dense()[:3])[0] == nlicl.loss_and_grad(params, prompts[:3])[0]
    assert nlicl.loss_and_grad(params, nlicl.Prompts(prompts.dense().tokens, prompts.labels))[0] != value  # the hinge
