"""What overflows on the way is refused, or right: -inf may be a number of any sign, and relu or softmax would make 0 of it."""

import extremes
import numpy as np
import pytest
from extremes import EXTENDED, are_right, of_regression, of_transformer, right
from steps import SOURCES, STEPS, a_forward, a_step

import nlicl
from nlicl import CodedPrompts, Params, Prompts
from nlicl.core.errors import InvalidValue, NotFinite
from nlicl.kernels.compile import source
from nlicl.kernels.layers import attention, mlp
from nlicl.kernels.layers import loss as losses
from nlicl.models.regression import reference as regression
from nlicl.models.transformer import reference
from nlicl.models.transformer.marked import marked
from nlicl.papers import bu2024, huang2023, li2024
from nlicl.papers.bu2024 import recursion
from nlicl.papers.bu2024.semantics import Semantics
from nlicl.papers.li2024 import mechanism, pruning

LARGE = {np.float64: 1e200, np.float32: 1e25}
DTYPES = pytest.mark.parametrize("dtype", LARGE)
GRADIENTS = ("W_Q", "W_K", "W_V", "W_O", "a")


def as_type(dtype, *arrays):
    return [np.array(array, dtype) for array in arrays]


def an_active_neuron(dtype):
    """u_1 = -c c + 2 c c, and u_2 = 1: a sum that reaches -inf first stays there."""
    c = LARGE[dtype]
    params = Params(*as_type(dtype, [[1]], [[1]], [[c], [c]], [[-c, 2 * c], [1 / c, 0]], [1, 1]))
    return params, Prompts(np.ones((1, 3, 1), dtype), [1])


def a_large_score(dtype):
    """The first token's score is -c c + 2 c c, the second one's 0; the first one's value is 0, so that F is 0 and not 1."""
    c = LARGE[dtype]
    params = Params(*as_type(dtype, [[c, 0], [c, 0]], [[-c, 0], [2 * c, 0]], [[0, 1]], [[1]], [1]))
    return params, Prompts(np.array([[[1, 0], [0, 1], [1, 0]]], dtype), [1])


POINTS = {"pre-activation": an_active_neuron, "score": a_large_score}


def as_codes(prompts):
    """Each token a column of the dictionary."""
    B, rows, d = prompts.tokens.shape
    E = np.hstack([prompts.tokens.reshape(-1, d).T, np.zeros((d, 1), prompts.tokens.dtype)])
    kappa = np.zeros((B, rows), E.dtype)
    return CodedPrompts(
        E, np.arange(B * rows).reshape(B, rows), kappa.astype(int), kappa, kappa.astype(int), prompts.labels
    )


@DTYPES
@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
def test_what_overflows_to_minus_infinity_is_refused(point, dtype):
    params, prompts = point(dtype)
    for x in (prompts, prompts[[0] * 5], as_codes(prompts)):
        for loss in losses.NAMES:
            with pytest.raises(NotFinite, match="is not finite"):
                nlicl.loss_and_grad(params, x, loss)
        with pytest.raises(NotFinite, match="a score is not finite"):
            nlicl.forward(params, x)
    for evaluate in (reference.forward, reference.loss, reference.margins):
        with pytest.raises(NotFinite, match="is not finite"):
            evaluate(params, prompts[0])
    for evaluate in literal():
        with pytest.raises(NotFinite, match="is not finite"), np.errstate(over="ignore", invalid="ignore"):
            evaluate(params, prompts[0])


def literal():
    """Gradients of one prompt as papers print them, and the audit's."""
    yield from (getattr(paper, f"d{name}") for name in GRADIENTS for paper in (li2024.gradients, bu2024.gradients))
    yield from (getattr(li2024.gradients, f"printed_d{name}") for name in GRADIENTS[:4])
    for loss in losses.NAMES:
        yield from marked(loss).values()


@DTYPES
@pytest.mark.parametrize("form", STEPS)
@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
def test_no_kernel_makes_a_number_of_it(point, form, dtype):
    params, prompts = point(dtype)
    with np.errstate(all="ignore"):
        assert np.isnan(a_forward(params, prompts, form)[0]).all()
        for among in (STEPS, SOURCES):
            assert np.isnan(a_step("hinge", params, prompts, form, among)[0])


@DTYPES
@pytest.mark.parametrize("n", [1, 3, 16, 21])
def test_softmax_of_minus_infinity_is_nan_and_of_the_lowest_numbers_right(n, dtype):
    lowest = np.finfo(dtype).min
    for softmax in (attention.softmax, source(attention.softmax)):
        for where in range(n):
            for score, wanted in ((-np.inf, np.nan), (np.nan, np.nan), (np.inf, np.nan), (-lowest, 1)):
                s = np.full(n, lowest)
                s[where] = score
                with np.errstate(all="ignore"):
                    softmax(s)
                assert np.array_equal(s, np.eye(n)[where] if wanted == 1 else np.full(n, np.nan), equal_nan=True)
                assert not np.signbit(s[s == 0]).any()


@DTYPES
@pytest.mark.parametrize("m", [1, 5, 19])
def test_relu_of_minus_infinity_is_nan_whatever_stands_before_it(m, dtype):
    largest = np.finfo(dtype).max
    for forward in (mlp.forward, source(mlp.forward)):
        for a in (-1, 0, 1):
            for i in range(m):
                W_T = np.full((2, m), -1, dtype)
                U, F = np.empty((1, m), dtype), np.empty(1, dtype)
                with np.errstate(all="ignore"):
                    forward(U, F, np.ones((1, 2), dtype), W_T, np.full(m, a, dtype))
                    assert F[0] == 0
                    W_T[:, i] = -largest
                    forward(U, F, np.ones((1, 2), dtype), W_T, np.full(m, a, dtype))
                assert U[0, i] == -np.inf and np.isnan(F[0])


@DTYPES
def test_no_loss_of_an_infinite_score_is_a_number(dtype):
    for value in (losses.value, source(losses.value)):
        for kind in losses.NAMES.values():
            for F in (np.inf, -np.inf, np.nan):
                with np.errstate(all="ignore"):
                    assert not np.isfinite(value(kind, dtype(F), dtype(1)))


def test_a_context_that_overflows_behind_a_finite_score_is_refused():
    """Tokens E_r + E_q are not finite; W_V is so small that W_V E is."""
    codes = np.zeros((1, 2), int)
    x = CodedPrompts(np.full((1, 2), 1e308), codes, codes + 1, np.zeros((1, 2)), [[1, 0]], [1])
    params = Params(*as_type(float, [[1e-308]], [[1e-308]], [[1e-308]], [[1]], [1]))
    with pytest.raises(NotFinite, match="a context is not finite"):
        nlicl.forward(params, x)


def test_codes_that_overflow_a_smaller_dtype_are_refused_without_a_warning():
    codes = np.zeros((1, 2), int)
    x = CodedPrompts(np.full((1, 2), 1e200), codes, codes, np.zeros((1, 2)), codes, [1])
    params = Params(*as_type(np.float32, [[1]], [[1]], [[1]], [[1]], [1]))
    for call in (nlicl.forward, nlicl.loss_and_grad):
        with pytest.raises(NotFinite):
            call(params, x)


# ---- Regression


@DTYPES
def test_a_score_of_the_regression_that_overflows_is_refused(dtype):
    """The first context's score is -c c + 2 c c, the second one's 3 c: attention is on the first, and yhat 1, not 2."""
    c = LARGE[dtype]
    params = huang2023.Params(np.diag(as_type(dtype, -c, c)))
    x = huang2023.CodedPrompts(np.array([[c, 1], [c, 2]], dtype), [[0, 1, 1]], np.array([[1, 2]], dtype))
    for prompts in (x, x.dense(dtype)):
        with pytest.raises(NotFinite, match="a prediction is not finite"):
            nlicl.forward(params, prompts)
        with pytest.raises(NotFinite, match="the loss is not finite"):
            nlicl.loss_and_grad(params, prompts)
    prompt = x.dense(dtype)[0]
    for evaluate in (regression.forward, regression.loss, huang2023.gradients.dQ, huang2023.gradients.dQ_coded):
        with pytest.raises(NotFinite, match="is not finite"), np.errstate(over="ignore", invalid="ignore"):
            evaluate(params, prompt)


# ---- What is measured


def test_norms_that_overflow_are_refused():
    W = np.full((2, 2), 1e200)
    params = Params(W, W, np.eye(2), W, np.ones(2))
    small = Params(W[:1], W[:1], W[:1], W[:, :1], np.ones(2))
    calls = (
        lambda: mechanism.projection(W, np.ones((1, 2)), np.ones((1, 2))),
        lambda: mechanism.projection(np.eye(2), np.ones((1, 2)), W[:1]),
        lambda: mechanism.neurons(params, np.ones(1), np.ones(1)),
        lambda: mechanism.drift(np.eye(2), W, np.ones(2)),
        lambda: pruning.order(params),
        lambda: pruning.small_neurons(params),
        lambda: bu2024.mechanism.coefficients(small, Semantics(*[W[:1, :1]] * 4)),
    )
    for call in calls:
        with pytest.raises(NotFinite, match="is not finite"), np.errstate(over="ignore"):
            call()


def test_scores_of_a_pruned_model_that_overflow_are_refused():
    """All three neurons sum up to 1e308, the last two to 2e308."""
    params = Params(*as_type(float, [[1]], [[1]], [[1]], [[1]] * 3, [-1e308, 1e308, 1e308]))
    x = Prompts(np.ones((1, 2, 1)), [1])
    assert np.isfinite(nlicl.forward(params, x).score).all()
    with pytest.raises(NotFinite, match="a score is not finite"), np.errstate(over="ignore"):
        pruning.curve(params, x, [0, 1, 2], [1])


def test_the_reduced_recursion_refuses_what_overflows():
    setting = recursion.Setting(1, 1.0, 1.0, 1e10, 1e10)
    o, Q = np.array([1.0, 1.0]), np.eye(2)
    for state in (recursion.State(-1e300 * o, 1e300 * o, Q, Q), recursion.State(o, o, 1e200 * Q, -1e200 * Q)):
        for call in (lambda s: recursion.step(s, o, 0.1, setting), lambda s: recursion.observe(s, o, setting)):
            with pytest.raises(InvalidValue, match="is not finite"):
                call(state)
        with pytest.raises(ValueError, match="not finite at step 0"):
            recursion.run(state, o, setting, np.full(3, 0.1))


# ---- Extreme points, by extended precision


def calls_of(params, prompts, loss):
    """Ways to compute by name: `step` gives the last of the numbers that `right` gives, the others the first."""
    regresses = isinstance(params, huang2023.Params)

    def step():
        value, grads = nlicl.loss_and_grad(params, prompts, loss)
        return [value, *grads]

    def forward():
        out = nlicl.forward(params, prompts)
        assert all(np.isfinite(array).all() for array in out if array is not None)
        return [out.score] if regresses else [out.score, out.preactivation]

    def definition():
        model = regression if regresses else reference
        return [np.array([model.forward(params, prompt)[0] for prompt in prompts])]

    calls = {"step": step, "forward": forward}
    return calls | {"definition": definition} if len(prompts) == 2 and hasattr(prompts, "tokens") else calls


def differences(seeds):
    """Where a way gives a wrong number at an extreme point; and how often each gives a right one, and refuses."""
    wrong, counts = [], {name: [0, 0] for name in ("step", "forward", "definition")}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        dtype, name = list(LARGE)[seed % 2], list(losses.NAMES)[seed // 2 % 3]
        for draw, of, loss in (
            (extremes.transformer, of_transformer, name),
            (extremes.regression, of_regression, None),
        ):
            params, codes = draw(rng, dtype)
            tokens = extremes.as_tokens(codes)
            many = tokens and tokens[list(range(len(tokens))) * 8]  # through other kernels than few
            for prompts in filter(None, (codes, tokens, many)):
                exact = False
                for way, call in calls_of(params, prompts, loss).items():
                    try:
                        found = call()
                    except NotFinite:
                        counts[way][1] += 1
                        continue
                    exact = right(of, params, prompts, loss) if exact is False else exact
                    if exact is None:
                        continue
                    part = slice(-len(found), None) if way == "step" else slice(len(found))
                    good = are_right(found, exact.numbers[part], exact.slack[part])
                    if not good:  # was it bad luck with the points beside it?
                        exact = right(of, params, prompts, loss, 20 * extremes.DRAWS)
                        good = are_right(found, exact.numbers[part], exact.slack[part])
                    counts[way][0] += good
                    wrong += [] if good else [(seed, way, prompts)]
    return wrong, counts


# Where kernels that let -inf pass gave wrong numbers: each way of them at some.
LOST = (200147, 200280, 200996, 201446, 201480, 201495, 203979, 203987)


@pytest.mark.skipif(not EXTENDED, reason="long double is double here: nothing knows what is right")
@pytest.mark.parametrize("n", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_extreme_points_are_refused_or_right(n):
    wrong, counts = differences([*LOST, *range(n)])
    assert not wrong
    assert min(min(each) for each in counts.values()) > n / 10, counts
