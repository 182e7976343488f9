"""The coded kernel: exact on every dictionary, against the naive loops over tokens, the dense kernel and the definition."""

import platform
from typing import NamedTuple

import naive
import numpy as np
import pytest
from child import ROOT, python
from draws import LOSSES, SMALL, assert_close, assert_grads_close, bounds, clear_of_kinks, losses, params, seeds
from hypothesis import assume, given
from hypothesis import strategies as st
from tables import COMPILED, PLAIN, attended, attention

import nlicl
from nlicl import CodedPrompts, Params
from nlicl.kernels import compile
from nlicl.kernels.compile import source, threads_at_most
from nlicl.kernels.layers.loss import NAMES
from nlicl.kernels.steps import coded
from nlicl.models.transformer.prompts import packed_codes
from nlicl.papers import li2024

dtypes = st.sampled_from([np.float32, np.float64])


class Sizes(NamedTuple):
    """As `draws.Sizes`, and K columns of the dictionary."""

    B: int = 6
    l: int = 7
    d: int = 5
    m_a: int = 3
    m_b: int = 4
    m: int = 9
    K: int = 10


sizes = st.builds(Sizes, *[SMALL] * 6, st.integers(2, 18))


def prompts(size, seed=0, dtype=np.float64, query_attends=False):
    """Random codes over a random dictionary: neither orthogonal nor of one norm."""
    rng = np.random.default_rng([seed, 7])
    shape = (size.B, size.l + 1)
    sign = rng.integers(-1, 2, shape)
    sign[:, -1] = 0
    E = (rng.normal(size=(size.d, size.K)) / 2).astype(dtype)
    r, i = rng.integers(0, size.K, (2, *shape))
    return CodedPrompts(
        E, r, i, rng.normal(size=shape).astype(dtype), sign, rng.choice([-1.0, 1.0], size.B), query_attends
    )


def model(size, seed, dtype=np.float64):
    return params(size[:6], seed, dtype)


@given(sizes, dtypes, losses, st.booleans(), seeds)
def test_loss_and_gradients_are_those_of_the_tokens(size, dtype, loss, query_attends, seed):
    """By loops over tokens that were spelled out, in double precision."""
    p, x = model(size, seed, dtype), prompts(size, seed, dtype, query_attends)
    wide = Params(*(array.astype(float) for array in p))
    E = x.dictionary.astype(float)
    tokens = E[:, x.relevant] + x.kappa.astype(float) * E[:, x.irrelevant] + x.sign * E[:, [-1]][..., None]
    tokens = np.moveaxis(tokens, 0, -1)
    dense = nlicl.Prompts(tokens, x.labels.astype(float), query_attends)
    assume(clear_of_kinks(nlicl.forward(wide, dense), dense.labels, loss, 1e-3 if dtype == np.float32 else 1e-9))
    value, *want = naive.batch(wide, tokens, dense.labels, loss, query_attends)
    got, grads = nlicl.loss_and_grad(p, x, loss)
    assert got.dtype == dtype and all(grad.dtype == dtype for grad in grads)
    limit = bounds(p, nlicl.Prompts(tokens.astype(dtype), x.labels, query_attends), factor=64)
    assert_close(got, value, limit.score)
    assert_grads_close(grads, want, limit.grads)


@given(sizes, dtypes, st.booleans(), seeds)
def test_forward_is_that_of_the_tokens(size, dtype, query_attends, seed):
    p, x = model(size, seed, dtype), prompts(size, seed, dtype, query_attends)
    got, want = nlicl.forward(p, x), nlicl.forward(p, x.dense(dtype))
    limit = bounds(p, x.dense(dtype), factor=64)
    for name in got._fields:
        assert getattr(got, name).dtype == dtype
        assert_close(getattr(got, name), getattr(want, name), getattr(limit, name), name)


PROBLEMS = {
    "in domain": li2024.Problem(),
    "out of domain": li2024.Problem().out_of_domain(S_1=1.2),
    "l+1": li2024.Problem(query_attends=True),
    "one context": li2024.Problem(M1=3, M2=2, d_X=7, d_Y=1, length=1),
}


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
@pytest.mark.parametrize("trained", [False, pytest.param(True, marks=pytest.mark.compiled)])
def test_the_papers_prompts(problem, trained):
    """In and out of domain, at the start and after training, with parameters of no symmetry."""
    rng = np.random.default_rng(1)
    p = problem.initialize(seed=0)
    if trained:
        p = nlicl.train(li2024.Problem(), steps=150, measure=None).params if problem.d == 60 else p
        p = Params(*(array + 0.02 * rng.standard_normal(array.shape) for array in p))
    x = problem.sample(300, seed=5)
    value, want = nlicl.loss_and_grad(p, x.dense())
    got, grads = nlicl.loss_and_grad(p, x)
    assert got == pytest.approx(value, rel=1e-13)
    for name in Params._fields:
        scale = np.abs(getattr(want, name)).max()
        assert np.abs(getattr(grads, name) - getattr(want, name)).max() <= 1e-13 * scale + 1e-18, name


@given(losses, seeds)
def test_complex_step_through_the_compiled_step(loss, seed):
    """<dloss/dW, D> is the imaginary part of the loss at W + i h D, exact to rounding."""
    size = Sizes()
    p, x = model(size, seed), prompts(size, seed)
    assume(clear_of_kinks(nlicl.forward(p, x), x.labels, loss))
    _, grads = nlicl.loss_and_grad(p, x, loss)
    rng = np.random.default_rng(seed)
    relevant, irrelevant, sign = (
        np.array(codes) for codes in (x.relevant, x.irrelevant, x.sign)
    )  # writable, as elsewhere
    complex_codes = (x.dictionary.astype(complex), relevant, irrelevant, x.kappa.astype(complex), sign)
    for name in Params._fields:
        D = rng.standard_normal(getattr(p, name).shape)
        moved = [array.astype(complex) for array in p]
        moved[Params._fields.index(name)] += 1e-30j * D
        slope = coded.step(*complex_codes, x.labels.astype(complex), size.l, *moved, NAMES[loss])[0].imag / 1e-30
        want = float(np.sum(getattr(grads, name) * D))
        assert slope == pytest.approx(want, rel=1e-10, abs=1e-12)


@pytest.mark.compiled
@pytest.mark.parametrize("loss", LOSSES)
def test_compiled_code_is_its_source(loss):
    size = Sizes()
    p, x = model(size, 3), prompts(size, 3)
    codes = map(np.array, (x.dictionary, x.relevant, x.irrelevant, x.kappa, x.sign, x.labels))  # writable, as elsewhere
    arguments = (*codes, size.l, *p, NAMES[loss])
    for got, want in zip(coded.step(*arguments), source(coded.step)(*arguments), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


def test_extended_precision_through_the_source():
    size = Sizes()
    p, x = model(size, 4), prompts(size, 4)
    real = np.longdouble
    arguments = (
        x.dictionary.astype(real),
        x.relevant,
        x.irrelevant,
        x.kappa.astype(real),
        x.sign,
        x.labels.astype(real),
    )
    value, *grads = source(coded.step)(*arguments, size.l, *(array.astype(real) for array in p), NAMES["logistic"])
    got, want = nlicl.loss_and_grad(p, x, "logistic")
    assert value.dtype == real and abs(float(value) - got) < 1e-15
    for grad, other in zip(grads, want, strict=True):
        np.testing.assert_allclose(other, grad.astype(float), rtol=1e-11, atol=1e-15)


# ---------------------------------------------------------------- what codes mean


@given(sizes, st.integers(1, 9), seeds)
def test_columns_that_no_token_uses_change_nothing(size, more, seed):
    p, x = model(size, seed), prompts(size, seed)
    unused = np.random.default_rng(seed).normal(size=(size.d, more))
    y = CodedPrompts(
        np.hstack([unused, x.dictionary]), x.relevant + more, x.irrelevant + more, x.kappa, x.sign, x.labels
    )
    limit = bounds(p, x.dense(), factor=64)
    assert_grads_close(nlicl.loss_and_grad(p, y)[1], nlicl.loss_and_grad(p, x)[1], limit.grads)


@given(sizes, st.integers(1, 9), seeds)
def test_rows_that_are_zero_change_nothing(size, more, seed):
    """Coordinates in which all tokens are zero: the gradients there are 0, and elsewhere as without them."""
    p, x = model(size._replace(d=size.d + more), seed), prompts(size, seed)
    rows = np.sort(np.random.default_rng(seed).permutation(size.d + more)[: size.d])
    E = np.zeros((size.d + more, size.K))
    E[rows] = x.dictionary
    y = CodedPrompts(E, x.relevant, x.irrelevant, x.kappa, x.sign, x.labels)
    smaller = Params(*(np.ascontiguousarray(W[:, rows]) for W in p[:3]), *p[3:])
    want = Params(*(np.zeros_like(array) for array in p))
    for name, grad in nlicl.loss_and_grad(smaller, x)[1]._asdict().items():
        getattr(want, name)[(slice(None), rows) if name in ("W_Q", "W_K", "W_V") else ...] = grad
    grads = nlicl.loss_and_grad(p, y)[1]
    assert_grads_close(grads, want, bounds(p, y.dense(), factor=64).grads)
    assert not any(np.delete(grad, rows, axis=1).any() for grad in grads[:3])
    np.testing.assert_allclose(nlicl.forward(p, y).context[:, rows], nlicl.forward(smaller, x).context, rtol=1e-12)
    assert not np.delete(nlicl.forward(p, y).context, rows, axis=1).any()


def test_a_dictionary_of_zeros_has_scores_of_zero():
    size = Sizes()
    p, x = model(size, 1), prompts(size, 1)
    y = CodedPrompts(0 * x.dictionary, x.relevant, x.irrelevant, x.kappa, x.sign, x.labels)
    loss, grads = nlicl.loss_and_grad(p, y)
    assert loss == 1 and not any(grad.any() for grad in grads) and not nlicl.forward(p, y).score.any()


@given(sizes, seeds)
def test_patterns_can_be_renumbered(size, seed):
    p, x = model(size, seed), prompts(size, seed)
    order = np.append(np.random.default_rng(seed).permutation(size.K - 1), size.K - 1)
    inverse = np.argsort(order)
    y = CodedPrompts(x.dictionary[:, order], inverse[x.relevant], inverse[x.irrelevant], x.kappa, x.sign, x.labels)
    limit = bounds(p, x.dense(), factor=64)
    assert_grads_close(nlicl.loss_and_grad(p, y)[1], nlicl.loss_and_grad(p, x)[1], limit.grads)


@given(sizes, losses, seeds)
def test_the_query_that_attends_is_one_more_context(size, loss, seed):
    p, x = model(size, seed), prompts(size, seed, query_attends=True)
    again = [np.append(codes, codes[:, -1:], axis=1) for codes in (x.relevant, x.irrelevant, x.kappa, x.sign)]
    y = CodedPrompts(x.dictionary, *again, x.labels)
    limit = bounds(p, x.dense(), factor=64)
    assert_grads_close(nlicl.loss_and_grad(p, y, loss)[1], nlicl.loss_and_grad(p, x, loss)[1], limit.grads)


@pytest.mark.parametrize("scale", [1e3, 1e150])
def test_extreme_scores_give_finite_steps(scale):
    size = Sizes()
    p, x = model(size, 0), prompts(size, 0)
    p = p._replace(W_Q=p.W_Q * scale)
    value, grads = nlicl.loss_and_grad(p, x)
    assert np.isfinite(value) and all(np.isfinite(grad).all() for grad in grads)


# ---------------------------------------------------------------- hinges that are inactive


def with_inactive(dtype, share):
    """Prompts of which about such a share has an inactive hinge, and which have an active one."""
    size = Sizes(B=90, K=13)
    p, x = model(size, 2, dtype), prompts(size, 2, dtype)
    score = np.abs(nlicl.forward(p, x).score)
    p = p._replace(a=p.a / dtype(np.quantile(score, 1 - share) if share else 2 * score.max()))
    F = nlicl.forward(p, x).score
    labels = np.where(F < 0, -1, 1)
    x = CodedPrompts(x.dictionary, x.relevant, x.irrelevant, x.kappa, x.sign, labels)
    return p, x, labels * F < 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("share", [0, 0.4, 0.9, 0.98])
def test_prompts_without_a_slope_are_left_out(share, dtype):
    p, x, active = with_inactive(dtype, share)
    assert 0 < active.sum() < 90 if share else active.all()
    value, grads = nlicl.loss_and_grad(p, x)
    some, others = nlicl.loss_and_grad(p, x[np.flatnonzero(active)])
    eps = np.finfo(dtype).eps
    assert value == pytest.approx(float(some) * active.mean(), rel=float(100 * eps))
    for grad, other in zip(grads, others, strict=True):
        np.testing.assert_allclose(grad, other * active.mean(), rtol=1e-3, atol=100 * eps * np.abs(other).max())


def test_no_slope_at_all_is_no_gradient():
    p, x, active = with_inactive(np.float64, 0.9)
    value, grads = nlicl.loss_and_grad(p, x[np.flatnonzero(~active)])
    assert value == 0
    for grad, array in zip(grads, p, strict=True):
        assert grad.shape == array.shape and not grad.any()


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_not_left_out(odd):
    """Among inactive hinges: its loss is not finite, or its slope is not 0. A column that only one prompt has is so large."""
    p, x, active = with_inactive(np.float64, 0.9)
    x = x[np.flatnonzero(~active)]
    E = np.hstack([np.full((x.dictionary.shape[0], 1), odd), x.dictionary])
    relevant = x.relevant + 1
    relevant[4, 0] = 0
    codes = (relevant.astype(np.int32), (x.irrelevant + 1).astype(np.int32), x.kappa, x.sign, x.labels)
    codes = map(np.array, codes)  # writable, as elsewhere
    with np.errstate(all="ignore"):
        value, *grads = coded.step(E, *codes, x.length, *p, NAMES["hinge"])
    assert not np.isfinite(value) or not all(np.isfinite(grad).all() for grad in grads)


# ---------------------------------------------------------------- instructions on tables


LENGTHS = st.one_of(st.integers(1, 35), st.sampled_from([63, 64, 65, 66, 67, 130]))
WIDTHS = st.one_of(st.integers(1, 20), st.sampled_from([31, 32, 33, 40, 63, 64, 65, 80]))


@given(st.integers(1, 9), LENGTHS, WIDTHS, dtypes, seeds)
def test_attention_on_codes_is_its_loops(b, n_keys, K, dtype, seed):
    inputs = attention(b, n_keys, K, dtype, seed)
    eps = np.finfo(dtype).eps
    codes, _, dC, *_ = inputs
    of_backward = (2 + np.abs(codes[2]).max()) * np.abs(
        dC
    ).max()  # p_i . dc: ds and what it adds to are differences of such
    sizes = (0, 0, of_backward, of_backward, of_backward)
    both = zip(attended(*COMPILED, n_keys, *inputs), attended(*PLAIN, n_keys, *inputs), sizes, strict=True)
    for got, want, size in both:
        np.testing.assert_allclose(got, want, rtol=200 * eps, atol=(20 + n_keys) * eps * max(size, np.abs(want).max()))
    if n_keys == 1:
        assert not attended(*COMPILED, n_keys, *inputs)[3].any()


@given(st.integers(1, 5), LENGTHS, WIDTHS, dtypes, st.sampled_from([np.nan, np.inf, -np.inf]), seeds)
def test_what_is_not_finite_comes_out_where_the_loops_have_it(b, n_keys, K, dtype, odd, seed):
    """A prompt that looks at it is NaN, as a whole; the others do not see it."""
    codes, G, dC, *room = attention(b, n_keys, K, dtype, seed)
    rng = np.random.default_rng(seed)
    G[rng.integers(K), rng.integers(K)] = odd
    inputs = codes, G, dC, *room
    for got, want in zip(attended(*COMPILED, n_keys, *inputs), attended(*PLAIN, n_keys, *inputs), strict=True):
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))
    inputs = codes, np.where(np.isfinite(G), G, 1).astype(dtype), dC, *room
    dC[rng.integers(b), rng.integers(K)] = odd
    for got, want in zip(attended(*COMPILED, n_keys, *inputs), attended(*PLAIN, n_keys, *inputs), strict=True):
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))


ANY_WIDTH = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from nlicl.kernels import vectors
from tables import COMPILED, PLAIN, attended, attention
worst = 0
for dtype in (np.float32, np.float64):
    for b, n_keys, K in [(1, 1, 2), (3, 5, 31), (8, 20, 32), (2, 67, 64), (5, 33, 65)]:
        inputs = attention(b, n_keys, K, dtype, 0)
        for got, want in zip(attended(*COMPILED, n_keys, *inputs), attended(*PLAIN, n_keys, *inputs)):
            worst = max(worst, abs(got - want).max() / np.finfo(dtype).eps)
print(vectors.BYTES, worst < 100)
"""


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.parametrize(("features", "width"), [("", "16"), ("+avx,+avx2,+fma", "32")])
def test_tables_in_registers_of_any_width(features, width, tmp_path):
    """Where the processor does not look up in registers, tables are read number by number."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("these are features of another processor")
    settings = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    assert python(ANY_WIDTH, ROOT / "tests" / "helpers", **settings).split() == [width, "True"]


# ---------------------------------------------------------------- chunks


@given(st.integers(1, 5000), st.integers(2, 200), st.integers(1, 500), st.integers(1, 50), st.sampled_from([4, 8]))
def test_plan_gives_every_chunk_something_to_do(B, rows, m, eighths, itemsize):
    chunks, block = coded.plan((B, rows), m, 8 * eighths, itemsize)
    assert 1 <= chunks <= B and chunks & (chunks - 1) == 0
    assert 1 <= block <= -(-B // chunks)


@pytest.mark.parametrize("chunks", [1, 2, 4, 16])
def test_chunks_change_nothing_but_rounding(chunks, monkeypatch):
    size = Sizes(B=70)
    p, x = model(size, 1), prompts(size, 1)
    want = nlicl.loss_and_grad(p, x.dense(), "squared")
    monkeypatch.setattr(coded, "plan", lambda *sizes: (chunks, 3))
    value, grads = nlicl.loss_and_grad(p, x, "squared")
    assert value == pytest.approx(want[0], rel=1e-13)
    assert_grads_close(grads, want[1], bounds(p, x.dense(), factor=64).grads)
    np.testing.assert_allclose(nlicl.forward(p, x).score, nlicl.forward(p, x.dense()).score, atol=1e-12)


BITS = """
import hashlib, nlicl
from nlicl.papers import li2024
from nlicl.kernels.steps import coded
problem = li2024.Problem()
x = problem.sample(3000, seed=1)
assert coded.plan(x.relevant.shape, 64, 32, 8)[0] > 2
loss, grads = nlicl.loss_and_grad(problem.initialize(), x)
print(hashlib.sha256(b"".join(grad.tobytes() for grad in grads)).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.compiled
def test_the_same_bits_on_any_number_of_threads():
    assert len({python(BITS, NUMBA_NUM_THREADS=n) for n in ("1", "2", "3")}) == 1


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("chunks", [1, 4])
def test_the_step_in_one_thread_is_that_on_two_to_the_bit(chunks, dtype, monkeypatch):
    size = Sizes(B=70, K=13)
    p, x = model(size, 1, dtype), prompts(size, 1, dtype)
    monkeypatch.setattr(coded, "plan", lambda *sizes: (chunks, 8))
    monkeypatch.setattr(compile, "THREADS", 2)
    found = [nlicl.loss_and_grad(p, x) for _ in range(20)]
    with threads_at_most(1):
        found.append(nlicl.loss_and_grad(p, x))
    (value, grads), *found = found
    for other, others in found:
        assert value == other
        for grad, again in zip(grads, others, strict=True):
            np.testing.assert_array_equal(grad, again)


@pytest.mark.compiled
def test_numbers_of_another_dtype_are_refused_or_read_as_they_are():
    """The step is called without a look at its arguments' types, but for their dtypes. Instructions by hand refuse another
    one; loops, where a processor has no such instructions, read it."""
    size = Sizes()
    codes = [np.array(array) for array in packed_codes(prompts(size, 1, np.float64), np.float64)]
    codes[3] = codes[3].astype(np.float32)  # kappa
    p = model(size, 1, np.float64)
    read = [array.astype(np.float64) if i == 3 else array for i, array in enumerate(codes)]
    right = coded.step(*read, size.l, *p, NAMES["hinge"])
    try:
        found = coded.step(*codes, size.l, *p, NAMES["hinge"])
    except (TypeError, ValueError):
        return
    for got, want in zip(found, right, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- codes that are none


GOOD = {
    "dictionary": np.eye(4, 5),
    "relevant": np.zeros((2, 3), int),
    "irrelevant": np.ones((2, 3), int),
    "kappa": np.zeros((2, 3)),
    "sign": np.array([[1, -1, 0], [1, 1, 0]]),
    "labels": [1, -1],
}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"dictionary": np.eye(4, 5, dtype=int)}, TypeError, "dictionary has dtype int64; expected a floating dtype"),
        ({"dictionary": np.full((4, 5), np.nan)}, ValueError, r"dictionary\[0, 0\] is nan; expected finite numbers"),
        ({"kappa": np.zeros(3)}, ValueError, r"kappa has shape \(3,\); expected 2 axes, \(B, l\+1\)"),
        ({"kappa": np.full((2, 3), np.inf)}, ValueError, r"kappa\[0, 0\] is inf"),
        ({"kappa": np.zeros((2, 1))}, ValueError, "expected .* with B >= 1 prompts of l >= 1"),
        ({"relevant": np.zeros((2, 3))}, TypeError, "relevant has dtype float64; expected integers"),
        ({"relevant": np.zeros((2, 2), int)}, ValueError, r"relevant has shape \(2, 2\); expected \(2, 3\)"),
        ({"relevant": np.full((2, 3), 5)}, ValueError, "relevant holds codes from 5 to 5; expected columns .* 0 to 4"),
        ({"irrelevant": np.full((2, 3), -1)}, ValueError, "irrelevant holds codes from -1 to -1"),
        ({"sign": np.array([[1, 2, 0], [1, 1, 0]])}, ValueError, "sign holds values from 0 to 2"),
        ({"sign": np.ones((2, 3), int)}, ValueError, r"\[1\] on queries; expected -1, 0 or \+1, and 0 on the query"),
        ({"labels": [1, 0]}, ValueError, r"labels holds \[0\] .* expected -1 or \+1 only"),
        ({"labels": [1]}, ValueError, r"labels has shape \(1,\); expected \(2,\), one label for each prompt of kappa"),
    ],
)  # fmt: skip
def test_wrong_codes_are_refused(change, error, message):
    assert len(CodedPrompts(**GOOD)) == 2
    with pytest.raises(error, match=message):
        CodedPrompts(**{**GOOD, **change})


def test_codes_are_frozen():
    """They are checked once; the user's own arrays stay writable."""
    kappa = np.zeros((2, 3))
    x = CodedPrompts(**{**GOOD, "kappa": kappa})
    for name in GOOD:
        with pytest.raises(ValueError, match="read-only"):
            getattr(x, name)[...] = 0
    kappa[0, 0] = 1.0


def test_another_width_is_refused():
    x = CodedPrompts(**GOOD)
    with pytest.raises(
        ValueError, match=r"prompts.dictionary has shape \(4, 5\), width d = 4; params.W_Q has shape \(3, 5\), d = 5"
    ):
        nlicl.loss_and_grad(model(Sizes(), 0), x)


def test_overflow_is_said():
    size = Sizes()
    p, x = model(size, 0, np.float32), prompts(size, 0, np.float32)
    big = Params(*(array * np.float32(1e20) for array in p))
    with pytest.raises(
        nlicl.core.errors.NotFinite, match=r"overflow float32\. Scale parameters or prompts down, or use float64"
    ):
        nlicl.loss_and_grad(big, x, "squared")
