"""Wrong gradients that used to agree: state, numbers that are none, unused arguments, parts that a complex step drops.

Situations from public bug reports. Each test is named after its situation; the comment above names the reports that it was met
in. Beside the situation itself stand variations of it.
"""

import re
from collections import namedtuple
from typing import NamedTuple

import numpy as np
import pytest
from verdicts import NOT_RIGHT, NOT_WRONG, audit, says, verdict, words, wrong_in

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


@pytest.mark.parametrize("through", ["text", "bytes", "ints"])
def test_one_argument_that_enters_by_other_means(through):
    """A derivative that is lost on the way is not a derivative of zero."""
    way = {
        "text": lambda b: sum(float(repr(float(v))) ** 2 for v in b),
        "bytes": lambda b: np.sum(np.frombuffer(np.asarray(b, float).tobytes()) ** 2),
        "ints": lambda b: sum((int(float(v) * 2**60) / 2**60) ** 2 for v in b),
    }[through]
    a, b = np.random.default_rng(0).standard_normal((2, 3))
    loss = lambda a, b: np.sum(np.sin(a)) + way(b)  # noqa: E731
    assert verdict(loss, lambda a, b: (np.cos(a), 2 * b), (a, b)) in NOT_WRONG
    assert verdict(loss, lambda a, b: (np.cos(a), 0 * b), (a, b)) in NOT_RIGHT
    assert verdict(loss, lambda a, b: (np.cos(a), 3 * b), (a, b)) in NOT_RIGHT
