"""Kernels against their naive twins (tests/naive.py), their own sources, extended precision and the complex step."""

import platform
from unittest import mock

import mpmath
import naive
import numpy as np
import pytest
from child import python
from draws import (
    LOSSES,
    SMALL,
    Sizes,
    assert_close,
    assert_grads_close,
    bounds,
    clear_of_kinks,
    losses,
    params,
    problem,
    seeds,
    sizes,
)
from hypothesis import assume, example, given
from hypothesis import strategies as st
from steps import KIND, SOURCES, STEPS, a_forward, a_step, halves

from nlicl import Params
from nlicl.kernels import compile, partials, products, team, vectors
from nlicl.kernels.layers import attention, mlp
from nlicl.kernels.layers import loss as loss_kernels
from nlicl.kernels.steps import dense, multihot, unmerged

DTYPES = [np.float32, np.float64, np.complex128]
dtypes = st.sampled_from(DTYPES)
each_form = pytest.mark.parametrize("form", STEPS)


def whole_numbers(rng, *shape, dtype=np.float64):
    """Integers up to 30 as `dtype`: sums of thousands of products of two are exact in float32, in whatever order."""
    x = rng.integers(-30, 31, shape)
    return (x + 1j * rng.integers(-30, 31, shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def gaussians(rng, *shape, dtype=np.float64):
    """Order 1; the imaginary parts small, so that sums of complex exponentials stay away from zero."""
    x = rng.normal(size=shape)
    return (x + 0.1j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def tolerance(dtype, size=1.0, factor=64):
    """`factor` roundings of numbers of order `size`: the tests of one kernel sum up to a few dozen of them."""
    return factor * float(np.finfo(dtype).eps) * max(float(size), 1.0)


# ---------------------------------------------------------------- products


# Registers hold up to sixteen numbers, and tiles eight rows of two: all ways to be short of them.
EDGES = st.integers(1, 40)


@given(EDGES, EDGES, EDGES, dtypes, st.booleans(), seeds)
def test_add_product_is_the_triple_loop(r, k, n, dtype, transposed, seed):
    rng = np.random.default_rng(seed)
    A, B, C = (whole_numbers(rng, *shape, dtype=dtype) for shape in [(r, k), (k, n), (r, n)])
    if transposed:  # the same numbers, down the columns in memory
        A = np.ascontiguousarray(A.T).T
    before = C.copy()
    products.add_product(C, A, B)
    want = np.array(naive.product(naive.numbers(A), naive.numbers(B)))
    np.testing.assert_array_equal(C - before, want)


@given(EDGES, EDGES, EDGES, st.sampled_from([np.float32, np.float64]), seeds)
def test_the_bits_of_a_product_do_not_depend_on_their_place(r, k, n, dtype, seed):
    """Row by row and column by column, other tiles of other heights: the same sums in the same order."""
    rng = np.random.default_rng(seed)
    A, B = gaussians(rng, r, k, dtype=dtype), gaussians(rng, k, n, dtype=dtype)
    C = np.zeros((r, n), dtype)
    products.add_product(C, A, B)
    i, j = rng.integers(r), rng.integers(n)
    row, column = np.zeros((1, n), dtype), np.zeros((r, 1), dtype)
    products.add_product(row, A[i : i + 1], B)
    products.add_product(column, A, np.ascontiguousarray(B[:, j : j + 1]))
    np.testing.assert_array_equal(row[0], C[i])
    np.testing.assert_array_equal(column[:, 0], C[:, j])


@pytest.mark.parametrize("transposed", [False, True])
def test_a_large_product_has_the_bits_of_a_small_one(transposed, monkeypatch):
    """Rows are shared out to threads, and a number's sum does not depend on its place."""
    rng = np.random.default_rng(0)
    A, B = gaussians(rng, 301, 90), gaussians(rng, 90, 77)
    A = np.ascontiguousarray(A.T).T if transposed else A
    C, D = np.zeros((301, 77)), np.zeros((301, 77))
    products.add_product(C, A, B)
    monkeypatch.setattr(compile, "THREADS", 3)
    monkeypatch.setattr(products, "_WORTH_A_THREAD", 100_000)
    products.add_large_product(D, A, B)
    np.testing.assert_array_equal(D, C)


@given(EDGES, st.integers(1, 200), dtypes, seeds)
def test_sums_over_rows_are_their_loops(k, n, dtype, seed):
    rng = np.random.default_rng(seed)
    P, w, u, c = (whole_numbers(rng, *shape, dtype=dtype) for shape in [(k, n), (k,), (n,), (n,)])
    before, s, T = c.copy(), np.full(k, 99, dtype), np.full((n, k), 99, dtype)
    products.add_rows(c, w, P)
    products.row_products(s, P, u)
    products.transpose(T, P)
    rows, weights, probe = naive.numbers(P), naive.numbers(w), naive.numbers(u)
    np.testing.assert_array_equal(c - before, naive.product([weights], rows)[0])
    np.testing.assert_array_equal(s, naive.times(rows, probe))
    np.testing.assert_array_equal(T, [[rows[i][j] for i in range(k)] for j in range(n)])


WIDTHS = """
import numpy as np
from nlicl.kernels import products, vectors
from nlicl.kernels.layers import attention
rng = np.random.default_rng(0)
worst = 0
for dtype in (np.float32, np.float64):
    for r, k, n in rng.integers(1, 40, (20, 3)):
        A, B, C = (rng.integers(-30, 31, shape).astype(dtype) for shape in ((r, k), (k, n), (r, n)))
        want, s = C + A @ B, np.empty(r, dtype)
        products.add_product(C, A, B)
        c = np.zeros(n, dtype)
        products.add_rows(c, A[0], B)
        products.row_products(s, A, np.ascontiguousarray(B[:, 0]))
        assert (C == want).all() and (c == A[0] @ B).all() and (s == A @ B[:, 0]).all()
        D, E = np.zeros((r, n), dtype), np.ascontiguousarray(B.T).T
        products.add_packed_product(D, A, B)
        products.add_packed_product(D, np.ascontiguousarray(A.T).T, E)
        T = np.zeros((k, r), dtype)
        products.transpose(T, A)
        assert (D == 2 * (A @ B)).all() and (T == A.T).all()
        u, P = (rng.normal(size=k) / k).astype(dtype), rng.normal(size=(r, k)).astype(dtype)
        attn, c, du, ds = np.empty(r, dtype), np.empty(k, dtype), np.empty(k, dtype), np.empty(r, dtype)
        attention.forward(attn, c, P, u)
        attention.backward(du, ds, attn, c, 5 * u, P)
        exact = np.exp(P @ u.astype(float)) / np.exp(P @ u.astype(float)).sum()
        back = 5 * exact * (P @ u.astype(float) - exact @ P @ u)
        for found, known in ((attn, exact), (c, exact @ P), (ds, back), (du, back @ P)):
            assert abs(found - known).max() < 1000 * np.finfo(dtype).eps
        s = rng.normal(size=n).astype(dtype)
        want = np.exp(s.astype(float)) / np.exp(s.astype(float)).sum()
        attention.softmax(s)
        worst = max(worst, abs(s / want - 1).max() / np.finfo(dtype).eps)
print(vectors.BYTES, vectors.lanes.REGISTERS, worst < 16)
"""


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.parametrize(("features", "width"), [("", "16"), ("+avx,+avx2,+fma", "32")])
def test_registers_of_any_width(features, width, tmp_path):
    """The same instructions on machines with shorter registers, with and without masks and fused multiply-adds."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("these are features of another processor")
    settings = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    assert python(WIDTHS, **settings).split() == [width, "16", "True"]


def test_a_tile_of_a_product_fits_into_the_registers():
    """Two registers of sums a row, two of the right factor, one of the left. One more, and a product takes twice as long."""
    assert 2 * max(vectors.products._HEIGHTS) + 3 <= vectors.lanes.REGISTERS


@pytest.mark.compiled
def test_instructions_refuse_what_they_cannot_read():
    """Rows that are not packed, or of another dtype, would be read wrongly: an error at compilation, not wrong numbers."""
    with pytest.raises(TypeError, match=r"add_rows: P is array.* expected float64, row by row in memory"):
        products.add_rows(np.zeros(4), np.zeros(3), np.zeros((4, 3)).T)
    with pytest.raises(TypeError, match=r"add_product: B is array.*float32"):
        products.add_product(np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((2, 2), np.float32))


# ---------------------------------------------------------------- attention


@given(SMALL, SMALL, dtypes, seeds)
def test_attention_is_its_definition(l, d, dtype, seed):
    rng = np.random.default_rng(seed)
    keys, u, dc = (gaussians(rng, *shape, dtype=dtype) for shape in [(l, d), (d,), (d,)])
    attn, c, ds, du = (np.full(n, 99, dtype) for n in (l, d, l, d))
    attention.forward(attn, c, keys, u)
    attention.backward(du, ds, attn, c, dc, keys)
    want_attn, want_c = naive.attention(naive.numbers(keys), naive.numbers(u))
    want_ds, want_du = naive.attention_backward(naive.numbers(keys), want_attn, naive.numbers(dc))
    p, growth = np.linalg.norm(keys), 1 + np.linalg.norm(keys) * np.linalg.norm(u)
    assert_close(attn, want_attn, tolerance(dtype, growth))
    assert_close(c, want_c, tolerance(dtype, growth * p))
    assert_close(ds, want_ds, tolerance(dtype, growth * p * np.linalg.norm(dc)))
    assert_close(du, want_du, tolerance(dtype, growth * p**2 * np.linalg.norm(dc)))


@given(st.lists(st.integers(-8, 8), min_size=1, max_size=13), st.sampled_from([1, 2**14, 2**27, 2.0**996]))
def test_softmax_survives_any_score(integers, scale):
    """From a scale of 2^14 on, exp(difference) is 0 exactly: all the mass lies, in equal parts, on the largest."""
    attn = np.array(integers) * float(scale)
    attention.softmax(attn)
    want = naive.softmax([k * float(scale) for k in integers])
    assert_close(attn, want, tolerance(np.float64))
    if scale > 1:
        ties = integers.count(max(integers))
        np.testing.assert_array_equal(attn, [1 / ties if k == max(integers) else 0 for k in integers])


@given(st.integers(1, 70), st.sampled_from([np.float32, np.float64]), st.integers(-6, 9), seeds)
def test_softmax_is_right_to_the_last_digits(l, dtype, power, seed):
    """Against longer numbers: exponentials to an ulp or so, whatever their size. Below the smallest normal number, zero."""
    s = (np.random.default_rng(seed).normal(size=l) * 2.0**power).astype(dtype)
    wide = s - s.max()  # in `dtype`: the subtraction's rounding is not what is tested
    wide = np.exp(wide.astype(np.longdouble))
    want = wide / wide.sum()
    attention.softmax(s)
    np.testing.assert_allclose(s, want, rtol=6 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).tiny)


@pytest.mark.parametrize("length", [7, 33])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_does_not_swallow_nan(length, dtype):
    for at in range(length):
        s = np.arange(length, dtype=dtype)
        s[at] = np.nan
        attention.softmax(s)
        assert np.isnan(s).all()


@given(st.integers(2, 9), SMALL, seeds)
def test_equal_tokens_share_attention_equally(l, d, seed):
    rng = np.random.default_rng(seed)
    keys, u, c, attn = np.empty((l, d)), rng.normal(size=d), np.empty(d), np.empty(l)
    keys[:] = rng.normal(size=d)
    attention.forward(attn, c, keys, u)
    assert_close(attn, np.full(l, 1 / l), tolerance(np.float64, 1 + np.linalg.norm(keys) * np.linalg.norm(u)))
    assert_close(c, keys[0], tolerance(np.float64, l))


# ---------------------------------------------------------------- MLP


@given(SMALL, SMALL, SMALL, dtypes, seeds)
def test_mlp_is_its_definition(b, m, d, dtype, seed):
    rng = np.random.default_rng(seed)
    W, a, C, g = (gaussians(rng, *shape, dtype=dtype) for shape in [(m, d), (m,), (b, d), (b,)])
    U, F, dC = np.full((b, m), 99, dtype), np.full(b, 99, dtype), np.full((b, d), 99, dtype)
    dW, da = gaussians(rng, m, d, dtype=dtype), gaussians(rng, m, dtype=dtype)
    dW_before, da_before = dW.copy(), da.copy()
    mlp.forward(U, F, C, np.ascontiguousarray(W.T), a)
    assume(np.abs(U.real).min() > 1e-4)  # see draws.clear_of_kinks
    twins = [naive.mlp(naive.numbers(W), naive.numbers(a), naive.numbers(c)) for c in C]
    size = np.linalg.norm(W) * np.linalg.norm(C) * (1 + np.linalg.norm(a))
    assert_close(U, [u for u, _ in twins], tolerance(dtype, size))
    assert_close(F, [F for _, F in twins], tolerance(dtype, size))
    mlp.backward(da, dC, g, U, W, a)
    products.add_product(dW, U.T, C)  # U is dU now
    back = [
        naive.mlp_backward(naive.numbers(W), naive.numbers(a), naive.numbers(C[n]), twins[n][0], g[n].item())
        for n in range(b)
    ]
    size *= 1 + np.linalg.norm(g) * (1 + np.linalg.norm(a))
    assert_close(dC, [dc for _, _, dc in back], tolerance(dtype, size))
    assert_close(dW - dW_before, b * np.array(naive.mean([dW for dW, _, _ in back])), tolerance(dtype, size))
    assert_close(da - da_before, b * np.array(naive.mean([da for _, da, _ in back])), tolerance(dtype, size))


def test_a_neuron_at_zero_is_inactive():
    """relu'(0) = 0: a pruned neuron, whose weights are 0, stays 0. With >= in place of > it would come back."""
    W, a, C = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([3.0, 5.0]), np.array([[0.5, 0.25]])
    U, F, dC, dW, da = np.empty((1, 2)), np.empty(1), np.empty((1, 2)), np.zeros((2, 2)), np.zeros(2)
    mlp.forward(U, F, C, np.ascontiguousarray(W.T), a)
    mlp.backward(da, dC, np.array([7.0]), U, W, a)
    products.add_product(dW, U.T, C)
    assert F[0] == 3.0
    np.testing.assert_array_equal(dW, [[10.5, 5.25], [0, 0]])
    np.testing.assert_array_equal(da, [7, 0])
    np.testing.assert_array_equal(dC, [[21, 42]])


def test_relu_does_not_swallow_nan():
    W_T, a, C = np.ones((2, 3)), np.ones(3), np.array([[1.0, np.nan], [-1.0, -1.0]])
    U, F = np.empty((2, 3)), np.empty(2)
    mlp.forward(U, F, C, W_T, a)
    assert np.isnan(F[0]) and F[1] == 0


# ---------------------------------------------------------------- the step, by each of the kernels


@each_form
@given(size=sizes, dtype=dtypes, loss=losses, query_attends=st.booleans(), seed=seeds)
def test_step_and_forward_are_the_definition(form, size, dtype, loss, query_attends, seed):
    rng = np.random.default_rng(seed)
    p, x = problem(size, seed, query_attends=query_attends)
    if dtype is np.complex128:
        p = Params(*(array + 0.1j * rng.normal(size=array.shape) / array.shape[-1] for array in p))
    p = Params(*(array.astype(dtype) for array in p))
    x = type(x)(x.tokens.astype(dtype), x.labels, query_attends)
    F, attn, C, U = a_forward(p, x, form)
    want = [naive.forward(*map(naive.numbers, [*p, prompt]), query_attends) for prompt in x.tokens]
    tol = bounds(p, x, factor=64 if form == "multihot" else 16)  # products with all columns
    for got, k, atol in [(F, 0, tol.score), (attn, 1, tol.attention), (C, 2, tol.context), (U, 3, tol.preactivation)]:
        assert got.dtype == dtype
        assert_close(got, [out[k] for out in want], atol, ["F", "attn", "C", "U"][k])

    margins = np.array([abs(u.real) for out in want for u in out[3]])
    hinges = np.array([abs((1 - z * out[0]).real) for z, out in zip(x.labels, want, strict=True)])
    assume(margins.min() > 1e-4 and (loss != "hinge" or hinges.min() > 1e-4))  # see draws.clear_of_kinks
    value, grads = a_step(loss, p, x, form)
    want_value, *want_grads = naive.batch(p, x.tokens, x.labels, loss, query_attends)
    assert all(grad.dtype == dtype for grad in grads) and np.asarray(value).dtype == dtype
    assert_close(value, want_value, (tol.score + 4 * np.finfo(dtype).eps) * (1 + abs(want_value)), "loss")
    assert_grads_close(grads, want_grads, tol.grads)


@given(
    st.integers(1, 12),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from([np.float32, np.float64]),
    losses,
    seeds,
)
def test_chunks_and_blocks_change_nothing(B, chunks, block, n_cached, dtype, loss, seed):
    """A plan says who computes what, never what is computed: chunks may be empty, the last block of one short."""
    p, x = problem(Sizes(B=B, l=5, d=6, m_a=3, m_b=4, m=7), seed, dtype)
    with mock.patch.object(dense, "plan", lambda *sizes: (1, B, B)):
        want_out, (want_value, want) = a_forward(p, x), a_step(loss, p, x)
    with mock.patch.object(dense, "plan", lambda *sizes: (chunks, block, min(n_cached, block))):
        out, (value, grads) = a_forward(p, x), a_step(loss, p, x)
    tol = bounds(p, x)
    for got, expected, atol in zip(out, want_out, [tol.score, tol.attention, tol.context, tol.preactivation], strict=1):
        assert_close(got, expected, atol)
    assume(np.abs(want_out[3]).min() > 1e-4 and np.abs(1 - x.labels * want_out[0]).min() > 1e-4)
    assert_close(value, want_value, (tol.score + 4 * np.finfo(dtype).eps) * (1 + value))
    assert_grads_close(grads, want, tol.grads)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_of_several_chunks_is_the_mean_of_its_prompts(loss):
    p, x = problem(Sizes(B=257, l=6, d=5, m_a=3, m_b=4, m=9), seed=11)
    assert dense.plan(x.tokens.shape, len(p.a), 8)[0] > 1  # the batch is what this test needs it to be
    assert clear_of_kinks(a_forward_named(p, x), x.labels, loss, 1e-12)
    value, grads = a_step(loss, p, x)
    want_value, *want = naive.batch(p, x.tokens, x.labels, loss)
    tol = bounds(p, x)
    assert_close(value, want_value, tol.score)
    assert_grads_close(grads, want, tol.grads)


def a_forward_named(p, x):
    class Out:
        score, _, _, preactivation = a_forward(p, x)

    return Out


@example(1, 200, 1, 1, 8)  # one long prompt of width 1: work for many chunks, but one prompt
@given(
    st.integers(1, 10**6), st.integers(2, 200), st.integers(1, 300), st.integers(1, 2000), st.sampled_from([4, 8, 16])
)
def test_plan_gives_every_chunk_something_to_do(B, rows, d, m, itemsize):
    chunks, block, n_cached = dense.plan((B, rows, d), m, itemsize)
    assert 1 <= chunks <= B
    assert 1 <= n_cached <= block <= -(-B // chunks)
    assert all(isinstance(number, int) for number in (chunks, block, n_cached))


@each_form
@given(size=sizes, seed=seeds)
def test_no_gradient_where_the_hinge_is_inactive(form, size, seed):
    """1 - zF <= 0 on every prompt: every gradient is 0, not almost 0."""
    p, x = problem(size, seed)
    F = a_forward(p, x)[0]
    assume(np.abs(F).min() > 1e-6)
    p = p._replace(a=p.a * (2 / np.abs(F).min()))
    x = type(x)(x.tokens, np.sign(F))
    value, grads = a_step("hinge", p, x, form)
    assert value == 0
    for grad in grads:
        np.testing.assert_array_equal(grad, 0)


@each_form
def test_no_gradient_on_the_hinges_kink(form):
    """One token, one neuron, weights 1: F = 1 = z exactly. Half a step either way it is 0 or not."""
    one = np.ones((1, 1))
    tokens, labels = np.ones((1, 3, 1)), np.ones(1)
    for a, active in [(0.5, True), (1.0, False), (1.5, False)]:
        step = STEPS[form].step(tokens, labels, 2, one, one, one, one, np.array([a]), KIND["hinge"])
        value, _, _, dW_V, dW_O, da = step
        assert value == max(0, 1 - a)
        assert (da[0] == -1 and dW_V[0, 0] == -a and dW_O[0, 0] == -a) if active else not (da or dW_V or dW_O)


@each_form
@given(
    integers=st.lists(st.integers(-8, 8), min_size=1, max_size=9),
    dtype_scale=st.sampled_from(
        [(np.float64, 2.0**14), (np.float64, 2.0**27), (np.float64, 2.0**990), (np.float32, 2.0**27)]
    ),
)
def test_extreme_scores_give_finite_steps(form, integers, dtype_scale):
    """Tokens (k_i, 1) and a query that probes the first coordinate: s_i = scale k_i exactly, ties included."""
    dtype, scale = dtype_scale
    tokens = np.ones((1, len(integers) + 1, 2), dtype)
    tokens[0, :-1, 0] = integers
    tokens[0, -1] = (1, 0)
    W_Q = np.diag([scale, 1.0]).astype(dtype)
    identity = np.eye(2, dtype=dtype)
    W_O, a = np.array([[0.5, 0.25], [-0.5, 1.0], [0.125, -2.0]], dtype), np.array([0.5, -0.25, 0.125], dtype)
    p = Params(W_Q, identity, identity, W_O, a)
    _, attn, C, _ = STEPS[form].forward(tokens, len(integers), *p)
    ties = integers.count(max(integers))
    np.testing.assert_array_equal(attn[0], np.array([k == max(integers) for k in integers], dtype) / dtype(ties))
    assert_close(C[0], [max(integers), 1], 16 * np.finfo(dtype).eps * 8)
    value, *grads = STEPS[form].step(tokens, np.array([-1.0], dtype), len(integers), *p, KIND["squared"])
    assert np.isfinite(value) and all(np.isfinite(grad).all() for grad in grads)


@each_form
@given(
    size=sizes,
    loss=losses,
    dtype_power=st.sampled_from([(np.float64, 100), (np.float64, -100), (np.float32, 20), (np.float32, -20)]),
    seed=seeds,
)
def test_powers_of_two_pass_through_exactly(form, size, loss, dtype_power, seed):
    """Tokens times c, W_Q, W_K, W_V divided by c: the same score. For c a power of two no rounding changes at all,
    however far from 1 it is: the loss keeps its bits, dW_Q, dW_K, dW_V are multiplied by c, dW_O and da stay."""
    dtype, power = dtype_power
    c = dtype(2.0**power)
    p, x = problem(size, seed, dtype)
    want_value, want = a_step(loss, p, x, form)
    scaled = Params(p.W_Q / c, p.W_K / c, p.W_V / c, p.W_O, p.a)
    value, grads = a_step(loss, scaled, type(x)(x.tokens * c, x.labels), form)
    assert value == want_value
    for name, grad, expected in zip(Params._fields, grads, want, strict=True):
        np.testing.assert_array_equal(grad, expected * c if name in ("W_Q", "W_K", "W_V") else expected)


@pytest.mark.parametrize("where", ["tokens", "query", "labels", "W_Q", "W_K", "W_V", "W_O", "a"])
@pytest.mark.parametrize("loss", LOSSES)
@each_form
def test_nan_reaches_the_loss(form, where, loss):
    """One NaN anywhere makes the loss NaN: no maximum, comparison or ReLU on the way swallows it."""
    p, x = problem(Sizes(B=5, l=7, d=6, m_a=3, m_b=4, m=2), seed=3)
    p = Params(*(np.abs(array) for array in p))  # with positive tokens, every neuron is active
    tokens, labels = np.abs(x.tokens), x.labels.copy()
    if where == "labels":
        labels[2] = np.nan
    elif where in ("tokens", "query"):
        tokens[2, -1 if where == "query" else 6, 1] = np.nan
    else:
        getattr(p, where).flat[-1] = np.nan
    value, *grads = STEPS[form].step(tokens, labels, 7, *p, KIND[loss])
    assert np.isnan(value)
    assert any(np.isnan(grad).any() for grad in grads) or (loss == "hinge" and where == "a")
    if where in ("tokens", "query") and form != "multihot":  # there it is in the dictionary, which all prompts read
        F = STEPS[form].forward(tokens, 7, *p)[0]
        np.testing.assert_array_equal(np.isnan(F), [False, False, True, False, False])


# ---------------------------------------------------------------- other witnesses: source, precision, complex step


def kernels_of(*modules):
    """Every compiled function of the modules that define it."""
    for module in modules:
        for name, value in vars(module).items():
            if hasattr(value, "py_func") and value.py_func.__module__ == module.__name__:
                yield f"{module.__name__.rsplit('.', 1)[1]}.{name}", value


KERNELS = dict(kernels_of(attention, mlp, loss_kernels, partials, products, dense, unmerged, multihot))


def arguments_of(name, rng):
    """Fresh arguments of the kernel `name`: outputs full of garbage where the kernel overwrites them."""
    B, l, d, m, block, chunks = 11, 6, 5, 7, 3, 2
    n = lambda *shape: rng.normal(size=shape)  # noqa: E731
    p, x = problem(Sizes(B=B, l=l, d=d, m_a=3, m_b=4, m=m), seed=5)
    QK, OV = p.W_Q.T @ p.W_K, p.W_O @ p.W_V
    OV_T = np.ascontiguousarray(OV.T)
    outputs = (n(B), n(B, l), n(B, d), n(B, m))
    sums = (n(chunks, d, d), n(chunks, m, d), n(chunks, m))
    merged, grads = (QK, OV, OV_T, p.a), tuple(n(*W.shape) for W in p)
    state, work = team.new_state(), np.zeros(chunks * (1 + d * d + m * d + m) + (d + 2 * m + 4) * d)
    *E, indptr, indices = codes = halves(x.tokens, l)
    K = E[0].shape[1]
    G, H = n(K, K) / K, n(m, K) / K
    back = (n(B, l), n(B, K), n(B, K), indptr, indices, 0)
    rows, active = tuple(n(B, width) for width in (d, 3, d, 4, m, d, 3, 4)), np.array([5, 2])
    return {
        "attention.forward": (n(l), n(d), n(l, d), n(d)),
        "attention.backward": (n(d), n(l), n(l), n(d), n(d), n(l, d)),
        "attention.softmax": (n(l),),
        "mlp.forward": (n(B, m), n(B), n(B, d), n(d, m), n(m)),
        "mlp.backward": (n(m), n(B, d), n(B), n(B, m), n(m, d), n(m)),
        "mlp.scores": (n(B), n(B, m), n(m)),
        "mlp.slopes": (n(m), n(B), n(B, m), n(m)),
        "loss.value": (1, 0.3, -1.0),
        "loss.slope": (1, 0.3, -1.0),
        "loss.mean": (1, n(B), x.labels),
        "loss.has_gradient": (0.3, 0.0),
        "products.add_product": (n(m, d), n(m, l), n(l, d)),
        "products.add_rows": (n(d), n(l), n(l, d)),
        "products.row_products": (n(l), n(l, d), n(d)),
        "products.transpose": (n(d, m), n(m, d)),
        "products.finite": (n(m),),
        "products.cut": (2, m, 3, 8),
        "products.all_finite": (n(m, d), n(l, d), n(d, d), n(m, l), n(m)),
        "products.add_product_rows": (0, 2, n(m, d), n(m, l), n(l, d), 3),
        "products.add_packed_parts": (0, 2, n(m, d), n(m, l), n(l, d), 3),
        "products.add_packed_product": (n(m, d), n(m, l), n(d, l).T),
        "products.add_panel": (n(m, d), n(m, l), n(l, d + 2)),
        "products.pack": (n(3, l + 1, vectors.BYTES // 4), n(l, vectors.BYTES // 4 + 3)),
        "products.copy_rows": (n(m, d), n(m, d)),
        "products.map_few_rows": (0, 2, n(B, m), n(B, d), n(m, d), 3),
        "products.map_few_rows_back": (n(B, d), n(B, m), n(m, d)),
        "dense.forward_chunks": (0, chunks, *outputs, x.tokens, QK, OV_T, p.a, chunks, block, 2),
        "dense.probe": (n(B, d), n(B, d), x.tokens, QK),
        "dense.attend": (*outputs[1:3], x.tokens, n(B, d)),
        "dense.step_chunks": (0, chunks, n(chunks), *sums, x.tokens, x.labels, l, *merged, 2, block, 2),
        "dense.take_seat": (0, state, state, work, grads, x.tokens, x.labels, l, tuple(p), 2, (chunks, block, 2)),
        "dense.put_product": (n(m, d), n(m, l), n(l, d)),
        "partials.add_partials": (n(3, m, d),),
        "partials.add_losses": (n(3), n(m), n(3, m), B),
        "partials.part_of": (n(40), 3, 5, 6),
        "products.map_block": (n(B, m), n(B, d), n(m, d)),
        "products.map_block_back": (n(B, d), n(B, m), n(m, d)),
        "unmerged.forward_chunks": (0, chunks, *outputs, x.tokens, tuple(p), chunks),
        "unmerged.block_forward": (*outputs, *rows[:2], n(B, 4), x.tokens, tuple(p)),
        "unmerged.step_chunk": (1, n(chunks), active, sums[2], rows, x.tokens, x.labels, l, tuple(p), 2),
        "unmerged.take_seat": (
            0, state, state, np.zeros(unmerged.room(chunks, B, d, 3, 4, m)), active, grads, x.tokens, x.labels, l, tuple(p), 2
        ),
        "unmerged.move_row": (n(m, d), 4, 2),
        "unmerged.put_part": (n(m, d), n(B, m), n(B, d), B, active, 1),
        "unmerged.losses_of": (KIND["logistic"], n(B), x.labels),
        "unmerged.attend": (0, chunks, *outputs[1:3], x.tokens, n(B, d), chunks),
        "unmerged.attend_backward": (0, chunks, n(B, d), *outputs[1:3], n(B, d), x.tokens, np.arange(B), chunks),
        "multihot.add_tokens": (n(B, l + 1, d), indptr, indices, n(K, d), n(K, d)),
        "multihot.forward_chunks": (
            0, chunks, n(B), n(B, l), n(B, K), n(B, m), indptr, indices, G, n(K, m), p.a, chunks, block
        ),
        "multihot.step_chunks": (
            0, chunks, n(chunks), n(chunks, K, K), n(chunks, m, K), n(chunks, m), *codes[2:], x.labels, l, G, H,
            np.ascontiguousarray(H.T), p.a, 2, block,
        ),
        "multihot.attend": (n(B, l), n(B, K), n(K), indptr, indices, 0, G),
        "multihot.attend_backward": (n(K, K), n(K), n(l), *back),
    }[name]  # fmt: skip


def writable(value):
    """The same with arrays of its own."""
    if isinstance(value, np.ndarray):
        return np.array(value)
    return tuple(map(writable, value)) if isinstance(value, tuple) else value


def numbers_in(value):
    """The arrays and numbers in tuples in tuples."""
    if isinstance(value, tuple):
        return [leaf for item in value for leaf in numbers_in(item)]
    return [] if value is None else [value]


@pytest.mark.compiled
@pytest.mark.parametrize("name", KERNELS)
def test_compiled_code_is_its_source(name):
    arguments = writable(arguments_of(name, np.random.default_rng(4)))  # as elsewhere: nothing is compiled anew
    copies = writable(arguments)
    got, want = KERNELS[name](*arguments), compile.source(KERNELS[name])(*copies)
    pairs = list(zip(numbers_in((arguments, got)), numbers_in((copies, want)), strict=True))
    for given_, expected in pairs:
        np.testing.assert_allclose(given_, expected, rtol=1e-12, atol=1e-13)  # sums of dozens in another order
    assert got is not None or any(np.ndim(array) for array, _ in pairs)


@pytest.mark.compiled
def test_source_runs_no_compiled_code():
    """`source` reaches through every call: a kernel called by a called kernel is plain Python, too."""
    plain = compile.source(dense.step_chunks)
    assert not hasattr(plain, "py_func")
    attend = plain.__globals__["attend"]
    assert not hasattr(attend, "py_func")
    softmax = attend.__globals__["attention"].forward.__globals__["softmax"]
    assert not hasattr(softmax, "py_func") and softmax.__code__ is attention.softmax.py_func.__code__
    assert plain.__globals__["losses"].HINGE == loss_kernels.HINGE  # what is no kernel passes unchanged
    assert hasattr(dense.attend, "py_func")  # and the module itself is as it was


@pytest.mark.parametrize("query_attends", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
@each_form
def test_extended_precision_through_the_source(form, loss, query_attends):
    """longdouble through the plain source agrees with the compiled float64 kernel to float64's rounding, and with
    50-digit arithmetic on the definition to its own. It takes a longdouble that is longer."""
    p, x = problem(Sizes(B=5, l=4, d=3, m_a=2, m_b=4, m=6), seed=2, query_attends=query_attends)
    value, grads = a_step(loss, p, x, form)
    wide = Params(*(array.astype(np.longdouble) for array in p))
    wide_x = type(x)(x.tokens.astype(np.longdouble), x.labels, query_attends)
    wide_value, wide_grads = a_step(loss, wide, wide_x, form, among=SOURCES)
    assert all(grad.dtype == np.longdouble for grad in wide_grads)
    assert abs(value - wide_value) < 1e-15 * 4
    for given_, expected in zip(grads, wide_grads, strict=True):
        assert_close(given_, expected, 4e-15)  # numbers of order 1, some dozen roundings of 1.1e-16 each
    if np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("numpy.longdouble is no longer than float64 here")
    with mpmath.workdps(50):
        want_value, *want = naive.batch(p, x.tokens, x.labels, loss, query_attends, kind=lambda v: mpmath.mpf(float(v)))
        tol = bounds(wide, wide_x, factor=1)
        assert abs(exactly(wide_value) - want_value) < 2e-18
        for name, given_, expected, atol in zip(Params._fields, wide_grads, want, tol.grads, strict=True):
            error = max(abs(exactly(g) - w) for g, w in zip(given_.ravel(), flat(expected), strict=True))
            assert error < min(5e-18, atol), f"d{name}: {error}"


def exactly(x):
    """A longdouble as a 50-digit number: the sum of the two doubles it splits into."""
    high = float(x)
    return mpmath.mpf(high) + mpmath.mpf(float(x - np.longdouble(high)))


def flat(nested):
    return [x for row in nested for x in (row if isinstance(row, list) else [row])]


@each_form
@given(size=sizes, loss=losses, query_attends=st.booleans(), seed=seeds)
def test_complex_step_through_the_compiled_step(form, size, loss, query_attends, seed):
    """Im L(W + i h) / h is the derivative without differences: no step is too small. The kernel's complex
    specialisation differentiates its own forward pass; the handwritten backward pass must say the same."""
    size = size._replace(B=min(size.B, 3), l=min(size.l, 5), d=min(size.d, 4), m=min(size.m, 5))
    p, x = problem(size, seed, query_attends=query_attends)
    assume(clear_of_kinks(a_forward_named(p, x), x.labels, loss, 1e-12))
    _, grads = a_step(loss, p, x, form)
    tokens, labels = x.tokens.astype(complex), x.labels.astype(complex)
    n_keys = x.length + query_attends
    h, largest = 1e-100, bounds(p, x, factor=4).grads
    for name, grad, atol in zip(Params._fields, grads, largest, strict=True):
        witness = np.empty_like(grad)
        for index in np.ndindex(grad.shape):
            q = Params(*(array.astype(complex) for array in p))
            getattr(q, name)[index] += h * 1j
            witness[index] = STEPS[form].step(tokens, labels, n_keys, *q, KIND[loss])[0].imag / h
        assert_close(grad, witness, max(1e-13 * np.abs(witness).max(), atol), f"d{name}")


@each_form
def test_real_and_complex_kernels_agree(form):
    """The complex specialisation, on real numbers and several chunks, gives what the float64 one gives."""
    p, x = problem(Sizes(B=40 if form == "multihot" else 257, l=6, d=5, m_a=3, m_b=4, m=9), seed=12)
    value, grads = a_step("logistic", p, x, form)
    q, y = Params(*(array.astype(complex) for array in p)), type(x)(x.tokens.astype(complex), x.labels)
    complex_value, complex_grads = a_step("logistic", q, y, form)
    assert complex_value.imag == 0
    assert_close(complex_value.real, value, bounds(p, x).score)
    assert_grads_close([g.real for g in complex_grads], grads, bounds(p, x).grads)


@each_form
def test_gradient_of_no_parameter_is_forgotten(form):
    """The property tests compare with zero where zero is right; here nothing is."""
    p, x = problem(Sizes(), seed=1)
    for loss in LOSSES:
        for name, grad in zip(Params._fields, a_step(loss, p, x, form)[1], strict=True):
            assert np.abs(grad).max() > 1e-3, (loss, name)
    assert params(Sizes()).W_Q.shape == (3, 5)
