"""The kernels of the one-nearest-neighbour transformer: against loops, complex step, threads; prompts on the sphere against
NumPy's own numbers; the descent against the steps that it is made of."""

from unittest import mock

import naive
import naive_onenn
import numpy as np
import pytest
from draws import SMALL, assert_close, seeds
from hypothesis import given
from hypothesis import strategies as st

from nlicl.kernels import compile, sphere_descent
from nlicl.kernels.compile import source
from nlicl.kernels.random import words
from nlicl.kernels.steps import nearest, sphere
from nlicl.models.nearest.prompts import Prompts

DTYPES = [np.float32, np.float64, np.complex128]
dtypes = st.sampled_from(DTYPES)
CLASSES = st.sampled_from([None, 2, 3, 5])
EPS = {np.float32: 2e-5, np.float64: 1e-13, np.complex128: 1e-13}


def prompts_of(B, N, d, K, seed, mixture=0.5):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((B, N + 1, d))
    classes = rng.choice([-1, 1], (B, N)) if K is None else rng.integers(0, K, (B, N))
    return Prompts(x / np.linalg.norm(x, axis=2, keepdims=True), classes, K, mixture)


def weights(E, seed, dtype=np.float64):
    rng = np.random.default_rng(seed + 1)
    W = rng.standard_normal((E, E))
    return (W + 0.1j * rng.standard_normal((E, E)) if np.dtype(dtype).kind == "c" else W).astype(dtype)


def stepped(prompts, W, loss="squared", step=nearest.step):
    tokens = prompts.tokens.astype(W.dtype)
    return step(tokens, np.array(prompts.nearest), prompts.width, W, nearest.NAMES[loss], prompts.mixture)


@given(SMALL, SMALL, st.integers(1, 5), CLASSES, dtypes, seeds)
def test_answers_are_the_loops(B, N, d, K, dtype, seed):
    prompts = prompts_of(B, N, d, K, seed)
    W = weights(prompts.size, seed, dtype)
    answer, attn = nearest.forward(prompts.tokens.astype(dtype), prompts.width, W)
    assert answer.dtype == attn.dtype == dtype
    for n in range(B):
        l, q = naive_onenn.forward(naive.numbers(W), naive.numbers(prompts.inputs[n]), prompts.classes[n].tolist(), K)
        assert_close(answer[n], l, EPS[dtype])
        assert_close(attn[n], q, EPS[dtype])


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 3), CLASSES, st.sampled_from(list(nearest.NAMES)), seeds)
def test_the_step_is_the_mean_of_the_loops_and_their_complex_step(B, N, d, K, loss, seed):
    K = K or (None if loss == "squared" else 3)
    prompts = prompts_of(B, N, d, K, seed, 0.3)
    W = weights(prompts.size, seed)
    value, dW = stepped(prompts, W, loss)
    given_to = [(naive.numbers(W), naive.numbers(x), c.tolist(), K) for x, c in zip(prompts.inputs, prompts.classes)]  # noqa: B905
    assert_close(value, np.mean([naive_onenn.loss(*each, loss, 0.3) for each in given_to]), 1e-13)
    want = np.mean([naive_onenn.gradient(*each, loss, 0.3) for each in given_to], axis=0)
    assert dW.flags.c_contiguous and abs(dW - want).max() <= 1e-13 * max(1, abs(want).max())
    assert not dW[:, d:-1].any()  # columns of the label, to the bit


@pytest.mark.parametrize("loss", nearest.NAMES)
def test_float32_is_float64_rounded_and_complex_is_analytic(loss):
    prompts = prompts_of(9, 6, 4, 3, 0)
    W = weights(prompts.size, 0)
    value, dW = stepped(prompts, W, loss)
    single, dW_single = stepped(prompts, W.astype(np.float32), loss)
    assert dW_single.dtype == np.asarray(single).dtype == np.float32
    assert_close(dW_single, dW, 2e-6)
    direction = np.random.default_rng(5).standard_normal(W.shape)
    moved, _ = stepped(prompts, W + 1e-30j * direction, loss)
    assert_close(moved.real, value, 1e-14)
    assert_close(moved.imag / 1e-30, (dW * direction).sum(), 1e-13)


def test_compiled_code_is_its_source():
    prompts = prompts_of(5, 4, 3, 3, 2)
    W = weights(prompts.size, 2)
    for loss in nearest.NAMES:
        got, want = (stepped(prompts, W, loss, step) for step in (nearest.step, source(nearest.step)))
        assert_close(got[0], want[0], 1e-15)
        assert_close(got[1], want[1], 1e-15)
    extended = stepped(prompts, W.astype(np.longdouble), "squared", source(nearest.step))
    assert extended[1].dtype == np.longdouble
    assert_close(got[1] * 0 + stepped(prompts, W)[1], extended[1].astype(float), 1e-15)


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), seeds)
def test_chunks_and_blocks_change_nothing(B, chunks, block, near, seed):
    prompts = prompts_of(B, 5, 4, 3, seed)
    W = weights(prompts.size, seed)
    with mock.patch.object(nearest, "plan", lambda *sizes: (1, B, B)):
        want = *nearest.forward(prompts.operands[0], 3, W), *stepped(prompts, W)
    with mock.patch.object(nearest, "plan", lambda *sizes: (chunks, block, min(near, block))):
        got = *nearest.forward(prompts.operands[0], 3, W), *stepped(prompts, W)
    for one, other in zip(got, want, strict=True):
        assert_close(one, other, 1e-13)


def test_the_same_bits_on_any_number_of_threads(monkeypatch):
    """And a batch that is soon done is one chunk: to wake a thread takes longer."""
    assert nearest.plan((128, 17, 12), 8)[0] == 1
    prompts = prompts_of(600, 40, 8, 3, 1)
    assert nearest.plan(prompts.tokens.shape, 8)[0] > 1
    W, found = weights(prompts.size, 1), []
    for threads in (1, 2, 3):
        monkeypatch.setattr(compile, "THREADS", threads)
        found.append((*stepped(prompts, W), *nearest.forward(prompts.operands[0], 3, W)))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_a_score_that_overflows_is_not_hidden():
    prompts = prompts_of(3, 4, 3, 3, 0)
    with np.errstate(all="ignore"):
        value, _ = stepped(prompts, np.full_like(weights(prompts.size, 0), 1.7e308))
    assert not np.isfinite(value)


# ---- Prompts on the sphere


def drawn(n, N, d, K, key):
    inputs, classes = np.empty((n, N + 1, d)), np.empty((n, N), np.int64)
    sphere.draw(inputs, classes, words(key), K)
    return inputs, classes


def by_numpy(n, N, d, K, key):
    """The same from NumPy's own generator: a number of 64 bits a class, and one for two normal numbers, block by block."""
    rng, b, half = np.random.default_rng(key).bit_generator, sphere.BLOCK, (d + 1) // 2
    inputs, classes = [], []
    for _ in range(-(-n // b)):
        bits = rng.random_raw(N * b)
        labels = (bits >> 63).astype(int) * 2 - 1 if K == 0 else ((bits >> 32) * np.uint64(K)) >> 32
        bits = rng.random_raw((N + 1) * half * b).reshape(N + 1, half, b)
        radius = np.sqrt(-2 * np.log(((bits >> 32) + 0.5) / 2**32))
        angle = 2 * np.pi * ((bits & 0xFFFFFFFF) / 2**32 - 0.5)
        normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=2).reshape(N + 1, 2 * half, b)[:, :d]
        inputs.append((normal / np.sqrt((normal**2).sum(axis=1, keepdims=True))).transpose(2, 0, 1))
        classes.append(labels.reshape(N, b).T.astype(int))
    return np.concatenate(inputs)[:n], np.concatenate(classes)[:n]


@given(st.integers(1, 70), st.integers(1, 6), st.integers(2, 9), st.sampled_from([0, 2, 3, 10]), seeds)
def test_prompts_are_made_of_numpy_s_numbers(n, N, d, K, seed):
    inputs, classes = drawn(n, N, d, K, [1, 2, seed])
    want, want_classes = by_numpy(n, N, d, K, [1, 2, seed])
    np.testing.assert_array_equal(classes, want_classes)
    assert_close(inputs, want, 1e-13)
    assert abs((inputs**2).sum(axis=2) - 1).max() < 2e-15


def test_normal_numbers_at_the_ends():
    """The smallest and the largest halves: no infinity, no zero radius; sine and cosine at every eighth of a turn."""
    ends = [0, 1, 2**31, 2**32 - 1, 0x5A82799A, 0xB504F334]
    bits = np.array([(h << 32) | k for h in ends for k in [*ends, *(i << 29 for i in range(8))]], np.uint64)
    four = np.empty((4, len(bits)), np.uint64)
    sphere.normals(four, bits)
    h, k = (bits >> 32).astype(float), (bits & 0xFFFFFFFF).astype(float)
    radius, angle = np.sqrt(-2 * np.log((h + 0.5) / 2**32)), 2 * np.pi * (k / 2**32 - 0.5)
    got = four[:2].view(float)
    assert np.isfinite(got).all() and (np.hypot(*got) > 1e-6).all()
    assert_close(got[0], radius * np.cos(angle), 1e-14)
    assert_close(got[1], radius * np.sin(angle), 1e-14)
    plain = np.empty((4, len(bits)), np.uint64)
    source(sphere.normals)(plain, bits)
    assert_close(plain[:2].view(float), got, 1e-14)


# ---- Descent


@pytest.mark.parametrize("K", [0, 3])
def test_tokens_are_laid_out_as_prompts_have_them(K):
    inputs, classes = drawn(5, 4, 3, K, [1, 1, 0])
    inputs[0, 1] = inputs[0, 2] = inputs[0, -1]  # two at distance 0: the first counts
    prompts = Prompts(inputs, classes, K or None)
    tokens, where = np.full(prompts.tokens.shape, np.nan), np.full(5, -1)
    sphere_descent.lay_out(tokens, where, inputs, classes, K)
    np.testing.assert_array_equal(tokens, prompts.tokens)
    np.testing.assert_array_equal(where, prompts.nearest)
    assert where[0] == 1


def descended(losses, etas, W, B=70, N=3, d=2, K=3, decay=0.0, largest=np.inf, loss="squared", t=0, descend=None):
    E = d + max(K, 1) + 1
    room = np.empty((B, N + 1, d)), np.empty((B, N), np.int64), np.empty((B, N + 1, E)), np.empty(B, np.int64)
    sizes = nearest.plan((B, N + 1, E), 8)
    arguments = (losses, etas, t, decay, largest, nearest.NAMES[loss], 0.3, W, words([1, 2, 5, 0]), room, K, sizes)
    return (descend or sphere_descent.descend)(*arguments)


def test_a_descent_ends_where_it_must():
    W = weights(6, 0)
    losses, etas = np.full(3, np.nan), np.full(3, 0.1)
    made, end, W_3 = descended(losses, etas, W, decay=0.01)
    assert (made, end) == (3, 0) and np.isfinite(losses).all()
    one = np.empty(1)
    for i in range(3):  # one at a time: the same bits
        _, _, W = descended(one, etas[:1], W, decay=0.01, t=i)
        assert one[0] == losses[i]
    np.testing.assert_array_equal(W, W_3)
    made, end, _ = descended(losses, etas, W, largest=1e-9)
    assert (made, end) == (1, 1)
    with np.errstate(all="ignore"):
        assert descended(losses, np.full(3, np.inf), W)[:2] == (0, 2)
        assert descended(losses, etas, np.full_like(W, 1.7e308))[:2] == (0, 3)
    plain = np.full(3, np.nan)
    got = descended(plain, etas, weights(6, 0), decay=0.01, B=5, descend=source(sphere_descent.descend))
    want = descended(losses, etas, weights(6, 0), decay=0.01, B=5)
    assert_close(plain, losses, 1e-15)
    assert_close(got[2], want[2], 1e-15)
