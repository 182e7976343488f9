"""The kernels of GPT-2: each layer against plain NumPy and the complex step, a step over a batch against the definition."""

import numpy as np
import pytest
from child import python
from hypothesis import given
from hypothesis import strategies as st

import nlicl
from nlicl.kernels import compile
from nlicl.kernels.layers import causal_attention, embedding, gelu, layernorm, linear, readout
from nlicl.kernels.layers import loss as losses
from nlicl.kernels.steps import gpt2
from nlicl.models.gpt2 import reference
from nlicl.models.gpt2.prompts import Params, Prompts
from nlicl.models.gpt2.steps import _operands

H = 1e-30
DTYPES = (np.float32, np.float64, np.complex128)
seeds, widths = st.integers(0, 2**20), st.integers(1, 40)


def draw(rng, *shape, dtype=np.float64):
    x = rng.standard_normal(shape)
    return (x + 0.1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def roundings(dtype, factor=500):
    return factor * float(np.finfo(dtype).eps)


def assert_near(got, want, dtype, factor=500):
    want = np.asarray(want)
    assert abs(got - want).max(initial=0) <= roundings(dtype, factor) * max(1.0, abs(want).max(initial=0))


# ---------------------------------------------------------------- layers: forward


@given(seeds, st.sampled_from(DTYPES), widths, widths, widths)
def test_forward_is_the_formula(seed, dtype, n, C, M):
    rng = np.random.default_rng(seed)
    X, W, b = draw(rng, n, C, dtype=dtype), draw(rng, M, C, dtype=dtype), draw(rng, M, dtype=dtype)
    Y = np.empty((n, M), dtype)
    linear.forward(Y, X, np.ascontiguousarray(W.T), b)
    assert_near(Y, X @ W.T + b, dtype)
    gelu.forward(Y, u := draw(rng, n, M, dtype=dtype) * dtype(3))
    if np.dtype(dtype).kind == "f" or abs(np.tanh(u)).max() < 10:  # far from the poles of tanh
        assert_near(Y, reference.gelu(u.astype(np.complex128)), dtype)
    gamma, beta, x = draw(rng, C, dtype=dtype), draw(rng, C, dtype=dtype), draw(rng, n, C, dtype=dtype)
    y, mean, r = np.empty_like(x), np.empty(n, dtype), np.empty(n, dtype)
    layernorm.forward(y, mean, r, x, gamma, beta)
    if C > 2 and np.dtype(dtype).kind == "f":  # two numbers may be all but equal
        assert_near(y, reference.layernorm(x.astype(np.longdouble), gamma, beta), dtype, 1e5 * abs(r).max())
    F = np.empty(n, dtype)
    readout.forward(F, x, gamma, b[:1].copy())
    assert_near(F, x @ gamma + b[0], dtype)


def test_gelu_at_extreme_numbers():
    u = np.array([[0.0, -0.0, 1e-300, -1e-300, 40.0, -40.0, 1e30, -1e30, np.inf, -np.inf, np.nan]])
    for form in (gelu.forward, compile.source(gelu.forward)):
        h = np.empty_like(u)
        with np.errstate(all="ignore"):
            form(h, u)
        assert h[0, :4].tolist() == [0.0, -0.0, 5e-301, -5e-301] and h[0, 4] == 40 and -1e-300 <= h[0, 5] <= 0
        assert h[0, 6] == 1e30 and h[0, 7] == 0 and h[0, 8] == np.inf and np.isnan(h[0, 9:]).all()


# ---------------------------------------------------------------- layers: backward is the complex step


def by_complex_step(f, x):
    """d f / dx for a number f(x) and an array x."""
    found = np.empty(x.shape)
    for index in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[index] += 1j * H
        found[index] = f(moved).imag / H
    return found


small = st.integers(1, 7)


@given(seeds, small, small, small)
def test_linear_backward(seed, n, C, M):
    rng = np.random.default_rng(seed)
    X, W, b, dY = draw(rng, n, C), draw(rng, M, C), draw(rng, M), draw(rng, n, M)
    dX, dW, db = np.full((n, C), np.nan), np.ones((M, C)), np.ones(M)  # dW and db are added to
    linear.backward(dX, dW, db, dY, X, W)
    assert_near(dX, by_complex_step(lambda x: (dY * (x @ W.T + b)).sum(), X), float)
    assert_near(dW - 1, by_complex_step(lambda w: (dY * (X @ w.T + b)).sum(), W), float)
    assert_near(db - 1, by_complex_step(lambda b: (dY * (X @ W.T + b)).sum(), b), float)


@given(seeds, small, st.integers(3, 9))
def test_layernorm_backward(seed, n, C):
    rng = np.random.default_rng(seed)
    X, gamma, beta, dY = draw(rng, n, C), draw(rng, C), draw(rng, C), draw(rng, n, C)
    Y, mean, r = np.empty_like(X), np.empty(n), np.empty(n)
    layernorm.forward(Y, mean, r, X, gamma, beta)
    dX, dgamma, dbeta = np.ones((n, C)), np.ones(C), np.ones(C)
    layernorm.backward(dX, dgamma, dbeta, dY, X, mean, r, gamma)

    def loss(x=X, g=gamma, b=beta):
        return (dY * reference.layernorm(x, g, b)).sum()

    size = 500 * max(1.0, abs(r).max())
    assert_near(dX - 1, by_complex_step(lambda x: loss(x=x), X), float, size)
    assert_near(dgamma - 1, by_complex_step(lambda g: loss(g=g), gamma), float, size)
    assert_near(dbeta - 1, by_complex_step(lambda b: loss(b=b), beta), float, size)


@given(seeds, small, st.integers(1, 20))
def test_gelu_backward(seed, n, M):
    rng = np.random.default_rng(seed)
    U, dH = 3 * draw(rng, n, M), draw(rng, n, M)
    want = by_complex_step(lambda u: (dH * reference.gelu(u)).sum(), U)
    gelu.backward(dH, U, dH)  # in place
    assert_near(dH, want, float)


def attention(Q, KV, rows, causal, heads):
    """o (R, C), as the definition has it."""
    (R, C), T = Q.shape, len(KV)
    D = C // heads
    q, k, v = Q.reshape(R, heads, D), KV[:, :C].reshape(T, heads, D), KV[:, C:].reshape(T, heads, D)
    S = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(D)
    seen = (np.arange(T) <= np.asarray(rows)[:, None]) | (not causal)
    A = np.where(seen, np.exp(np.where(seen, S, 0)), 0)
    A = A / A.sum(axis=-1, keepdims=True)
    return np.einsum("hij,jhd->ihd", A, v).reshape(R, C), A


@given(seeds, st.integers(1, 3), st.integers(1, 3), st.integers(1, 6), st.booleans(), st.data())
def test_attention_forward_and_backward(seed, heads, D, T, causal, data):
    rng = np.random.default_rng(seed)
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, T - 1), min_size=1))))
    C, R = heads * D, len(rows)
    Q, KV, dO = draw(rng, R, C), draw(rng, T, 2 * C), draw(rng, R, C)
    O, A = np.empty((R, C)), np.empty((heads, T, T))
    causal_attention.forward(O, A, Q, KV, rows, causal)
    want, attn = attention(Q, KV, rows, causal, heads)
    assert_near(O, want, float)
    assert_near(A[:, :R], attn, float)
    dQ, dKV = np.empty_like(Q), np.empty_like(KV)
    causal_attention.backward(dQ, dKV, dO, A, Q, KV)
    assert_near(dQ, by_complex_step(lambda q: (dO * attention(q, KV, rows, causal, heads)[0]).sum(), Q), float)
    assert_near(dKV, by_complex_step(lambda kv: (dO * attention(Q, kv, rows, causal, heads)[0]).sum(), KV), float)


@given(seeds, st.integers(1, 3), small, small, small)
def test_embedding_backward(seed, b, T, d, C):
    rng = np.random.default_rng(seed)
    P, W, bias, wpe, dX = draw(rng, b * T, d), draw(rng, C, d), draw(rng, C), draw(rng, T + 1, C), draw(rng, b * T, C)
    X = np.empty_like(dX)
    embedding.forward(X, P, np.ascontiguousarray(W.T), bias, wpe, T)
    assert_near(X, P @ W.T + bias + np.tile(wpe[:T], (b, 1)), float)
    dW, db, dwpe = np.ones_like(W), np.ones_like(bias), np.ones_like(wpe)
    embedding.backward(dW, db, dwpe, dX, P, T)
    assert_near(dW - 1, dX.T @ P, float)
    assert_near(db - 1, dX.sum(axis=0), float)
    assert_near(dwpe[:T] - 1, dX.reshape(b, T, C).sum(axis=0), float)
    assert (dwpe[T] == 1).all()  # no prompt is so long


# ---------------------------------------------------------------- a step over a batch


def params(rng, d=3, C=6, heads=2, L=2, M=7, positions=6, scale=0.5, dtype=np.float64):
    shapes = {
        "W_in": (C, d), "b_in": (C,), "wpe": (positions, C), "gamma_1": (L, C), "beta_1": (L, C),
        "W_qkv": (L, 3, heads, C // heads, C), "b_qkv": (L, 3, heads, C // heads), "W_o": (L, C, C), "b_o": (L, C),
        "gamma_2": (L, C), "beta_2": (L, C), "W_fc": (L, M, C), "b_fc": (L, M), "W_pr": (L, C, M), "b_pr": (L, C),
        "gamma_f": (C,), "beta_f": (C,), "w_out": (C,), "b_out": (1,),
    }  # fmt: skip
    return Params(**{name: (scale * draw(rng, *shape)).astype(dtype) for name, shape in shapes.items()})


def prompts(rng, B=3, T=5, d=3, reads=None, causal=True, dtype=np.float64):
    R = 1 if reads is None else len(reads)
    return Prompts(draw(rng, B, T, d).astype(dtype), rng.choice([-1.0, 1.0], (B, R)), reads, causal)


CASES = [
    pytest.param({"heads": 2, "L": 2}, {}, id="the query is read"),
    pytest.param({"heads": 3, "L": 1}, {"reads": (0, 2, 4)}, id="prefixes are read"),
    pytest.param({"heads": 1, "L": 3}, {"reads": (1, 3), "causal": False}, id="no mask"),
    pytest.param({"C": 4, "heads": 4, "M": 17}, {"T": 1, "B": 1}, id="the query alone"),
]


@pytest.mark.parametrize("loss", losses.NAMES)
@pytest.mark.parametrize(("sizes", "batch"), CASES)
def test_a_step_is_the_complex_step_of_the_definition(sizes, batch, loss):
    rng = np.random.default_rng(7)
    psi, given = params(rng, **sizes), prompts(rng, **batch)
    value, grads = nlicl.loss_and_grad(psi, given, loss)
    assert value == pytest.approx(np.mean([reference.loss(psi, prompt, loss) for prompt in given]), rel=1e-13)
    for name, array in psi._asdict().items():
        got = getattr(grads, name)
        assert got.shape == array.shape and got.dtype == array.dtype
        for index in list(np.ndindex(array.shape))[:: 1 + array.size // 12]:
            moved = array.astype(complex)
            moved[index] += 1j * H
            there = psi._replace(**{name: moved})
            want = np.mean([reference.loss(there, prompt, loss).imag / H for prompt in given])
            assert abs(got[index] - want) <= 1e-12 * max(abs(got).max(), abs(want)), (name, index)


@pytest.mark.parametrize(("sizes", "batch"), CASES)
def test_forward_is_the_definition(sizes, batch):
    rng = np.random.default_rng(8)
    psi, given = params(rng, **sizes), prompts(rng, **batch)
    out, last = nlicl.forward(psi, given), given.reads[-1]
    for n, prompt in enumerate(given):
        want = reference.forward(psi, prompt)
        assert_near(out.score[n], want.score, float)
        assert_near(out.attention[n], want.attention[:, :, last], float)
        assert_near(out.preactivation[n], want.preactivation[:, last], float)


@pytest.mark.parametrize("B", [1, 8, 9, 49])
def test_how_a_batch_is_split_changes_nothing(B):
    """Blocks that are full and not, one chunk and several: the mean of the prompts' own gradients."""
    rng = np.random.default_rng(B)
    psi, given = params(rng, positions=21), prompts(rng, B=B, T=21)
    value, grads = nlicl.loss_and_grad(psi, given, "logistic")
    each = [nlicl.loss_and_grad(psi, given[n : n + 1], "logistic") for n in range(B)]
    assert value == pytest.approx(np.mean([one for one, _ in each]), rel=1e-13)
    for name, grad in grads._asdict().items():
        assert_near(grad, np.mean([getattr(one, name) for _, one in each], axis=0), float)


def test_plans_depend_on_sizes_alone():
    assert [gpt2.plan((B, 21, 60)) for B in (1, 8, 48, 49, 256, 10**5)] == [
        (1, 1),
        (1, 8),
        (1, 8),
        (2, 8),
        (8, 8),
        (64, 8),
    ]
    assert gpt2.plan((4, 1000, 3)) == (4, 1)


def test_float32_rounds_as_float32():
    rng = np.random.default_rng(9)
    psi, given = params(rng), prompts(rng, B=20)
    low = psi._make(array.astype(np.float32) for array in psi)
    value, grads = nlicl.loss_and_grad(low, Prompts(given.tokens.astype(np.float32), given.labels), "logistic")
    want, exact = nlicl.loss_and_grad(psi, given, "logistic")
    assert value.dtype == np.float32 and value == pytest.approx(want, rel=1e-5)
    for grad, right in zip(grads, exact, strict=True):
        assert grad.dtype == np.float32 and abs(grad - right).max() <= 1e-4 * max(abs(right).max(), 1e-3)


def test_compiled_is_its_source():
    """And carries derivatives and precision: the same step in complex numbers and in long double."""
    rng = np.random.default_rng(10)
    psi, given = params(rng), prompts(rng, reads=(1, 4))
    labels, reads = np.array(given.labels), np.array(given.reads)

    def run(step, dtype, W=psi):
        operands = _operands(W)._make(np.asarray(array, dtype) for array in _operands(W))
        return step(given.tokens.astype(dtype), labels.astype(dtype), reads, True, 2, operands, losses.LOGISTIC)

    plain = compile.source(gpt2.step)
    value, grads = run(gpt2.step, np.float64)
    wide, exact = run(plain, np.longdouble)
    assert wide.dtype == np.longdouble and abs(value - wide) <= 1e-15
    for got, want in zip(grads, exact, strict=True):
        assert want.dtype == np.longdouble and abs(got - want).max() <= 1e-13 * max(1e-3, abs(want).max())
    moved = psi._replace(W_fc=psi.W_fc + 1j * H * (np.arange(psi.W_fc.size) == 11).reshape(psi.W_fc.shape))
    by_step = run(gpt2.step, np.complex128, moved)[0].imag / H
    assert by_step == pytest.approx(grads.W_fc.ravel()[11], rel=1e-11)


@pytest.mark.compiled
def test_any_number_of_threads_gives_the_same_bits():
    code = """
import hashlib, numpy as np, nlicl
from nlicl.papers.li2024.gpt2 import GPT2
problem = GPT2(layers=2, width=8, heads=2)
psi = problem.initialize(seed=0)
digest = hashlib.sha256()
for dtype in (np.float32, np.float64):
    given = problem.sample(130, seed=1)
    given = type(given)(given.tokens.astype(dtype), given.labels, given.reads, given.causal)
    W = psi._make(array.astype(dtype) for array in psi)
    value, grads = nlicl.loss_and_grad(W, given)
    for array in (value, *grads, *nlicl.forward(W, given)):
        digest.update(np.ascontiguousarray(array).tobytes())
print(digest.hexdigest())
"""
    assert len({python(code, NUMBA_NUM_THREADS=str(threads)) for threads in (1, 2, 3)}) == 1


def test_what_overflows_is_told():
    rng = np.random.default_rng(11)
    psi, given = params(rng), prompts(rng)
    huge = psi._replace(w_out=psi.w_out * 1e308)
    with pytest.raises(nlicl.core.errors.NotFinite, match="not finite although parameters and prompts are"):
        nlicl.loss_and_grad(huge, given, "squared")
    with pytest.raises(nlicl.core.errors.NotFinite, match=r"a score is not finite|the residual"):
        nlicl.forward(psi._replace(W_fc=psi.W_fc * 1e200, W_pr=psi.W_pr * 1e200), given)
