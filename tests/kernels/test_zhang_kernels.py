"""The kernels of linear attention against their naive twins, their sources, extended precision and the complex step."""

from unittest import mock

import naive
import naive_zhang
import numpy as np
import pytest
from child import python
from draws import assert_close, seeds
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nlicl.kernels import compile
from nlicl.kernels.layers.loss import LOGISTIC, SQUARED
from nlicl.kernels.steps import linear_attention

FEW = st.integers(1, 5)
DTYPES = [np.float32, np.float64, np.complex128]
kinds = st.sampled_from([SQUARED, LOGISTIC])


def numbers(rng, *shape, dtype=np.float64):
    x = rng.normal(size=shape)
    return (x + 0.1j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def drawn(B, N, D, H, R, dtype=np.float64, seed=0, kind=SQUARED):
    """tokens, labels, v, W, K, Q, such that scores are of order 1."""
    rng = np.random.default_rng(seed)
    E = D + 1
    tokens = numbers(rng, B, N + 1, E, dtype=dtype)
    tokens[:, -1, -1] = 0
    labels = rng.choice([-1.0, 1.0], B).astype(dtype) if kind == LOGISTIC else numbers(rng, B, dtype=dtype)
    v, W = numbers(rng, H, E, dtype=dtype), numbers(rng, H, E, E, dtype=dtype) / dtype(E)
    K, Q = (numbers(rng, H, R, E, dtype=dtype) / dtype(np.sqrt(E)) for _ in range(2))
    return tokens, labels, v, W, K, Q


def bound(dtype, tokens, v, W, labels, factor=64):
    """What rounding may do: eps, times the sizes of what is multiplied and added up."""
    p = np.sqrt((np.abs(tokens) ** 2).sum(axis=2).max())
    terms = (
        tokens.shape[1] * len(v) * (1 + np.abs(v).max() * np.sqrt(v.shape[1])) * (1 + np.linalg.norm(W)) * (1 + p) ** 3
    )
    return factor * float(np.finfo(dtype).eps) * terms * (1 + terms / len(v) + np.abs(labels).max())


def both_ways(softmax):
    """The ways that a step may go, as what stands in for `by_gram`."""
    return [False] if softmax else [False, True]


def patched(gram):
    return mock.patch.object(linear_attention, "by_gram", lambda *sizes: gram)


# ---------------------------------------------------------------- steps


@settings(max_examples=20)
@given(FEW, FEW, FEW, FEW, st.sampled_from(DTYPES), st.booleans(), kinds, seeds)
def test_the_step_is_the_definition(B, N, D, H, dtype, softmax, kind, seed):
    tokens, labels, v, W, _, _ = drawn(B, N, D, H, 1, dtype, seed, kind)
    atol = bound(dtype, tokens, v, W, labels)
    plain = [naive.numbers(array) for array in (v, W, tokens, labels)]
    yhat, weights = linear_attention.forward(tokens, 0.7, softmax, v, W)
    assume(kind != LOGISTIC or abs(yhat.imag).max() < 3)  # a logarithm of complex numbers has other branches
    want = [naive_zhang.forward(*plain[:2], prompt, 0.7, softmax) for prompt in plain[2]]
    assert yhat.dtype == weights.dtype == dtype
    assert_close(yhat, [y for y, _ in want], atol)
    assert_close(weights, [a for _, a in want], atol)
    want = naive_zhang.batch(*plain, 0.7, softmax, kind == LOGISTIC)
    for gram in both_ways(softmax):
        with patched(gram):
            got = linear_attention.step(tokens, labels, 0.7, softmax, v, W, kind)
        for one, other in zip(got, want, strict=True):
            assert np.asarray(one).dtype == dtype
            assert_close(one, other, atol)
        assert not got[2][:, :, -1].any()  # exactly: the query's label is 0


@settings(max_examples=10)
@given(FEW, FEW, FEW, FEW, FEW, st.booleans(), seeds)
def test_separate_keys_and_queries_are_the_chain_rule(B, N, D, H, R, softmax, seed):
    """dK = Q dW^T and dQ = K dW, and W = K^T Q gives what merged ones give."""
    tokens, labels, v, _, K, Q = drawn(B, N, D, H, R, seed=seed)
    W = np.array(naive_zhang.merged(naive.numbers(K), naive.numbers(Q)))
    loss, dv, dW = linear_attention.step(tokens, labels, 1.0, softmax, v, W, SQUARED)
    atol = bound(np.float64, tokens, v, W, labels)
    got = linear_attention.separate_step(tokens, labels, 1.0, softmax, v, K, Q, SQUARED)
    want = loss, dv, [Q_h @ d.T for Q_h, d in zip(Q, dW, strict=True)], [K_h @ d for K_h, d in zip(K, dW, strict=True)]
    for one, other in zip(got, want, strict=True):
        assert_close(one, other, atol)


@settings(max_examples=15)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 5), st.booleans(), seeds)
def test_chunks_and_blocks_change_nothing(B, chunks, block, softmax, seed):
    tokens, labels, v, W, _, _ = drawn(B, 5, 3, 2, 1, seed=seed)
    for gram in both_ways(softmax):
        found = []
        for plan in ((1, B), (chunks, block)):
            with patched(gram), mock.patch.object(linear_attention, "plan", lambda *sizes, plan=plan: plan):
                step = linear_attention.step(tokens, labels, 1.0, softmax, v, W, SQUARED)
                found.append((*linear_attention.forward(tokens, 1.0, softmax, v, W), *step))
        for one, other in zip(*found, strict=True):
            assert_close(one, other, bound(np.float64, tokens, v, W, labels))


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(0, 10**5), st.integers(1, 10**4))
def test_plan_gives_every_chunk_something_to_do(B, prompt, partial, size):
    chunks, block = linear_attention.plan(B, prompt, partial, size)
    assert isinstance(chunks, int) and isinstance(block, int) and 1 <= chunks <= B and 1 <= block <= -(-B // chunks)


def test_few_coordinates_go_by_the_gram_matrix():
    """At the paper's sizes; softmax and wide tokens never do."""
    assert linear_attention.by_gram(32, 5, 8, False) and linear_attention.by_gram(32, 5, 1, False)
    assert linear_attention.by_gram(32, 9, 9, False)
    assert not linear_attention.by_gram(32, 5, 8, True) and not linear_attention.by_gram(41, 101, 1, False)


@pytest.mark.parametrize("gram", [False, True])
@pytest.mark.parametrize("where", ["tokens", "query", "labels", "v", "W"])
def test_nan_reaches_the_loss(where, gram):
    tokens, labels, v, W, _, _ = drawn(5, 4, 3, 2, 1)
    at = {
        "tokens": (tokens, (2, 1, 1)),
        "query": (tokens, (2, -1, 1)),
        "labels": (labels, 2),
        "v": (v, (1, 2)),
        "W": (W, (1, 0, 1)),
    }
    array, index = at[where]
    array[index] = np.nan
    with patched(gram):
        value, dv, dW = linear_attention.step(tokens, labels, 1.0, False, v, W, SQUARED)
    assert np.isnan(value) and np.isnan(dv).any() and np.isnan(dW).any()


def test_scores_of_any_size_under_softmax():
    """All the weight lies on the largest score."""
    tokens, _, v, W, _, _ = drawn(3, 4, 3, 2, 1)
    yhat, weights = linear_attention.forward(tokens, 1.0, True, v, 1e200 * W)
    assert np.isfinite(yhat).all() and (np.sort(weights, axis=2)[..., -1] == 1).all()


# ---------------------------------------------------------------- other witnesses


def arguments_of(name):
    """Arguments of a kernel: outputs full of garbage where it overwrites them."""
    rng = np.random.default_rng(4)
    n = lambda *shape: rng.normal(size=shape)  # noqa: E731
    tokens, labels, v, W, _, _ = drawn(11, 6, 3, 2, 1, seed=1)
    W_T, m = linear_attention.probing(W), linear_attention.tensor(v, W)
    s, two = np.float64(0.7), np.float64(2)
    return {
        "forward_chunks": (0, 2, n(11), n(11, 2, 7), tokens, s, 1, v, W_T, 2, 3),
        "token_chunks": (0, 2, n(2), n(2, 2, 4), n(2, 8, 3), tokens, labels, s, 1, v, W_T, SQUARED, two, 3),
        "gram_chunks": (0, 2, n(2), n(2, 3, 10), tokens, labels, s, m, SQUARED, two, 3),
        "take_queries": (n(11, 3), tokens),
        "probe": (n(11, 8), n(11, 3), tokens, W_T),
        "attend": (n(2, 7), n(2, 7), n(4, 7), tokens[0], n(2, 4), v, 1),
    }[name]


KERNELS = {
    name: value
    for name, value in vars(linear_attention).items()
    if hasattr(value, "py_func") and value.py_func.__module__ == linear_attention.__name__
}


@pytest.mark.compiled
@pytest.mark.parametrize("name", KERNELS)
def test_compiled_code_is_its_source(name):
    arguments = arguments_of(name)
    copies = [np.array(x) if isinstance(x, np.ndarray) else x for x in arguments]
    got, want = KERNELS[name](*arguments), compile.source(KERNELS[name])(*copies)
    if got is not None:
        assert got == pytest.approx(want, rel=1e-12)
    for given_, expected in zip(arguments, copies, strict=True):
        np.testing.assert_allclose(given_, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("gram", [False, True])
def test_extended_precision_through_the_source(softmax, gram):
    tokens, labels, v, _, K, Q = drawn(4, 5, 3, 2, 2, seed=2)
    wide = [array.astype(np.longdouble) for array in (tokens, labels, v, K, Q)]
    with patched(gram and not softmax):
        step = compile.source(linear_attention.separate_step)  # while the way is chosen: it copies what it finds
        got = linear_attention.separate_step(tokens, labels, 0.7, softmax, v, K, Q, SQUARED)
        want = step(*wide[:2], 0.7, softmax, *wide[2:], SQUARED)
    for one, other in zip(got, want, strict=True):
        assert np.asarray(other).dtype == np.longdouble
        assert_close(one, other, 1e-13)


THREADS = """
import hashlib
import numpy as np
from nlicl.kernels.layers.loss import SQUARED
from nlicl.kernels.steps import linear_attention
rng = np.random.default_rng(0)
digest = hashlib.sha256()
for dtype in (np.float32, np.float64):
    tokens = rng.normal(size=(9000, 16, 4)).astype(dtype)
    tokens[:, -1, -1] = 0
    labels, v, W = (rng.normal(size=shape).astype(dtype) for shape in (9000, (2, 4), (2, 4, 4)))
    found = [linear_attention.forward(tokens, 1.0, True, v, W)]
    found += [linear_attention.step(tokens, labels, 1.0, softmax, v, W, SQUARED) for softmax in (False, True)]
    for arrays in found:
        for array in arrays:
            digest.update(np.asarray(array).tobytes())
assert linear_attention.by_gram(16, 4, 2, False) and linear_attention.plan(9000, 16 * 16 + 60, 30, 64)[0] > 2
print(digest.hexdigest())
"""


@pytest.mark.slow
@pytest.mark.compiled
def test_threads_give_the_same_bits_of_linear_attention():
    one, two = (python(THREADS, NUMBA_NUM_THREADS=str(n)) for n in (1, 3))
    assert one == two


def test_costs_are_counted_by_hand():
    """At the paper's sizes, and where the way by tokens is taken."""
    costs = linear_attention.costs(5000, 32, 5, 8, False, 8)
    prompt = 32 * 25 + 2 * 4 * 15 + 15 + 4 + 2  # G; M and dm; their product; e x_query; loss
    assert costs.multiply_adds == 5000 * prompt + 3 * 8 * 25 * 4 and costs.exponentials == 0
    assert costs.bytes == 8 * (5000 * (32 * 5 + 1) + 2 * 8 * (5 + 20))
    soft, plain = (linear_attention.costs(10, 6, 40, 2, softmax, 8) for softmax in (True, False))
    assert soft.exponentials == 10 * 2 * 6 and soft.bytes == plain.bytes
    assert plain.multiply_adds == 10 * (2 * 2 * 40 * 39 + 4 * 2 * 6 * 40 + 3 * 2 * 6 + 2)
    assert soft.multiply_adds == plain.multiply_adds + 10 * 2 * 2 * 6
