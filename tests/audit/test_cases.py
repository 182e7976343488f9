"""Verdicts in situations from public bug reports: wrong gradients that used to agree, right ones that used to disagree.

Each test is named after its situation; the comment above names the public reports that it was met in. Beside the situation
itself stand variations of it.
"""

import re
from collections import namedtuple
from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import digamma, gammaln

import nlicl

NOT_WRONG = ("agree", "undetermined")
NOT_RIGHT = ("disagree", "undetermined")


def audit(*arguments, **options):
    """The report, and with it what no report may be: an agreement of a wide tolerance."""
    report = nlicl.audit_gradient(*arguments, **options)
    if report.verdict == "agree":
        assert all(argument.tolerance <= 1e-3 for argument in report.arguments), report
        assert not any(argument.wrong for argument in report.arguments), report
    return report


def verdict(*arguments, **options):
    return audit(*arguments, **options).verdict


def words(report):
    return (report.reason + "\n" + str(report)).lower()


def says(report, pattern):
    return re.search(pattern, words(report)) is not None


def wrong_in(report):
    return [argument.name for argument in report.arguments if argument.wrong]


# ---- The loss is random, or has state


# pytorch issue 114333: dropout redraws its mask at each call
@pytest.mark.parametrize("factor", [1.0, -1.0, 3.0])
def test_a_random_loss_is_called_random(factor):
    W = np.random.default_rng(0).standard_normal((4, 5))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal(5)

        def mask(rng=rng):
            return (rng.random(4) < 0.5) / 0.5

        report = audit(
            lambda x, mask=mask: np.sum((mask() * (W @ x)) ** 2),
            lambda x, mask=mask: factor * (lambda m: W.T @ (2 * m * m * (W @ x)))(mask()),
            x,
        )
        assert report.verdict == "undetermined", report
        assert says(report, "determinis|random|same x"), report


@pytest.mark.parametrize("noise", [1e-1, 1e-3, 1e-5])
def test_a_loss_with_noise_in_it_is_not_judged_below_its_noise(noise):
    rng = np.random.default_rng(2)
    x = rng.standard_normal(6)
    loss = lambda x: np.sum(np.sin(x)) + noise * rng.standard_normal()  # noqa: E731
    for factor in (1, -1, 2):
        assert verdict(loss, lambda x, f=factor: f * np.cos(x), x) == "undetermined"


def test_a_loss_that_is_random_once_in_a_while_never_agrees_with_a_wrong_gradient():
    rng = np.random.default_rng(3)
    loss = lambda x: np.sum(x**2) + (rng.random() < 0.05)  # noqa: E731
    for seed in range(10):
        assert verdict(loss, lambda x: 3 * x, np.arange(1.0, 6.0), seed=seed) in NOT_RIGHT


def test_a_loss_that_takes_its_next_batch_at_each_call_is_not_judged():
    rng = np.random.default_rng(4)
    batches, calls = rng.standard_normal((50, 8, 3)), [0]

    def loss(w):
        calls[0] += 1
        return np.mean((batches[calls[0] % 50] @ w) ** 2)

    report = audit(loss, lambda w: 2 * batches[0].T @ (batches[0] @ w) / 8, np.ones(3))
    assert report.verdict == "undetermined" and says(report, "determinis|random|same x"), report


def test_a_loss_that_seeds_itself_is_judged():
    def mask():
        return np.random.default_rng(7).random(4) < 0.5

    W, x = np.random.default_rng(0).standard_normal((4, 5)), np.ones(5)
    loss = lambda x: np.sum((mask() * (W @ x)) ** 2)  # noqa: E731
    gradient = lambda x: 2 * W.T @ (mask() * (W @ x))  # noqa: E731
    assert verdict(loss, gradient, x) == "agree"
    assert verdict(loss, lambda x: 2 * gradient(x), x) == "disagree"


# PABannier/nanograd issue 2, mlpack issue 1923: forward stores, backward uses
class Net:
    W = np.random.default_rng(0).standard_normal((4, 5))

    def loss(self, x):
        self.h = np.tanh(self.W @ x)
        return np.sum(self.h**2)

    def grad(self, x):
        return self.W.T @ (2 * self.h * (1 - self.h**2))

    def hessian_vector(self, x, v):
        h = np.tanh(self.W @ x)
        return self.W.T @ ((2 * (1 - h**2) ** 2 - 4 * h * h * (1 - h**2)) * (self.W @ v))


def test_a_class_that_stores_its_activations_agrees():
    net, x = Net(), np.random.default_rng(1).standard_normal(5)
    assert verdict(net.loss, net.grad, x) == "agree"
    assert verdict(net.loss, net.grad, x, hessian_vector=net.hessian_vector) == "agree"
    assert verdict(net.loss, lambda x: 1.01 * net.grad(x), x) == "disagree"
    assert verdict(net.loss, net.grad, x, hessian_vector=lambda x, v: 2 * net.hessian_vector(x, v)) == "disagree"


def test_a_memoised_loss_agrees():
    known = {}

    def loss(x):
        key = np.asarray(x).tobytes()
        if key not in known:
            known[key] = np.sum(np.cosh(np.asarray(x)))
        return known[key]

    x = np.random.default_rng(1).standard_normal(4)
    assert verdict(loss, np.sinh, x) == "agree"
    assert verdict(loss, np.cosh, x) == "disagree"


# micrograd issue 53, pytorch issue 56202: gradients pile up
@pytest.mark.parametrize("copies", [False, True])
def test_a_gradient_that_piles_up_is_called_so(copies):
    rng = np.random.default_rng(0)
    W, x, total = rng.standard_normal((4, 5)), rng.standard_normal(5), np.zeros(5)

    def backward(x):
        nonlocal total
        total += 2 * W.T @ (W @ x)
        return total.copy() if copies else total

    report = audit(lambda x: np.sum((W @ x) ** 2), backward, x)
    assert report.verdict == "undetermined" and says(report, "same x|adds up|call to call|twice|not the same"), report
    assert "kink" not in report.reason


def test_a_gradient_that_is_random_in_its_third_digit_is_called_so():
    rng = np.random.default_rng(0)
    W, x = rng.standard_normal((4, 5)), rng.standard_normal(5)
    for size in (1e-2, 1e-4):
        gradient = lambda x, s=size: 2 * W.T @ (W @ x) * (1 + s * rng.standard_normal(5))  # noqa: E731
        report = audit(lambda x: np.sum((W @ x) ** 2), gradient, x)
        assert report.verdict == "undetermined" and says(report, "same x|call to call|not the same|random"), report


def test_a_gradient_in_a_buffer_of_its_own_agrees():
    """The same buffer at each call, cleared: not piled up, and not to be confused with the values of another call."""
    buffer, x = np.zeros(6), np.random.default_rng(1).standard_normal(6)

    def gradient(x):
        buffer[:] = np.cos(x)
        return buffer

    assert verdict(lambda x: np.sum(np.sin(x)), gradient, x) == "agree"

    def doubled(x):
        buffer[:] = 2 * np.cos(x)
        return buffer

    assert verdict(lambda x: np.sum(np.sin(x)), doubled, x) == "disagree"


# ---- Functions that alter their arguments

P = namedtuple("P", "w b")


def forms(w, b):
    """The same two arrays as a named tuple, a tuple, and a list; with a function that brings them back to P."""
    return {"named": (P(w, b), lambda p: p), "tuple": ((w, b), P), "list": ([w, b], P)}


# scipy issue 19463, gonum/diff issue 24: functions that alter their input
@pytest.mark.parametrize("form", ["named", "tuple", "list"])
def test_a_loss_that_works_in_place_leaves_the_audits_arrays_alone(form):
    x, pack = forms(np.random.default_rng(0).standard_normal(5), np.array([0.3]))[form]

    def relu(*p):
        w, b = pack(*p)
        w[w.real < 0] = 0
        return np.sum(w**2) + b[0] ** 2

    def shifted(*p):
        w, b = pack(*p)
        w -= 1
        return np.sum(w**2) + b[0] ** 2

    def gradient(by):
        def of(*p):
            w, b = pack(*p)
            return P(by(w), 2 * b) if form == "named" else (by(w), 2 * b)

        return of

    before = [array.copy() for array in x]
    assert verdict(relu, gradient(lambda w: 2 * w), x) == "disagree"
    assert verdict(relu, gradient(lambda w: 2 * w * (w > 0)), x) == "agree"
    report = audit(shifted, gradient(lambda w: 2 * (w - 1)), x)
    assert report.verdict == "agree" and says(report, "in place|alter|chang"), report
    assert verdict(shifted, gradient(lambda w: 2 * w), x) == "disagree"
    assert all(np.array_equal(a, b) for a, b in zip(before, x, strict=True))


def test_a_gradient_that_works_in_place_leaves_the_audits_arrays_alone():
    x = np.random.default_rng(0).standard_normal((3, 2))
    before = x.copy()

    def gradient(x, factor=1.0):
        x *= 2 * factor
        return x

    assert verdict(lambda x: np.sum(x**2), gradient, x) == "agree"
    assert verdict(lambda x: np.sum(x**2), lambda x: gradient(x, 0.5), x) == "disagree"
    assert verdict(lambda p: np.sum(p["x"] ** 2), lambda p: {"x": gradient(p["x"])}, {"x": x}) == "agree"
    assert np.array_equal(x, before)


def test_arrays_that_the_loss_closes_over_stay_the_callers():
    """The loss reads the caller's own array, which the audit never moves: it does not depend on its argument."""
    x = np.random.default_rng(0).standard_normal(4)
    report = audit(lambda w: np.sum(x**2), lambda w: 2 * w, x)
    assert report.verdict == "disagree" and says(report, "does not depend"), report


def test_softmax_in_place_in_a_named_tuple():
    class Q(NamedTuple):
        W: np.ndarray
        s: np.ndarray

    def loss(p):
        s = p.s
        s -= s.max()
        return np.log(np.exp(s).sum()) + (p.W**2).sum()

    rng = np.random.default_rng(0)
    p = Q(rng.standard_normal((4, 3)), rng.standard_normal(4))
    before = p.s.copy()
    softmax = lambda s: np.exp(s - s.max()) / np.exp(s - s.max()).sum()  # noqa: E731
    top = lambda s: np.eye(len(s))[np.argmax(s)]  # noqa: E731
    assert verdict(loss, lambda p: Q(2 * p.W, 0 * p.s), p) == "disagree"
    assert verdict(loss, lambda p: Q(2 * p.W, softmax(p.s)), p) == "disagree"
    assert verdict(loss, lambda p: Q(2 * p.W, softmax(p.s) - top(p.s)), p) == "agree"
    assert np.array_equal(p.s, before)


# ---- NaN, and arguments that the loss does not use


# OpenMDAO pull 997: a checker that let NaN pass
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_number_is_never_right(bad):
    rng = np.random.default_rng(0)
    X, y, w, b = rng.standard_normal((20, 3)), rng.standard_normal(20), rng.standard_normal(3), np.array([0.7])
    unused = lambda w, b: 0.5 * np.mean((X @ w - y) ** 2)  # noqa: E731
    by_w = lambda w: X.T @ (X @ w - y) / 20  # noqa: E731
    report = audit(unused, lambda w, b: (by_w(w), np.array([bad])), (w, b), names=("w", "b"))
    assert report.verdict == "disagree" and wrong_in(report) == ["b"], report

    def one(w, b):
        g = by_w(w)
        g[1] = bad
        return g, 0 * b

    report = audit(unused, one, (w, b), names=("w", "b"))
    assert report.verdict == "disagree" and wrong_in(report) == ["w"] and report.arguments[0].worst["index"] == [1]
    assert verdict(lambda w: np.abs(w).sum(), lambda w: bad * w, w) == "disagree"
    assert verdict(lambda w: float(np.sum(np.float32(w.real) ** 2)), lambda w: bad * w, w) == "disagree"
    assert verdict(lambda w: np.maximum(w, 0).sum(), lambda w: np.array([bad, 0, 0]), 0 * w) in NOT_RIGHT


def test_no_number_in_one_entry_of_many_is_found():
    x = np.random.default_rng(0).standard_normal(3000)

    def gradient(x):
        g = np.cos(x)
        g[2345] = np.nan
        return g

    report = audit(lambda x: np.sum(np.sin(x)), gradient, x, entries=5)
    assert report.verdict == "disagree" and report.arguments[0].worst["index"] == [2345], report


# OpenMDAO-Framework pull 1536: a bias forgotten in the forward pass
@pytest.mark.parametrize("kink", [True, False])
@pytest.mark.parametrize("claim", [1e9, 1.0, 1e-3])
def test_a_claim_about_an_argument_that_the_loss_does_not_use(kink, claim):
    rng = np.random.default_rng(0)
    x0, W = rng.standard_normal(3), rng.standard_normal((4, 3))
    W[0] *= not kink
    report = audit(
        lambda W, b: np.maximum(W @ x0, 0).sum(),
        lambda W, b: (np.outer(W @ x0 > 0, x0), claim * np.ones(4)),
        (W, np.zeros(4)),
        names=("W", "b"),
    )
    assert report.verdict == "disagree" and wrong_in(report) == ["b"] and report.arguments[1].wrong == 4, report
    assert (report.arguments[1].worst["given"], report.arguments[1].worst["expected"]) == (claim, 0), report
    assert says(report, "does not depend on b"), report


def test_an_argument_that_the_loss_does_not_use_has_gradient_zero():
    rng = np.random.default_rng(0)
    W, b = rng.standard_normal((4, 3)), rng.standard_normal(4)
    for loss, by in ((np.sin, np.cos), (np.abs, np.sign)):
        report = audit(lambda W, b, f=loss: f(W).sum(), lambda W, b, g=by: (g(W), 0 * b), (W, b), names="Wb")
        assert report.verdict == "agree", report


def test_an_argument_used_only_by_its_shape_or_sign_has_gradient_zero():
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal(4), rng.standard_normal(3)
    loss = lambda w, b: np.sum(w**2) * len(b) + np.sum(np.sign(b))  # noqa: E731
    assert verdict(loss, lambda w, b: (6 * w, 0 * b), (w, b)) == "agree"
    assert verdict(loss, lambda w, b: (6 * w, 1e-3 * b), (w, b)) == "disagree"


# jax-gcm pull 847: fields of 1e-18; scipy pull 18811: steps that leave the domain
@pytest.mark.parametrize("size", [1e-12, 1e-18, 1e-3, 1e6])
def test_a_logarithm_of_small_numbers(size):
    x = size * np.array([1.0, 2.0, 0.5])
    with np.errstate(all="ignore"):
        for loss in (lambda x: np.log(x).sum(), lambda x: float(np.log(np.real(x)).sum())):
            assert verdict(loss, lambda x: 1 / x, x) == "agree"
            for factor in (3, 1.001):
                assert verdict(loss, lambda x, f=factor: f / x, x) == "disagree"


def test_a_square_root_near_zero():
    x = np.array([1e-10, 1e-4, 1.0])
    with np.errstate(all="ignore"):
        assert verdict(lambda x: np.sqrt(x).sum(), lambda x: 0.5 / np.sqrt(x), x) == "agree"
        assert verdict(lambda x: np.sqrt(x).sum(), lambda x: 1 / np.sqrt(x), x) == "disagree"


# ---- Buffers of an argument's dtype


@pytest.mark.parametrize("make", ["zeros_like", "empty", "zeros of float", "list"])
def test_a_loss_that_fills_a_buffer(make):
    rng = np.random.default_rng(0)
    W, b, x = rng.standard_normal((4, 3)), rng.standard_normal(4), rng.standard_normal(3)
    buffers = {
        "zeros_like": lambda W, b: np.zeros_like(b),
        "empty": lambda W, b: np.empty(4, dtype=W.dtype),
        "zeros of float": lambda W, b: np.zeros(4),
        "list": lambda W, b: [0.0] * 4,
    }

    def loss(W, b):
        u = buffers[make](W, b)
        for i in range(4):
            u[i] = W[i] @ x + b[i]
        return np.sum(np.tanh(u))

    def gradient(W, b, wrong=1.0, part=0):
        g = 1 - np.tanh(W @ x + b) ** 2
        parts = [np.outer(g, x), g]
        parts[part] = wrong * parts[part]
        return tuple(parts)

    assert verdict(loss, gradient, (W, b), names="Wb") == "agree"
    for part in (0, 1):
        for wrong in (1 + 1e-5, 2.0):
            report = audit(loss, lambda W, b, w=wrong, p=part: gradient(W, b, w, p), (W, b), names="Wb")
            assert report.verdict == "disagree" and wrong_in(report) == ["Wb"[part]], report
        close = audit(loss, lambda W, b, p=part: gradient(W, b, 1 + 1e-6, p), (W, b), names="Wb")
        assert close.verdict in NOT_RIGHT, close

    def one(W, b):
        dW, db = gradient(W, b)
        dW[2, 1] += 1e-4
        return dW, db

    report = audit(loss, one, (W, b), names="Wb")
    assert report.verdict == "disagree" and report.arguments[0].worst["index"] == [2, 1], report


def test_a_buffer_filled_in_place_by_rows():
    rng = np.random.default_rng(0)
    W, b, x = rng.standard_normal((4, 3)), rng.standard_normal(4), rng.standard_normal(3)

    def loss(W, b):
        h = np.empty(4, dtype=W.dtype)
        h[:] = W @ x
        h += b
        return np.tanh(h).sum()

    def gradient(W, b, wrong=1.0):
        g = 1 - np.tanh(W @ x + b) ** 2
        return np.outer(g, x), g * wrong

    assert verdict(loss, gradient, (W, b)) == "agree"
    assert verdict(loss, lambda W, b: gradient(W, b, 1 + 1e-6), (W, b)) in NOT_RIGHT
    assert verdict(loss, lambda W, b: gradient(W, b, 1 + 1e-4), (W, b)) == "disagree"


def test_a_kink_elsewhere_does_not_excuse_a_factor_of_two():
    rng = np.random.default_rng(0)
    W, b, x = rng.standard_normal((4, 3)), rng.standard_normal(4), rng.standard_normal(3)

    def loss(W, b, c):
        u = np.zeros_like(b)
        for i in range(4):
            u[i] = W[i] @ x + b[i]
        return np.sum(np.tanh(u)) + np.sum(np.maximum(c, 0))

    def gradient(W, b, c, wrong=2.0):
        g = 1 - np.tanh(W @ x + b) ** 2
        return wrong * np.outer(g, x), g, 1.0 * (c > 0)

    at = (W, b, np.array([0.0, 1.0]))
    report = audit(loss, gradient, at, names="Wbc")
    assert report.verdict == "disagree" and wrong_in(report) == ["W"] and not report, report
    assert verdict(loss, lambda *p: gradient(*p, wrong=1), at) in NOT_WRONG


@pytest.mark.parametrize("seed", range(3))
def test_a_kink_elsewhere_does_not_hide_what_is_unchecked(seed):
    rng = np.random.default_rng(0)
    V, v = rng.standard_normal((40, 40)), rng.standard_normal(40)
    V[7] = 0
    loss = lambda V: np.maximum(V @ v, 0).sum()  # noqa: E731
    right = lambda V: np.outer(1.0 * (V @ v > 0), v)  # noqa: E731

    def row_forgotten(V):
        G = right(V)
        G[np.argwhere(V @ v > 0)[-1][0]] = 0
        return G

    def one_entry(V):
        G = right(V)
        G[3, 17] += 5
        return G

    assert verdict(loss, row_forgotten, V, seed=seed) in NOT_RIGHT
    report = audit(loss, one_entry, V, seed=seed)
    assert report.verdict in NOT_RIGHT and re.search(r"\b(500|1600)\b", words(report)), report
    assert verdict(loss, right, V, seed=seed) in NOT_WRONG


# ---- abs, norms and other functions that a complex step does not go through


def classification(n=1000):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 5))
    y = np.sign(X @ [1, -2, 0, 3, 0.5] + 0.1 * rng.standard_normal(n))
    return X, y, rng.standard_normal(5)


# OpenMDAO pull 1715, OpenMDAO1 pull 568: abs drops the imaginary part
@pytest.mark.parametrize("name", ["abs", "norm", "maximum", "squared norm", "sort"])
def test_a_small_penalty_beside_a_sum_over_data(name):
    X, y, w = classification()
    lam = 1e-6
    penalty, slope = {
        "abs": (lambda w: np.abs(w).sum(), np.sign),
        "norm": (np.linalg.norm, lambda w: w / np.linalg.norm(w)),
        "maximum": (lambda w: np.maximum(w, -w).sum(), np.sign),
        "squared norm": (lambda w: np.linalg.norm(w) ** 2 / 2, lambda w: w),
        "sort": (lambda w: np.sort(np.abs(w))[-2:].sum(), lambda w: np.sign(w) * (np.abs(w) >= np.sort(np.abs(w))[-2])),
    }[name]
    loss = lambda w: np.log1p(np.exp(-y * (X @ w))).sum() + lam * penalty(w)  # noqa: E731
    data = lambda w: -X.T @ (y / (1 + np.exp(y * (X @ w))))  # noqa: E731
    assert verdict(loss, lambda w: data(w) + lam * slope(w), w) == "agree"
    assert verdict(loss, data, w) == "disagree"
    assert verdict(loss, lambda w: data(w) + 2 * lam * slope(w), w) == "disagree"


@pytest.mark.parametrize("lam", [1e-4, 1e-5, 1e-6, 1e-7, 1e-8])
def test_a_small_penalty_beside_a_mean_over_data(lam):
    rng = np.random.default_rng(0)
    X, y, w = rng.standard_normal((50, 5)), rng.choice([-1.0, 1.0], 50), rng.standard_normal(5)
    data = lambda w: np.log1p(np.exp(-y * (X @ w))).mean()  # noqa: E731
    base = lambda w: X.T @ (-y / (1 + np.exp(y * (X @ w)))) / 50  # noqa: E731
    loss = lambda w: data(w) + lam * np.abs(w).sum()  # noqa: E731
    assert verdict(loss, lambda w: base(w) + lam * np.sign(w), w) == "agree"
    assert verdict(loss, base, w) == "disagree"
    loss = lambda w: data(w) + lam * np.linalg.norm(w) ** 2 / 2  # noqa: E731
    assert verdict(loss, lambda w: base(w) + lam * w, w) == "agree"
    assert verdict(loss, base, w) == "disagree"


def test_an_argument_that_enters_by_abs_alone():
    rng = np.random.default_rng(0)
    two = lambda a, b: 1e8 * np.sin(a).sum() + (np.abs(b) ** 3).sum()  # noqa: E731
    at = rng.standard_normal(4), rng.standard_normal(3)
    assert verdict(two, lambda a, b: (1e8 * np.cos(a), 6 * b * np.abs(b)), at) == "disagree"
    assert verdict(two, lambda a, b: (1e8 * np.cos(a), 3 * b * np.abs(b)), at) == "agree"


def test_a_clipped_probability():
    z = np.abs(np.random.default_rng(0).standard_normal(5))
    softmax = lambda z: np.exp(z) / np.exp(z).sum()  # noqa: E731
    loss = lambda z: -np.log(np.clip(softmax(z), 1e-12, 1)[2])  # noqa: E731
    assert verdict(loss, lambda z: softmax(z) - np.eye(5)[2], z) == "agree"
    assert verdict(loss, softmax, z) == "disagree"


# OpenMDAO issue 1747: arctan2 takes real numbers only
@pytest.mark.parametrize("name", ["arctan2", "hypot", "logaddexp", "float", "real", "interp"])
def test_functions_of_real_numbers_only(name):
    a, b = np.random.default_rng(0).random((2, 4)) + 0.5
    knots = np.linspace(0, 2, 5)
    loss, gradient = {
        "arctan2": (lambda a, b: np.arctan2(a, b).sum(), lambda a, b: (b / (a * a + b * b), -a / (a * a + b * b))),
        "hypot": (lambda a, b: np.hypot(a, b).sum(), lambda a, b: (a / np.hypot(a, b), b / np.hypot(a, b))),
        "logaddexp": (
            lambda a, b: np.logaddexp(a, b).sum(),
            lambda a, b: (1 / (1 + np.exp(b - a)), 1 / (1 + np.exp(a - b))),
        ),
        "float": (lambda a, b: sum(float(u) * float(v) for u, v in zip(a, b, strict=True)), lambda a, b: (b, a)),
        "real": (lambda a, b: np.sum(np.real(a) * np.real(b) ** 2), lambda a, b: (b**2, 2 * a * b)),
        "interp": (lambda a, b: np.sum(np.interp(a, knots, knots) * b), lambda a, b: (b, a)),
    }[name]
    assert verdict(loss, gradient, (a, b)) == "agree"
    for factor in (2.0, 1.001):
        assert verdict(loss, lambda a, b, f=factor: (f * gradient(a, b)[0], gradient(a, b)[1]), (a, b)) == "disagree"
        assert verdict(loss, lambda a, b, f=factor: (gradient(a, b)[0], f * gradient(a, b)[1]), (a, b)) == "disagree"


def test_part_of_the_loss_computed_on_the_real_part():
    """A share of the derivative is lost in silence: the rest of it looks right."""
    x = np.random.default_rng(0).standard_normal(5)
    for share in (1.0, 1e-3, 1e-6):
        loss = lambda x, s=share: np.sum(np.sin(x)) + s * np.sum(np.real(x) ** 2)  # noqa: E731
        assert verdict(loss, lambda x, s=share: np.cos(x) + 2 * s * x, x) == "agree"
        assert verdict(loss, np.cos, x) in (("disagree",) if share > 1e-6 else NOT_RIGHT)


# ---- Scales


# scikit-learn pull 25353: relative errors mean nothing where the gradient is about zero
@pytest.mark.parametrize("factor", [1, 2, -1])
def test_at_a_minimum_nothing_is_judged(factor):
    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((30, 5)), rng.standard_normal(30)
    x = np.linalg.lstsq(A, b, rcond=None)[0]
    report = audit(lambda x: 0.5 * np.sum((A @ x - b) ** 2), lambda x: factor * (A.T @ (A @ x - b)), x, points=[])
    assert report.verdict == "undetermined" and says(report, "rounding|minimum|another x"), report
    nearby = verdict(lambda x: 0.5 * np.sum((A @ x - b) ** 2), lambda x: factor * (A.T @ (A @ x - b)), x)
    assert nearby in (NOT_WRONG if factor == 1 else NOT_RIGHT)


def test_at_an_exact_minimum():
    x = np.zeros(4)
    assert verdict(lambda x: np.sum(x**2), lambda x: 2 * x, x) in NOT_WRONG
    assert verdict(lambda x: np.sum(x**2), lambda x: -3 * x, x) in NOT_RIGHT
    assert verdict(lambda x: np.sum(x**2), lambda x: 2 * x + 1, x) == "disagree"


# stan-dev/math issue 1578: negative binomial, alpha 1e10
def test_small_entries_beside_a_huge_one():
    n = 3

    def nll(t):
        a, b = t
        return -(gammaln(n + a) - gammaln(a) + a * np.log(b / (1 + b)) - n * np.log1p(b))

    def gradient(t, off=0.0):
        a, b = t
        return np.array([
            -(digamma(n + a) - digamma(a) + np.log(b / (1 + b)) + off), -(a / (b * (1 + b)) - n / (1 + b))
        ])  # fmt: skip

    x = np.array([1e10, 0.8])
    assert verdict(nll, lambda t: gradient(t, 0.44), x) in NOT_RIGHT
    assert verdict(nll, gradient, x) in NOT_WRONG


@pytest.mark.parametrize("real_only", [False, True])
def test_entries_of_many_scales_in_one_vector(real_only):
    f = lambda t: 1e9 * np.sin(t[0]) + np.sum(np.sin(t[1:]))  # noqa: E731
    loss = (lambda t: float(f(np.real(t)))) if real_only else f
    gradient = lambda t, c: np.concatenate([[1e9 * np.cos(t[0])], c * np.cos(t[1:])])  # noqa: E731
    x = np.array([0.3, 0.5, 1.0])
    assert verdict(loss, lambda t: gradient(t, 2), x) in (NOT_RIGHT if real_only else ("disagree",))
    assert verdict(loss, lambda t: gradient(t, 1), x) in (NOT_WRONG if real_only else ("agree",))
    split = lambda c: lambda a, b: np.split(gradient(np.append(a, b), c), [1])  # noqa: E731
    separate = lambda a, b: loss(np.concatenate([a, b]))  # noqa: E731
    assert verdict(separate, split(2), (x[:1], x[1:])) in NOT_RIGHT
    assert verdict(separate, split(1), (x[:1], x[1:])) in NOT_WRONG


def test_entries_over_twenty_orders_of_magnitude():
    c = 10.0 ** np.arange(-10, 11, 2)
    x = np.random.default_rng(0).random(11) + 0.5
    loss = lambda x: np.sum(c * np.exp(x))  # noqa: E731
    assert verdict(loss, lambda x: c * np.exp(x), x) == "agree"
    for k in (0, 5, 10):
        off = np.where(np.arange(11) == k, 1.01, 1)
        report = audit(loss, lambda x, off=off: off * c * np.exp(x), x)
        assert report.verdict == "disagree" and report.arguments[0].worst["index"] == [k], report


# jax-gcm pull 847, scipy issue 18161: absolute steps on small scales
SMALL = {
    "x/(x+k)": (
        lambda x: np.sum(x / (x + 1e-8)),
        lambda x: 1e-8 / (x + 1e-8) ** 2,
        1e-8 * np.array([1.0, 2.0, 0.5]),
    ),
    "kernel": (
        lambda x: np.exp(-np.sum((x - np.array([1e-4, 0])) ** 2) / 2e-8),
        lambda x: -np.exp(-np.sum((x - [1e-4, 0]) ** 2) / 2e-8) * (x - [1e-4, 0]) / 1e-8,
        np.array([2e-4, 1e-5]),
    ),
    "steep sigmoid": (
        lambda x: np.sum(1 / (1 + np.exp(-1e6 * x))),
        lambda x: (lambda s: 1e6 * s * (1 - s))(1 / (1 + np.exp(-1e6 * x))),
        np.array([1e-6, -2e-6]),
    ),
    "sin(1e4 x), real only": (
        lambda x: float(np.sin(1e4 * np.real(x)).sum()),
        lambda x: 1e4 * np.cos(1e4 * x),
        np.array([0.1, 0.3]),
    ),
    "tiny x, real only": (
        lambda x: float(np.sum(np.real(x) ** 2)),
        lambda x: 2 * x,
        1e-9 * np.array([1.0, -2.0, 0.3]),
    ),
    "huge x": (lambda x: np.sum(np.log1p(x)), lambda x: 1 / (1 + x), 1e15 * np.array([1.0, 2.0])),
    "tiny loss": (lambda x: 1e-200 * np.sum(np.sin(x)), lambda x: 1e-200 * np.cos(x), np.array([0.3, 1.0])),
    "huge loss": (lambda x: 1e200 * np.sum(np.sin(x)), lambda x: 1e200 * np.cos(x), np.array([0.3, 1.0])),
}


@pytest.mark.parametrize("name", SMALL)
def test_smooth_functions_on_scales_of_their_own(name):
    loss, gradient, x = SMALL[name]
    assert verdict(loss, gradient, x) == "agree"
    assert verdict(loss, lambda x: 2 * gradient(x), x) == "disagree"
    assert verdict(loss, lambda x: 1.001 * gradient(x), x) == "disagree"


def test_two_arguments_on_scales_of_their_own():
    loss = lambda a, b: np.cos(1e-6 * a).sum() + np.sin(1e6 * b).sum()  # noqa: E731
    gradient = lambda a, b: (-1e-6 * np.sin(1e-6 * a), 1e6 * np.cos(1e6 * b))  # noqa: E731
    at = (1e6 * np.array([1.0, -0.5]), 1e-6 * np.array([0.3, 1.2, -0.7]))
    assert verdict(loss, gradient, at) == "agree"
    assert verdict(loss, lambda a, b: (2 * gradient(a, b)[0], gradient(a, b)[1]), at) == "disagree"


# scipy pull 18811, elfi pull 177: steps that leave the domain
def test_near_the_edge_of_the_domain():
    with np.errstate(all="ignore"):
        x = np.array([1.0, 0.3, 1e-6])
        assert verdict(lambda x: np.log(x).sum(), lambda x: 1 / x, x) == "agree"
        assert verdict(lambda x: np.log(x).sum(), lambda x: 2 / x, x) == "disagree"
        barrier = lambda x: -np.log(1 - x).sum() - np.log(x).sum()  # noqa: E731
        x = np.array([0.5, 1 - 1e-10])
        assert verdict(barrier, lambda x: 1 / (1 - x) - 1 / x, x) == "agree"
        assert verdict(barrier, lambda x: 1 / (1 - x) + 1 / x, x) == "disagree"


def test_warnings_out_of_the_domain_are_no_errors():
    """Warnings are errors here, as in many test suites; that the audit leaves the domain is not the caller's fault."""
    x = np.array([1.0, 0.3, 1e-6])
    assert verdict(lambda x: np.log(x).sum(), lambda x: 1 / x, x) == "agree"
    assert verdict(lambda x: float(np.log(np.real(x)).sum()), lambda x: 1 / x, x) == "agree"
    assert verdict(lambda x: float(np.sqrt(np.real(x)).sum()), lambda x: 1 / np.sqrt(x), x) == "disagree"


@pytest.mark.parametrize("radius", [1e-1, 1e-3, 1e-6])
@pytest.mark.parametrize("error", [ValueError, FloatingPointError, AssertionError])
def test_a_loss_that_raises_out_of_its_domain(radius, error):
    x0 = np.array([1.0, 2.0])

    def guarded(x):
        if np.any(abs(x - x0) > radius):
            raise error("out of domain")
        return np.sum(x**2)

    assert verdict(guarded, lambda x: 2 * x, x0) == "agree"
    assert verdict(guarded, lambda x: 3 * x, x0) == "disagree"


def test_a_loss_on_the_simplex():
    """Weights that must sum to one, checked with a tolerance: steps along one entry leave it."""
    p = np.array([0.2, 0.3, 0.5])

    def entropy(p):
        if abs(p.sum() - 1) > 1e-6:
            raise ValueError("not a distribution")
        return np.sum(p * np.log(p))

    assert verdict(entropy, lambda p: np.log(p) + 1, p) in NOT_WRONG
    assert verdict(entropy, lambda p: np.log(p) - 1, p) in NOT_RIGHT


# ---- Rounding and noise


# scikit-learn pull 31543: the likelihood of a Gaussian process with little noise
@pytest.mark.parametrize("noise", [1e-2, 1e-4, 1e-6, 1e-8])
def test_an_ill_conditioned_likelihood(noise):
    rng = np.random.default_rng(0)
    X = np.sort(rng.random((40, 1)) * 3, axis=0)
    y, D = np.sin(3 * X[:, 0]), (X - X.T) ** 2
    K = lambda t: np.exp(2 * t[1]) * np.exp(-0.5 * D / np.exp(2 * t[0]))  # noqa: E731

    def loss(t):
        L = np.linalg.cholesky(K(t) + noise * np.eye(40))
        a = np.linalg.solve(L, y)
        return 0.5 * a @ a + np.log(np.diag(L)).sum()

    def gradient(t):
        k = K(t)
        inverse = np.linalg.inv(k + noise * np.eye(40))
        a = inverse @ y
        return np.array([0.5 * np.sum((inverse - np.outer(a, a)) * d) for d in (k * D / np.exp(2 * t[0]), 2 * k)])

    t = np.array([np.log(0.5), 0.2])
    assert verdict(loss, gradient, t) in (("agree",) if noise > 1e-7 else NOT_WRONG)
    assert verdict(loss, lambda t: 2 * gradient(t), t) == "disagree"


# scipy pull 3945, nlopt issue 328, scikit-learn issue 28046
def log_sum_exp(z):
    return np.log(np.exp(z - z.real.max()).sum()) + z.real.max()


ROUNDED = {
    "times near 2024": (
        lambda t: float(np.sin(2 * np.pi * np.real(t)).sum()),
        lambda t: 2 * np.pi * np.cos(2 * np.pi * t),
        np.array([2024.1, 2024.3]),
    ),
    "x near 1e8": (
        lambda x: float(np.sum((np.real(x) - 1e8) ** 2)),
        lambda x: 2 * (x - 1e8),
        np.array([1e8 + 1, 1e8 - 2]),
    ),
    "saturated softmax": (
        lambda z: log_sum_exp(z) - z[0],
        lambda z: np.exp(z - log_sum_exp(z)) - np.eye(4)[0],
        np.array([50.0, 0, -50, 3]),
    ),
    "rounded to 12 digits": (
        lambda x: round(float(np.sum(np.sin(np.real(x)))), 12),
        np.cos,
        np.array([0.3, -1.0, 2.0]),
    ),
    "a constant of 1e6": (lambda x: float(np.sum(np.sin(np.real(x)))) + 1e6, np.cos, np.array([0.3, -1.0, 2.0])),
    "float32 inside": (
        lambda x: float(np.sum(np.sin(np.real(x).astype(np.float32)))),
        np.cos,
        np.array([0.3, -1.0, 2.0]),
    ),
    "a difference of large sums": (
        lambda x: 1e5 * float(np.sum(np.exp(np.real(x)))) - (1e5 - 1) * float(np.sum(np.exp(np.real(x)))),
        np.exp,
        np.array([0.3, -1.0, 2.0]),
    ),
}


@pytest.mark.parametrize("name", ROUNDED)
def test_rounding_in_the_loss_is_measured(name):
    loss, gradient, x = ROUNDED[name]
    report = audit(loss, gradient, x)
    assert report.verdict in NOT_WRONG, report
    assert report or says(report, "rounding|noise|digits|smooth|float32"), report
    assert verdict(loss, lambda x: 1.5 * gradient(x), x) in NOT_RIGHT
    assert verdict(loss, lambda x: -gradient(x), x) in NOT_RIGHT


def test_noise_of_a_trillionth_in_the_loss():
    rng = np.random.default_rng(3)
    A, x = rng.standard_normal((4, 5)), rng.standard_normal(5)
    loss = lambda x: np.sum((A @ x) ** 2) + 1e-12 * rng.standard_normal()  # noqa: E731
    assert verdict(loss, lambda x: 2 * A.T @ (A @ x), x) in NOT_WRONG
    assert verdict(loss, lambda x: A.T @ (A @ x), x) in NOT_RIGHT


# ott issue 7, POT pull 605: implicit gradients, an inner solver that has not converged
@pytest.mark.parametrize("tol", [1e-14, 1e-9, 1e-6])
def test_an_inner_solver(tol):
    A = np.random.default_rng(0).standard_normal((4, 4)) * 0.2
    b = np.random.default_rng(1).standard_normal(4)

    def fixed_point(b, tol):
        u = np.zeros(4, b.dtype)
        while True:
            new = np.tanh(A @ u + b)
            if abs(new - u).max() < tol:
                return new
            u = new

    def gradient(b):
        u = fixed_point(b, 1e-14)
        d = 1 - u**2
        return np.linalg.solve((np.eye(4) - d[:, None] * A).T, 2 * u) * d

    loss = lambda b: np.sum(fixed_point(b, tol) ** 2)  # noqa: E731
    report = audit(loss, gradient, b)
    assert report.verdict in (("agree",) if tol == 1e-14 else NOT_WRONG), report
    assert report or says(report, "digits"), report
    assert verdict(loss, gradient, b, tolerance=1e-3) == "agree"
    assert verdict(loss, lambda b: 1.1 * gradient(b), b) == "disagree"
    assert verdict(loss, lambda b: 1.1 * gradient(b), b, tolerance=1e-3) == "disagree"


# Mnemosyne pulls 730, 310: the plain sum of a normalised output
def test_gradients_that_are_zero_by_construction():
    rng = np.random.default_rng(0)
    X, g = rng.standard_normal((6, 3)), 1.5 * np.ones(3)

    def norm(X, g):
        c = X - X.mean(0)
        return np.sum(g * c / np.sqrt((c * c).mean(0)))

    def gradient(X, g):
        s = 1 / X.std(0)
        h, dy = (X - X.mean(0)) * s, np.ones_like(X) * g
        return s * (dy - dy.mean(0) - h * (dy * h).mean(0)), h.sum(0)

    report = audit(norm, gradient, (X, g), names=("X", "gamma"))
    assert report.verdict == "undetermined" and says(report, "zero"), report

    def softmax_sum(z):
        return np.sum(np.exp(z) / np.exp(z).sum())

    def softmax_gradient(z):
        p = np.exp(z) / np.exp(z).sum()
        return p * (1 - p.sum())

    report = audit(softmax_sum, softmax_gradient, rng.standard_normal(5))
    assert report.verdict == "undetermined" and says(report, "zero"), report
    assert verdict(softmax_sum, lambda z: np.exp(z) / np.exp(z).sum(), rng.standard_normal(5)) == "disagree"


def test_one_argument_of_two_has_a_gradient_that_is_zero_by_construction():
    """A constant added to scores does not change their softmax: the bias's gradient is rounding, the weights' is not."""
    rng = np.random.default_rng(0)
    X, w, b, v = rng.standard_normal((6, 3)), rng.standard_normal(3), np.array([0.4]), rng.standard_normal(6)

    def loss(w, b):
        z = X @ w + b
        return v @ (np.exp(z) / np.exp(z).sum())

    def gradient(w, b):
        z = X @ w + b
        p = np.exp(z) / np.exp(z).sum()
        d = p * (v - p @ v)
        return X.T @ d, d.sum(keepdims=True)

    assert verdict(loss, gradient, (w, b)) in NOT_WRONG
    assert verdict(loss, lambda w, b: (gradient(w, b)[0], b), (w, b)) == "disagree"
    assert verdict(loss, lambda w, b: (2 * gradient(w, b)[0], 0 * b), (w, b)) == "disagree"


# ---- Float32


# pytorch issue 5351, jax pull 39821: models in float32
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [10, 200])
def test_a_loss_in_float32(dtype, n):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((n, 5)).astype(np.float32), rng.standard_normal(n).astype(np.float32)

    def loss(w):
        r = X @ w.astype(np.float32) - y
        return 0.5 * np.sum(r * r)

    gradient = lambda w: X.T @ (X @ w.astype(np.float32) - y)  # noqa: E731
    for seed in range(5):
        w = np.random.default_rng(seed).standard_normal(5).astype(dtype)
        report = audit(loss, gradient, w)
        assert report.verdict in NOT_WRONG and not any(a.kinks for a in report.arguments), report
        assert report or says(report, "float32|digits"), report
        for factor in (2, -1, 0.5):
            assert verdict(loss, lambda w, f=factor: f * gradient(w), w) in NOT_RIGHT


def test_half_precision_is_not_called_wrong():
    x = np.random.default_rng(0).standard_normal(5)
    loss = lambda x: np.sum(np.real(x).astype(np.float16) ** 2)  # noqa: E731
    assert verdict(loss, lambda x: 2 * x, x) in NOT_WRONG
    assert verdict(loss, lambda x: -2 * x, x) in NOT_RIGHT


# candle pull 1160: GELU's derivative by constants of six digits
def test_a_gradient_that_was_rounded_to_float32():
    rng = np.random.default_rng(0)
    A, x = rng.standard_normal((20, 5)), rng.standard_normal(5)
    loss = lambda x: 0.5 * np.sum((A @ x) ** 2)  # noqa: E731
    assert verdict(loss, lambda x: (A.T @ (A @ x)).astype(np.float32), x) == "agree"
    assert verdict(loss, lambda x: (1.01 * (A.T @ (A @ x))).astype(np.float32), x) == "disagree"


def test_constants_of_six_digits():
    x = np.random.default_rng(0).standard_normal(5)
    gelu = lambda x: np.sum(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))  # noqa: E731

    def rounded(x):
        t = np.tanh(0.797885 * x + 0.0356774 * x**3)
        return 0.5 + (0.398942 * x + 0.0535161 * x**3) * (1 - t**2) + 0.5 * t

    report = audit(gelu, rounded, x)
    assert report.verdict == "disagree" and says(report, r"\b[5-7] digits"), report
    assert verdict(gelu, rounded, x, tolerance=1e-5) == "agree"
    assert verdict(gelu, lambda x: 1.001 * rounded(x), x, tolerance=1e-5) == "disagree"
    assert verdict(gelu, lambda x: 2 * rounded(x), x, tolerance=1e-5) == "disagree"


@pytest.mark.parametrize("tolerance", [-1e-3, 0.1, 2, np.nan, "small"])
def test_no_tolerance_is_wider_than_a_thousandth(tolerance):
    try:
        report = nlicl.audit_gradient(np.sum, lambda x: 1.05 + 0 * x, np.ones(3), tolerance=tolerance)
    except (ValueError, TypeError) as error:
        assert "tolerance" in str(error)
    else:
        assert report.verdict != "agree"


# ---- Kinks


# HomericIntelligence/Odyssey pull 2077, pytorch issue 114234: ReLU layers that start at zero
@pytest.mark.parametrize("at_zero", [np.greater, np.greater_equal])
def test_several_samples_on_one_kink(at_zero):
    X, d = np.array([[1.0, 0.5], [-1.0, 0.3]]), np.array([-1.0, 2.0])
    loss = lambda w: d @ np.maximum(X @ w, 0)  # noqa: E731
    report = audit(loss, lambda w: X.T @ (d * at_zero(X @ w, 0)), np.zeros(2), points=[])
    assert report.verdict == "undetermined" and says(report, "kink"), report
    assert verdict(loss, lambda w: X.T @ (d * at_zero(X @ w, 0)), np.zeros(2)) in NOT_WRONG


@pytest.mark.parametrize("seed", range(3))
def test_a_net_whose_first_layer_starts_at_zero(seed):
    rng = np.random.default_rng(seed)
    X, y, v = rng.standard_normal((20, 3)), rng.standard_normal(20), rng.standard_normal(4)

    def loss(W, b, v):
        return 0.5 * np.mean((np.maximum(X @ W.T + b, 0) @ v - y) ** 2)

    def gradient(W, b, v):
        u = X @ W.T + b
        e = (np.maximum(u, 0) @ v - y) / 20
        d = np.outer(e, v) * (u > 0)
        return d.T @ X, d.sum(0), np.maximum(u, 0).T @ e

    zero = (np.zeros((4, 3)), np.zeros(4), v)
    assert verdict(loss, gradient, zero) in NOT_WRONG
    W = rng.standard_normal((4, 3))
    W[2] = 0
    assert verdict(loss, gradient, (W, np.zeros(4), v)) in NOT_WRONG
    report = audit(loss, lambda *p: (gradient(*p)[0], gradient(*p)[1], 2 * gradient(*p)[2]), (W, np.zeros(4), v))
    assert report.verdict == "disagree" and wrong_in(report) == ["x[2]"], report
    assert verdict(loss, lambda *p: (2 * gradient(*p)[0], *gradient(*p)[1:]), (W, np.zeros(4), v)) == "disagree"


# autograd issues 151, 183, pytorch issue 2421, jax issue 21723: |x| and norms at 0
@pytest.mark.parametrize(
    "penalty", [lambda w: np.abs(w).sum(), lambda w: np.maximum(w, -w).sum(), lambda w: np.sqrt(w * w).sum()]
)
def test_the_lasso_at_zero(penalty):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((50, 4)), rng.standard_normal(50)
    loss = lambda w: 0.5 * np.mean((X @ w - y) ** 2) + penalty(w)  # noqa: E731
    gradient = lambda w: X.T @ (X @ w - y) / 50 + np.sign(w)  # noqa: E731
    report = audit(loss, gradient, np.zeros(4))
    assert report.verdict == "agree" and len(report.arguments[0].kinks) == 4, report
    assert verdict(loss, lambda w: gradient(w) + 2, np.zeros(4)) == "disagree"
    half = np.array([0.0, 0.5, 0.0, -1.0])
    assert verdict(loss, gradient, half) == "agree"
    assert verdict(loss, lambda w: gradient(w) * [1, 1, 1, 1.001], half) == "disagree"


def test_the_group_lasso_at_zero():
    loss = lambda W: 0.5 * np.sum((W - 1) ** 2) + np.linalg.norm(W, axis=1).sum()  # noqa: E731
    report = audit(loss, lambda W: W - 1, np.zeros((3, 2)), points=[])
    assert report.verdict == "agree" and report.arguments[0].kinks, report
    assert verdict(loss, lambda W: W - 3, np.zeros((3, 2)), points=[]) in NOT_RIGHT


# caffe issues 6814, 2312: many kinks; cs231n's notes on them
def many_kinks(seed, H, N):
    r = np.random.default_rng(seed)
    X, y = r.standard_normal((N, 5)), r.standard_normal(N)

    def loss(W, v):
        return float(0.5 * np.mean((np.maximum(X @ np.real(W).T, 0) @ np.real(v) - y) ** 2))

    def gradient(W, v):
        z = X @ W.T
        h = np.maximum(z, 0)
        e = (h @ v - y) / N
        return (np.outer(e, v) * (z > 0)).T @ X, h.T @ e

    return loss, gradient, (r.standard_normal((H, 5)), r.standard_normal(H))


def absolute_errors(seed, N, function=np.abs):
    r = np.random.default_rng(seed)
    X, y = r.standard_normal((N, 4)), r.standard_normal(N)
    return lambda w: function(X @ w - y).mean(), lambda w: X.T @ np.sign(X @ w - y) / N, r.standard_normal(4)


def test_kinks_denser_than_steps():
    assert verdict(*many_kinks(6, 20, 200)) in NOT_WRONG
    for seed in range(6):
        assert verdict(*absolute_errors(seed, 5000)) in NOT_WRONG
        assert verdict(*absolute_errors(seed, 5000, lambda r: np.sqrt(np.real(r) ** 2))) in NOT_WRONG
        loss, gradient, x = absolute_errors(seed, 5000)
        assert verdict(loss, lambda w, g=gradient: 1.1 * g(w), x) in NOT_RIGHT


@pytest.mark.slow
def test_kinks_denser_than_steps_at_full_size():
    for seed in range(6, 9):
        assert verdict(*many_kinks(seed, 100, 500)) in NOT_WRONG
    for seed in range(20):
        assert verdict(*absolute_errors(seed, 10_000)) in NOT_WRONG


# qeep issue 101, tensorflow issue 51681: a maximum with ties
@pytest.mark.parametrize("largest", [lambda x: x.max(), lambda x: np.sort(x)[-1], lambda x: max(x)])
def test_two_entries_tie_for_the_maximum(largest):
    x = np.array([2.0, 2.0, 1.0])
    here = {"points": []}
    for g, right in (
        ([1, 0, 0], True),
        ([0.5, 0.5, 0], True),
        ([1, 1, 0], False),
        ([0, 0, 1], False),
        ([0, 0, 0], False),
    ):
        found = verdict(largest, lambda x, g=g: np.array(g, float), x, **here)
        assert found in (NOT_WRONG if right else NOT_RIGHT), g


def test_ties_in_max_pooling():
    x = np.array([[1.0, 1.0, 0.2], [0.5, 0.3, 0.5]])
    loss = lambda x: (x.max(axis=1) ** 2).sum()  # noqa: E731
    everyone = lambda x: 2.0 * x * (x == x.max(axis=1, keepdims=True))  # noqa: E731
    first = lambda x: 2.0 * x * (np.arange(3) == x.argmax(axis=1)[:, None])  # noqa: E731
    assert verdict(loss, everyone, x) in NOT_RIGHT
    assert verdict(loss, first, x) in NOT_WRONG


# Liger-Kernel pull 1374: |p - q| at p = q
def test_every_entry_is_on_a_kink():
    q = np.random.default_rng(1).random(32)
    loss = lambda p: 0.5 * np.abs(p - q).sum()  # noqa: E731
    report = audit(loss, lambda p: np.where(p > q, 0.5, -0.5), q.copy(), points=[])
    assert report.verdict == "undetermined" or (report.verdict == "agree" and says(report, "32")), report
    assert says(report, "kink")
    assert verdict(loss, lambda p: np.where(p > q, 0.5, -0.7), q.copy()) in NOT_RIGHT


def test_beside_a_kink_is_not_on_it():
    x = np.array([1e-9, -1e-9, 1e-5, -1e-5, 1.0])
    for loss in (lambda x: np.abs(x).sum(), lambda x: np.maximum(x, 0).sum() * 2 - x.sum()):
        assert verdict(loss, np.sign, x) == "agree"
        assert verdict(loss, lambda x: np.abs(np.sign(x)), x) == "disagree"


def test_a_kink_of_second_order_is_none():
    x = np.array([0.0, 0.5, -0.5, 0.0])
    loss, gradient = (lambda x: (np.maximum(x, 0) ** 2).sum() + x.sum()), (lambda x: 2 * np.maximum(x, 0) + 1)
    report = audit(loss, gradient, x)
    assert report.verdict == "agree" and not report.arguments[0].kinks, report
    assert verdict(loss, lambda x: 2 * x + 1, x) == "disagree"


# ---- Symmetric matrices and manifolds


# pytorch issue 30578, autograd pulls 412, 527: functions that read one triangle
def test_a_function_that_reads_one_triangle():
    rng = np.random.default_rng(0)
    B, w = rng.standard_normal((3, 3)), rng.standard_normal(3)
    S = B @ B.T + np.eye(3)

    def gradient(S):
        V = np.linalg.eigh(S)[1]
        return V @ np.diag(w) @ V.T

    report = audit(lambda S: np.linalg.eigvalsh(S) @ w, gradient, S, names=("S",))
    assert report.verdict == "agree" or says(report, "symmetric"), report
    doubled = audit(lambda S: np.linalg.eigvalsh(S) @ w, lambda S: 2 * gradient(S), S, names=("S",))
    assert doubled.verdict in NOT_RIGHT, doubled
    assert verdict(lambda S: np.linalg.eigvalsh((S + S.T) / 2) @ w, gradient, S) == "agree"


@pytest.mark.parametrize("n", [2, 5])
def test_a_determinant_by_cholesky(n):
    rng = np.random.default_rng(n)
    B = rng.standard_normal((n, n))
    S = B @ B.T + np.eye(n)
    loss = lambda S: 2 * np.log(np.diag(np.linalg.cholesky(S))).sum()  # noqa: E731
    report = audit(loss, np.linalg.inv, S)
    assert report.verdict == "agree" or says(report, "symmetric"), report
    half = lambda S: np.tril(2 * np.linalg.inv(S)) - np.diag(np.diag(np.linalg.inv(S)))  # noqa: E731
    assert verdict(loss, half, S) in NOT_WRONG  # the derivative by the entries that are read


# pymanopt pulls 291, 105: Riemannian gradients
def test_a_gradient_on_the_sphere():
    rng = np.random.default_rng(0)
    A, u = rng.standard_normal((4, 4)), rng.standard_normal(4)
    A, u = A + A.T, u / np.linalg.norm(u)

    def riemannian(u):
        g = -2 * A @ u
        return g - (g @ u) * u

    report = audit(lambda u: -u @ A @ u, riemannian, u, points=[])
    assert report.verdict == "agree" or says(report, "sphere|parallel|tangent|normal"), report
    assert verdict(lambda u: -(u @ A @ u) / (u @ u), riemannian, u, points=[]) == "agree"


# ---- Wrong, but not at this x


# Knet issue 288: gamma forgotten, tested at gamma = 1
def test_a_gain_of_one_hides_nothing():
    rng = np.random.default_rng(0)
    X, R = rng.standard_normal((6, 3)), rng.standard_normal((6, 3))

    def norm(X, g):
        c = X - X.mean(0)
        return np.sum(R * g * c / np.sqrt((c * c).mean(0)))

    def gradient(X, g, gain=False):
        s = 1 / X.std(0)
        h, dy = (X - X.mean(0)) * s, R * g if gain else R
        return s * (dy - dy.mean(0) - h * (dy * h).mean(0)), (R * h).sum(0)

    for g in (np.ones(3), rng.random(3) + 0.5):
        assert verdict(norm, gradient, (X, g)) == "disagree"
        assert verdict(norm, lambda X, g: gradient(X, g, gain=True), (X, g)) == "agree"


# scikit-learn 11113, 26502: d/dl for d/dlog l, tested at l = 1
@pytest.mark.parametrize("t", [0.0, 0.7])
def test_a_length_of_one_hides_nothing(t):
    rng = np.random.default_rng(0)
    D, Q = rng.random((4, 4)), rng.standard_normal((4, 4))
    K = lambda t: np.exp(-0.5 * D / np.exp(t[0]) ** 2)  # noqa: E731
    loss = lambda t: np.sum(Q * K(t))  # noqa: E731
    assert verdict(loss, lambda t: np.array([np.sum(Q * K(t) * D / np.exp(t[0]) ** 3)]), np.array([t])) == "disagree"
    assert verdict(loss, lambda t: np.array([np.sum(Q * K(t) * D / np.exp(t[0]) ** 2)]), np.array([t])) == "agree"


# pytorch 4355: the upstream gradient forgotten, tested with a plain sum
def test_an_upstream_gradient_forgotten():
    rng = np.random.default_rng(0)
    w, up = rng.standard_normal(5), rng.standard_normal(5)
    assert verdict(lambda x: up @ np.tanh(x), lambda x: 1 - np.tanh(x) ** 2, w) == "disagree"
    assert verdict(lambda x: np.ones(5) @ np.tanh(x), lambda x: 1 - np.tanh(x) ** 2, w) == "agree"


M = np.random.default_rng(5).standard_normal((3, 3))
SPECIAL = {
    "x = 1, x for x^2": (lambda x: np.sum(x**3) / 3, lambda x: x, np.ones(4)),
    "x = 0, cross term": (lambda x: np.sum(x + x**2 / 2) + x[0] * x[1], lambda x: 1 + x, np.zeros(2)),
    "the identity, transposes forgotten": (lambda W: np.sum(M * (W @ W)), lambda W: M @ W + W @ M, np.eye(3)),
    "zeros, transposed": (lambda W: np.sum(M * W) + np.sum(W * W.T), lambda W: M + 2 * W, np.zeros((3, 3))),
    "a multiple of the identity, not commuting": (
        lambda W: np.sum(M * (W @ W @ W)),
        lambda W: 3 * M @ W @ W,
        2 * np.eye(3),
    ),
    "x = 2, 2 x for x^2": (lambda x: np.sum(x**3) / 3, lambda x: 2 * x, np.full(3, 2.0)),
    "decay towards one": (lambda x: np.sum(np.exp(x)), lambda x: np.exp(x) + 1e-3 * (x - 1), np.ones(3)),
    "equal logits, their mean": (
        lambda z: np.sum(np.exp(z) / np.exp(z).sum() * np.arange(3.0)),
        lambda z: np.exp(z) / np.exp(z).sum() * np.array([-1.0, 0.0, 1.0]),
        np.zeros(3),
    ),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_points_where_a_wrong_gradient_happens_to_be_right(name):
    assert verdict(*SPECIAL[name]) == "disagree"


def test_transposes_forgotten_at_a_symmetric_matrix():
    """Right along symmetric matrices, and wrong off them: at least no plain agreement."""
    W = np.array([[2.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 1.0]])
    report = audit(lambda W: np.sum(M * (W @ W)), lambda W: M @ W + W @ M, W)
    assert report.verdict in NOT_RIGHT or says(report, "symmetric"), report


def test_a_gradient_that_was_computed_before():
    """The same array at every point: right at x; whether it is a function of x is open, and said."""
    x = np.random.default_rng(0).standard_normal(4)
    known = np.cos(x)
    report = audit(lambda x: np.sum(np.sin(x)), lambda x: known, x)
    assert report.verdict in NOT_WRONG and says(report, "same array|constant"), report
    assert verdict(lambda x: np.sum(np.sin(x)), lambda x: 2 * known, x) == "disagree"


def test_points_of_the_callers_own():
    """A branch that x does not see: the gradient forgets that the loss is cut off at 3."""
    loss, gradient = (lambda x: np.minimum(x**2, 9).sum()), (lambda x: 2 * x)
    x, beyond = np.array([0.5, -1.0, 2.0]), np.array([0.5, -1.0, 4.0])
    assert verdict(loss, gradient, x) == "agree"
    assert verdict(loss, gradient, x, points=[beyond]) == "disagree"
    assert verdict(loss, lambda x: 2 * x * (abs(x) < 3), x, points=[beyond, -beyond]) == "agree"


# ---- One entry of many


# llm.c issue 428, dlib issue 2902: one entry of a large array
@pytest.mark.parametrize("factor", [1.5, 1.1, 1.01, 1.001])
def test_one_entry_of_a_hundred_thousand(factor):
    rng = np.random.default_rng(0)
    n = 100_000
    c = rng.standard_normal(n) * np.exp(rng.standard_normal(n))
    x = rng.standard_normal(n)
    for seed in range(2):
        k = int(np.random.default_rng(seed).integers(n))

        def gradient(x, k=k):
            g = c * np.cos(x)
            g[k] *= factor
            return g

        report = audit(lambda x: np.sum(c * np.sin(x)), gradient, x, entries=5, seed=seed)
        assert report.verdict == "disagree" and report.arguments[0].worst["index"] == [k], report


def image_net(sizes, batch):
    rng = np.random.default_rng(0)
    inputs, hidden, outputs = sizes
    X, Y = rng.standard_normal((batch, inputs)) * 0.3, np.eye(outputs)[rng.integers(0, outputs, batch)]
    x = (
        rng.standard_normal((inputs, hidden)) * 0.05,
        np.zeros(hidden),
        rng.standard_normal((hidden, outputs)) * 0.1,
        np.zeros(outputs),
    )

    def forward(W1, b1, W2, b2):
        z = X @ W1 + b1
        return z, np.maximum(z, 0), np.maximum(z, 0) @ W2 + b2

    def loss(*p):
        s = forward(*p)[2]
        return np.mean(np.log(np.exp(s).sum(1)) - (s * Y).sum(1))

    def gradient(W1, b1, W2, b2, off=1.0, at=(30, 17)):
        z, h, s = forward(W1, b1, W2, b2)
        d = (np.exp(s) / np.exp(s).sum(1, keepdims=True) - Y) / batch
        dh = d @ W2.T * (z > 0)
        dW1 = X.T @ dh
        dW1[at] *= off
        return dW1, dh.sum(0), h.T @ d, d.sum(0)

    return loss, gradient, x


def named_entry(sizes, batch, at):
    loss, gradient, x = image_net(sizes, batch)
    names = ("W1", "b1", "W2", "b2")
    assert verdict(loss, gradient, x, names=names) == "agree"
    report = audit(loss, lambda *p: gradient(*p, off=1.5, at=at), x, names=names)
    assert report.verdict == "disagree" and wrong_in(report) == ["W1"], report
    assert report.arguments[0].worst["index"] == list(at), report


def test_one_entry_of_a_net_is_named():
    named_entry((60, 40, 5), 16, (30, 17))


@pytest.mark.slow
def test_one_entry_of_a_net_for_images_is_named():
    named_entry((784, 128, 10), 64, (300, 17))


@pytest.mark.parametrize("real_only", [False, True])
def test_the_cost_of_five_hundred_entries(real_only):
    x, calls = np.random.default_rng(0).standard_normal(500), 0

    def loss(x):
        nonlocal calls
        calls += 1
        value = np.sum(x**2)
        return float(np.real(x) @ np.real(x)) if real_only else value

    assert verdict(loss, lambda x: 2 * x, x) == "agree"
    assert calls < (6000 if real_only else 2000)
    calls = 0
    assert verdict(loss, lambda x: 2 * x, x, entries=5) in NOT_WRONG
    assert calls < 400
