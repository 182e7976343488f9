"""The kernels of Huang et al. 2023 against their naive twins, their sources, extended precision and the complex step."""

from unittest import mock

import naive
import naive_huang
import numpy as np
import pytest
from child import python
from draws import SMALL, assert_close, seeds
from hypothesis import example, given
from hypothesis import strategies as st

from nlicl.kernels import compile
from nlicl.kernels.steps import dense, regression

DTYPES = [np.float32, np.float64, np.complex128]
dtypes = st.sampled_from(DTYPES)


def numbers(rng, *shape, dtype=np.float64):
    x = rng.normal(size=shape)
    return (x + 0.1j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def tokens_of(B, N, d, dtype, seed):
    """Tokens, labels and Q such that scores are of order 1."""
    rng = np.random.default_rng(seed)
    tokens = numbers(rng, B, N + 1, d + 1, dtype=dtype)
    tokens[:, -1, -1] = 0
    return tokens, numbers(rng, B, dtype=dtype), numbers(rng, d, d, dtype=dtype) / dtype(d)


def codes_of(B, N, K, d, dtype, seed, scale=1.0):
    """counts, omega, query, V, Q in `dtype`, and the features of every token."""
    rng = np.random.default_rng(seed)
    features = rng.integers(0, K, (B, N + 1)).astype(np.int32)
    counts = np.array([np.bincount(row[:-1], minlength=K) for row in features])
    omega = numbers(rng, B, K, dtype=dtype)
    V = rng.normal(size=(d, K)).astype(dtype) / dtype(np.sqrt(d))
    Q = numbers(rng, d, d, dtype=dtype) * dtype(scale)
    query = np.ascontiguousarray(features[:, -1])
    return (counts.astype(dtype), omega, query), V, Q, features


def bound(dtype, tokens, labels, Q, factor=64):
    """What rounding may do: eps, times the growth of the scores, times the size of what is added up."""
    p = np.sqrt((np.abs(tokens) ** 2).sum(axis=2).max())
    growth = 1 + np.linalg.norm(Q) * p**2
    residual = p + np.abs(labels).max()
    return factor * float(np.finfo(dtype).eps) * growth * (1 + residual) * residual * (1 + p) ** 3


# ---------------------------------------------------------------- tokens


@given(SMALL, SMALL, SMALL, dtypes, st.integers(0, 1), seeds)
def test_the_step_on_tokens_is_the_definition(B, N, d, dtype, attends, seed):
    tokens, labels, Q = tokens_of(B, N, d, dtype, seed)
    atol = bound(dtype, tokens, labels, Q)
    yhat, attn = regression.forward(tokens, N + attends, Q)
    want = [naive_huang.forward(naive.numbers(Q), naive.numbers(prompt), attends) for prompt in tokens]
    assert yhat.dtype == attn.dtype == dtype
    assert_close(yhat, [y for y, _ in want], atol)
    assert_close(attn, [a for _, a in want], atol)
    value, dQ = regression.step(tokens, labels, N + attends, Q)
    want_value, want_dQ = naive_huang.batch(*map(naive.numbers, (Q, tokens, labels)), attends)
    assert np.asarray(value).dtype == dQ.dtype == dtype and dQ.flags.c_contiguous
    assert_close(value, want_value, atol)
    assert_close(dQ, want_dQ, atol)


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), seeds)
def test_chunks_and_blocks_change_nothing(B, chunks, block, near, seed):
    tokens, labels, Q = tokens_of(B, 5, 4, np.float64, seed)
    with mock.patch.object(dense, "plan", lambda *sizes: (1, B, B)):
        want = *regression.forward(tokens, 5, Q), *regression.step(tokens, labels, 5, Q)
    with mock.patch.object(dense, "plan", lambda *sizes: (chunks, block, min(near, block))):
        got = *regression.forward(tokens, 5, Q), *regression.step(tokens, labels, 5, Q)
    for one, other in zip(got, want, strict=True):
        assert_close(one, other, bound(np.float64, tokens, labels, Q))


def test_the_query_s_label_counts_where_it_is_a_key():
    """Masked and unmasked differ, and the unmasked model is the masked one with the query appended as a context."""
    tokens, labels, Q = tokens_of(5, 4, 3, np.float64, 0)
    masked, unmasked = regression.step(tokens, labels, 4, Q), regression.step(tokens, labels, 5, Q)
    assert abs(masked[1] - unmasked[1]).max() > 1e-3
    longer = np.concatenate([tokens, tokens[:, -1:]], axis=1)
    again = regression.step(longer, labels, 5, Q)
    assert_close(again[0], unmasked[0], 1e-15)
    assert_close(again[1], unmasked[1], 1e-15)


# ---------------------------------------------------------------- codes


@example(6, 1, 4, 5, np.float64, 0, 0)  # one context: attention is 1 on it, and masked the gradient is 0
@given(SMALL, SMALL, SMALL, SMALL, dtypes, st.integers(0, 1), seeds)
def test_the_step_on_codes_is_the_definition(B, N, K, d, dtype, attends, seed):
    codes, V, Q, features = codes_of(B, N, K, d, dtype, seed, scale=1 / d)
    counts, omega, query = codes
    prompts = naive_huang.tokens(*map(naive.numbers, (V, features, omega)))
    labels = omega[np.arange(B), query]
    atol = bound(dtype, np.array(prompts), labels, Q)
    yhat, attn, attn_query = regression.coded_forward(*codes, attends, V, Q)
    want = [naive_huang.forward(naive.numbers(Q), prompt, attends) for prompt in prompts]
    assert yhat.dtype == attn.dtype == attn_query.dtype == dtype
    assert_close(yhat, [y for y, _ in want], atol)
    for n in range(B):
        assert_close(attn[n, features[n, :-1]], want[n][1][:N], atol)
        assert (attn[n][counts[n] == 0] == 0).all()
        assert_close(attn_query[n], want[n][1][N] if attends else 0, atol)
    value, dQ = regression.coded_step(*codes, attends, V, Q)
    want_value, want_dQ = naive_huang.batch(naive.numbers(Q), prompts, naive.numbers(labels), attends)
    assert np.asarray(value).dtype == dQ.dtype == dtype
    assert_close(value, want_value, atol)
    assert_close(dQ, want_dQ, atol)


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 1), seeds)
def test_chunks_of_codes_change_nothing(B, chunks, attends, seed):
    codes, V, Q, _ = codes_of(B, 6, 4, 5, np.float64, seed)
    with mock.patch.object(regression, "coded_plan", lambda *sizes: 1):
        want = *regression.coded_forward(*codes, attends, V, Q), *regression.coded_step(*codes, attends, V, Q)
    with mock.patch.object(regression, "coded_plan", lambda *sizes: chunks):
        got = *regression.coded_forward(*codes, attends, V, Q), *regression.coded_step(*codes, attends, V, Q)
    for one, other in zip(got, want, strict=True):
        assert_close(one, other, 1e-13)


@given(st.integers(1, 10**6), st.integers(1, 10**4), st.sampled_from([4, 8, 16]))
def test_coded_plan_gives_every_chunk_something_to_do(B, K, itemsize):
    chunks = regression.coded_plan(B, K, itemsize)
    assert isinstance(chunks, int) and 1 <= chunks <= B


@given(seeds, st.integers(0, 1))
def test_length_costs_nothing_and_changes_what_it_should(seed, attends):
    """Counts times seven are the same prompts' contexts, seven times over: masked, N is no factor."""
    codes, V, Q, _ = codes_of(6, 5, 4, 5, np.float64, seed)
    counts, omega, query = codes
    want, got = (regression.coded_step(c * counts, omega, query, attends, V, Q) for c in (1.0, 7.0))
    if attends:
        assert abs(want[0] - got[0]) > 1e-9
    else:
        assert_close(got[0], want[0], 1e-14)
        assert_close(got[1], want[1], 1e-13)


# ---------------------------------------------------------------- extremes


@pytest.mark.parametrize("scale", [1e3, 1e150, 1e300])
def test_scores_of_any_size(scale):
    """All the attention on the largest score among features that are there; that of an absent one may be larger still."""
    counts = np.array([[3.0, 2.0, 0.0]])
    omega = np.array([[1.0, 2.0, 5.0]])
    Q = scale * np.array([[0, 0, 1.0], [0, 0, 2.0], [0, 0, 9.0]])
    query = np.array([2], np.int32)
    yhat, attn, attn_query = regression.coded_forward(counts, omega, query, 0, np.eye(3), Q)
    np.testing.assert_array_equal(attn, [[0, 0.5, 0]])
    assert yhat == 2 and attn_query == 0
    value, dQ = regression.coded_step(counts, omega, query, 0, np.eye(3), Q)
    assert value == 4.5 and not dQ.any()
    tokens = np.zeros((1, 6, 4))
    tokens[0, range(6), [0, 0, 0, 1, 1, 2]] = 1
    tokens[0, :5, 3] = [1, 1, 1, 2, 2]
    value, dQ = regression.step(tokens, np.array([5.0]), 5, Q)
    assert value == 4.5 and not dQ.any()


def test_a_small_residual_keeps_its_digits():
    """yhat - omega_k is summed from the other features' attention: 1e-30 beside labels of order 1."""
    counts, omega, query = np.array([[4.0, 4.0]]), np.array([[1.0, 2.0]]), np.array([0], np.int32)
    S = np.diag([np.log(1e30), 0.0])
    value, dQ = regression.coded_step(counts, omega, query, 0, np.eye(2), S)
    assert value == pytest.approx(0.5e-60, rel=1e-12)
    assert dQ[1, 0] == pytest.approx(1e-60, rel=1e-12) and dQ[0, 0] == pytest.approx(-1e-60, rel=1e-12)


@pytest.mark.parametrize("where", ["tokens", "query", "labels", "Q"])
def test_nan_reaches_the_loss_of_tokens(where):
    tokens, labels, Q = tokens_of(5, 4, 3, np.float64, 0)
    if where == "labels":
        labels[2] = np.nan
    elif where == "Q":
        Q[1, 2] = np.nan
    else:
        tokens[2, -1 if where == "query" else 1, 1] = np.nan
    value, dQ = regression.step(tokens, labels, 4, Q)
    assert np.isnan(value) and np.isnan(dQ).any()


@pytest.mark.parametrize("where", ["counts", "omega", "V", "Q"])
def test_nan_reaches_the_loss_of_codes(where):
    (counts, omega, query), V, Q, _ = codes_of(5, 40, 3, 4, np.float64, 0)
    {"counts": counts, "omega": omega, "V": V, "Q": Q}[where][1, 1] = np.nan
    value, dQ = regression.coded_step(counts, omega, query, 0, V, Q)
    assert np.isnan(value) and np.isnan(dQ).any()


# ---------------------------------------------------------------- other witnesses


def arguments_of(name):
    """Arguments of a kernel: outputs full of garbage where it overwrites them."""
    rng = np.random.default_rng(4)
    tokens, labels, Q = tokens_of(11, 6, 4, np.float64, 1)
    (counts, omega, query), V, Q_coded, _ = codes_of(11, 6, 5, 4, np.float64, 2)
    S_T = regression.merge(V, Q_coded)
    n = lambda *shape: rng.normal(size=shape)  # noqa: E731
    coded = (counts, omega, query, 1, S_T)
    return {
        "forward_chunks": (0, 2, n(11), n(11, 6), tokens, regression.padded_transpose(Q), 2, 3),
        "step_chunks": (0, 2, n(2), n(2, 5, 5), tokens, labels, 6, regression.padded_transpose(Q), 3, 2),
        "coded_forward_chunks": (0, 2, n(11), n(11, 5), n(11), *coded, 2),
        "coded_step_chunks": (0, 2, n(2), n(2, 5, 5), *coded),
        "attend_features": (n(5), n(6), n(5), np.array([2.0, 0, 1, 3, 0]), 1, 1),
        "residual": (n(5), 0.5, n(5), n(5), 2),
    }[name]


KERNELS = {
    name: value
    for name, value in vars(regression).items()
    if hasattr(value, "py_func") and value.py_func.__module__ == regression.__name__
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
        np.testing.assert_allclose(given_, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("attends", [0, 1])
def test_extended_precision_through_the_source(attends):
    tokens, labels, Q = tokens_of(5, 4, 3, np.float64, 2)
    codes, V, Q_coded, _ = codes_of(5, 6, 4, 3, np.float64, 3)
    wide = lambda array: array.astype(np.longdouble) if array.dtype.kind == "f" else array  # noqa: E731
    for function, arguments in (
        (regression.step, (tokens, labels, 4 + attends, Q)),
        (regression.coded_step, (*codes, attends, V, Q_coded)),
    ):
        value, dQ = function(*arguments)
        longer = [wide(x) if isinstance(x, np.ndarray) else x for x in arguments]
        wide_value, wide_dQ = compile.source(function)(*longer)
        assert wide_dQ.dtype == np.longdouble
        assert abs(value - wide_value) < 4e-15
        assert_close(dQ, wide_dQ, 1e-14)


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(1, 5), st.integers(0, 1), seeds)
def test_complex_step_through_the_compiled_step(B, N, d, K, attends, seed):
    tokens, labels, Q = tokens_of(B, N, d, np.float64, seed)
    codes, V, Q_coded, _ = codes_of(B, N, K, d, np.float64, seed, scale=1 / d)
    c = lambda array: array.astype(complex) if array.dtype.kind == "f" else array  # noqa: E731
    loss = {
        "tokens": lambda Q: regression.step(c(tokens), c(labels), N + attends, Q)[0],
        "codes": lambda Q: regression.coded_step(*map(c, codes), attends, c(V), Q)[0],
    }
    gradient = {
        "tokens": (Q, regression.step(tokens, labels, N + attends, Q)[1]),
        "codes": (Q_coded, regression.coded_step(*codes, attends, V, Q_coded)[1]),
    }
    for name, (at, dQ) in gradient.items():
        found = np.empty((d, d))
        for index in np.ndindex(d, d):
            moved = at.astype(complex)
            moved[index] += 1e-40j
            found[index] = loss[name](moved).imag / 1e-40
        assert_close(dQ, found, 1e-12 * (1 + abs(found).max()), name)


THREADS = """
import hashlib
import numpy as np
from nlicl.kernels.steps import regression
rng = np.random.default_rng(0)
digest = hashlib.sha256()
for dtype in (np.float32, np.float64):
    tokens = rng.normal(size=(3000, 31, 7)).astype(dtype)
    tokens[:, -1, -1] = 0
    labels, Q = rng.normal(size=3000).astype(dtype), rng.normal(size=(6, 6)).astype(dtype)
    K = 20
    counts, omega = rng.multinomial(50, np.full(K, 1 / K), 40000).astype(dtype), rng.normal(size=(40000, K)).astype(dtype)
    query, V, S = rng.integers(0, K, 40000).astype(np.int32), np.eye(K, dtype=dtype), rng.normal(size=(K, K)).astype(dtype)
    for found in (
        regression.forward(tokens, 30, Q), regression.step(tokens, labels, 30, Q),
        regression.coded_forward(counts, omega, query, 0, V, S), regression.coded_step(counts, omega, query, 0, V, S),
    ):
        for array in found:
            digest.update(np.asarray(array).tobytes())
assert regression.coded_plan(40000, K, 8) > 2 and regression.dense.plan(tokens.shape, 0, 8)[0] > 2
print(digest.hexdigest())
"""


@pytest.mark.slow
@pytest.mark.compiled
def test_threads_give_the_same_bits():
    one, two, three = (python(THREADS, NUMBA_NUM_THREADS=str(n)) for n in (1, 2, 3))
    assert one == two == three
