"""Kernels that are cleverer than their definition: attention in one pass, products from copies, prompts without gradient."""

from unittest import mock

import numpy as np
import pytest
from draws import Sizes, assert_close, problem, seeds, sizes
from hypothesis import assume, example, given
from hypothesis import strategies as st
from steps import KIND, STEPS

from nlicl import Params
from nlicl.kernels import compile, products
from nlicl.kernels.layers import attention
from nlicl.kernels.layers import loss as losses
from nlicl.kernels.steps import dense, unmerged

FLOATS = st.sampled_from([np.float32, np.float64])


# ---------------------------------------------------------------- attention


def by_definition(keys, u, dc):
    """attn, c, ds, du in longer numbers."""
    keys, u, dc = (array.astype(np.longdouble) for array in (keys, u, dc))
    s = keys @ u
    e = np.exp(s - s.max())
    attn = e / e.sum()
    c = attn @ keys
    ds = attn * (keys @ dc - c @ dc)
    return attn, c, ds, ds @ keys


def by_kernel(keys, u, dc):
    (l, d), dtype = keys.shape, keys.dtype
    attn, c, ds, du = (np.full(n, 99, dtype) for n in (l, d, l, d))
    attention.forward(attn, c, keys, u)
    attention.backward(du, ds, attn, c, dc, keys)
    return attn, c, ds, du


@example(40, 3, np.float64, 30.0, "ascending", 0)  # the number that is subtracted changes in every tile
@example(13, 70, np.float32, 5.0, "descending", 0)
@given(
    st.integers(1, 41),
    st.integers(1, 70),
    FLOATS,
    st.sampled_from([0.01, 1.0, 5.0, 30.0]),
    st.sampled_from(["ascending", "descending", "any"]),
    seeds,
)
def test_one_pass_is_the_definition_in_whatever_order_scores_come(l, d, dtype, size, order, seed):
    rng = np.random.default_rng(seed)
    keys, u, dc = rng.normal(size=(l, d)), rng.normal(size=d), rng.normal(size=d)
    u *= size / np.linalg.norm(u)
    if order != "any":
        keys = keys[np.argsort(keys @ u)[:: 1 if order == "ascending" else -1]]
    keys, u, dc = (np.ascontiguousarray(array, dtype) for array in (keys, u, dc))
    growth = (1 + np.linalg.norm(u) * np.abs(keys).max() * d) * 16 * float(np.finfo(dtype).eps)
    largest = np.linalg.norm(keys, axis=1).max()
    scales = 1, largest, largest * np.linalg.norm(dc), largest**2 * np.linalg.norm(dc)
    for got, want, scale in zip(by_kernel(keys, u, dc), by_definition(keys, u, dc), scales, strict=True):
        assert got.dtype == dtype
        assert_close(got, want.astype(float), growth * (1 + scale))


@pytest.mark.parametrize("l", [1, 3, 8, 13, 29])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_score_that_is_not_finite_makes_all_attention_nan(l, dtype):
    """Wherever it stands, whatever scores come before: exp(-inf) = 0 would hide a number that has overflowed."""
    for at in range(l):
        for bad in (np.nan, np.inf, -np.inf):
            keys = np.arange(2.0 * l, dtype=dtype).reshape(l, 2)
            keys[at, 0] = bad
            attn, c = np.empty(l, dtype), np.empty(2, dtype)
            with np.errstate(invalid="ignore"):
                attention.forward(attn, c, keys, np.array([0.5, -0.25], dtype))
            assert np.isnan(attn).all() and np.isnan(c).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_at_the_ends_of_the_range_leave_attention_exact(dtype):
    """Up to the largest number of either sign, in one tile and over several: all the mass on the largest."""
    top = np.finfo(dtype).max
    for l in (1, 2, 8, 9, 20):
        for at in range(l):
            for low, high in ((-1.0, 1.0), (-1.0, -0.5), (0.5, 1.0), (-1.0, 0.0)):
                keys = np.full((l, 1), low, dtype)
                keys[at] = high
                attn, c = np.empty(l, dtype), np.empty(1, dtype)
                with np.errstate(over="ignore"):
                    attention.forward(attn, c, keys, np.array([top]))
                np.testing.assert_array_equal(attn, np.eye(l)[at])
                assert c[0] == high
        attention.forward(attn, c, np.full((l, 1), -1, dtype), np.array([top]))
        assert_close(attn, np.full(l, 1 / l), 2 * float(np.finfo(dtype).eps))


@given(st.integers(1, 40), FLOATS, seeds)
def test_the_softmax_of_one_token_has_no_slope(d, dtype, seed):
    rng = np.random.default_rng(seed)
    attn, _, ds, du = by_kernel(*(rng.normal(size=shape).astype(dtype) for shape in ((1, d), (d,), (d,))))
    assert attn[0] == 1 and not ds.any() and not du.any()


# ---------------------------------------------------------------- large products


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("r", "k", "n"), [(5, 300, 700), (70, 131, 33), (150, 7, 600), (33, 257, 4), (300, 130, 40)])
def test_a_packed_product_has_the_bits_of_a_small_one(r, k, n, dtype, monkeypatch):
    """Views or not, by rows or by columns, on threads."""
    monkeypatch.setattr(products, "_WORTH_PACKING", 1)
    monkeypatch.setattr(products, "_WORTH_A_THREAD", 10_000)
    monkeypatch.setattr(compile, "THREADS", 3)
    rng = np.random.default_rng(0)
    A, B, C = (rng.normal(size=shape).astype(dtype) for shape in ((r, k), (k, n), (r, n)))
    want = C.copy()
    products.add_product(want, A, B)
    for left in (A, np.ascontiguousarray(A.T).T):
        for right in (B, np.ascontiguousarray(B.T).T):
            got = C.copy()
            products.add_large_product(got, left, right)
            np.testing.assert_array_equal(got, want)


def test_a_product_with_a_transposed_view_is_one(monkeypatch):
    rng = np.random.default_rng(0)
    A, B = rng.integers(-9, 9, (5, 6)).astype(float), rng.integers(-9, 9, (7, 6)).astype(float)
    C = np.zeros((5, 7))
    products.add_large_product(C, A, B.T)
    np.testing.assert_array_equal(C, A @ B.T)


@given(st.integers(1, 6), st.integers(1, 40), st.integers(1, 40), FLOATS, st.booleans(), seeds)
def test_a_matrix_maps_rows_and_maps_them_back(b, k, m, dtype, threads, seed):
    rng = np.random.default_rng(seed)
    X, Y, W = (rng.integers(-30, 31, shape).astype(dtype) for shape in ((b, k), (b, m), (m, k)))
    forth, back = np.full((b, m), 99, dtype), np.full((b, k), 99, dtype)
    with pytest.MonkeyPatch.context() as patch:
        if threads:
            patch.setattr(products, "_WORTH_A_THREAD", 1)
            patch.setattr(compile, "THREADS", 2)
        products.map_rows(forth, X, W)
        products.map_rows_back(back, Y, W)
    np.testing.assert_array_equal(forth, X @ W.T)
    np.testing.assert_array_equal(back, Y @ W)


@given(st.integers(1, 300), st.integers(1, 99), st.integers(1, 99), st.integers(0, 99), st.integers(0, 99))
def test_the_longer_the_prompts_the_more_merging_pays(B, d, m, rows, more):
    """Merged, tokens are read once; apart, twice."""
    if not unmerged.pays(B, d, d, d, m, rows):
        assert not unmerged.pays(B, d, d, d, m, rows + more)


# ---------------------------------------------------------------- one call, or one for each product


@given(sizes, FLOATS, st.sampled_from(sorted(KIND)), st.booleans(), seeds)
def test_large_matrices_go_another_way_to_the_same_bits(size, dtype, loss, attends, seed):
    """Products that are worth threads are made one by one, others within the one kernel of a step."""
    p, x = problem(size, seed, dtype)
    found = []
    for large in (False, True):
        with mock.patch.object(dense, "is_large", lambda *sizes, large=large: large):
            found.append(dense.step(x.tokens, x.labels, size.l + attends, *p, KIND[loss]))
    for one, other in zip(*found, strict=True):
        assert one.tobytes() == other.tobytes()


def test_matrices_are_large_where_a_product_takes_two_threads(monkeypatch):
    taken = []
    monkeypatch.setattr(products, "launch", lambda function, parts, *rest: taken.append((function, parts)))
    monkeypatch.setattr(products, "add_product_rows", lambda *arguments: taken.append((None, 1)))
    for rows, k, n in ((60, 60, 60), (158, 158, 158), (159, 159, 159), (400, 60, 60), (400, 120, 120), (3, 2000, 2000)):
        taken.clear()
        products.add_large_product(np.zeros((rows, n)), np.zeros((rows, k)), np.zeros((k, n)))
        ((function, parts),) = taken
        if not products.is_large(rows, k, n):
            assert parts == 1 and function is not products.add_packed_parts
        elif rows >= products._FEW:
            assert parts > 1 or function is products.add_packed_parts


# ---------------------------------------------------------------- prompts without a gradient


@pytest.mark.parametrize("form", STEPS)
@given(st.integers(1, 12), FLOATS, seeds)
def test_inactive_prompts_add_nothing(form, B, dtype, seed):
    """The gradient of a batch is that of its active prompts alone, by their share of the batch."""
    p, x = problem(Sizes(B=B, l=4, d=5, m_a=3, m_b=4, m=6), seed, np.float64)
    forward = STEPS["dense"].forward
    F = forward(x.tokens, 4, *p)[0]
    assume(np.abs(F).min() > 1e-3)
    active = np.random.default_rng(seed).random(B) < 0.5
    z = np.where(active, -np.sign(F), np.sign(F))
    p = Params(*(array.astype(dtype) for array in p._replace(a=p.a * (2 / np.abs(F).min()))))
    tokens, labels = x.tokens.astype(dtype), z.astype(dtype)
    step = STEPS[form].step
    value, *grads = step(tokens, labels, 4, *p, KIND["hinge"])
    if not active.any():
        assert value == 0 and not any(grad.any() for grad in grads)
        return
    some, *theirs = step(tokens[active], labels[active], 4, *p, KIND["hinge"])
    share = active.mean()
    tol = 400 * float(np.finfo(dtype).eps)
    assert abs(value - share * some) <= tol * abs(value)
    for grad, want in zip(grads, theirs, strict=True):
        assert_close(grad, share * want, tol * float(np.abs(want).max() + np.abs(want).sum()))


def test_a_score_that_is_not_finite_has_a_gradient():
    for of in (losses.has_gradient, compile.source(losses.has_gradient)):
        for F in (np.inf, -np.inf, np.nan):
            with np.errstate(invalid="ignore"):
                assert of(np.float64(F), np.float64(0))
        assert of(1.0, np.nan) and of(1.0, 0.5) and not of(1.0, 0.0) and not of(1.0, -0.0)


# ---------------------------------------------------------------- the mean loss alone


@pytest.mark.parametrize("module", [dense, unmerged])
@given(sizes, FLOATS, st.sampled_from(sorted(KIND)), st.booleans(), seeds)
def test_the_mean_loss_is_that_of_the_step(module, size, dtype, loss, attends, seed):
    """Witnesses of the audit take the one; what is trained is the other."""
    p, x = problem(size, seed, dtype)
    keys, kind = size.l + attends, KIND[loss]
    alone = losses.mean(kind, module.forward(x.tokens, keys, *p)[0], x.labels)
    beside = module.step(x.tokens, x.labels, keys, *p, kind)[0]
    assert abs(alone - beside) <= 16 * np.finfo(dtype).eps * max(1, abs(beside))
