"""Kinks, symmetric matrices, spheres, special points, and one entry of many.

Situations from public bug reports. Each test is named after its situation; the comment above names the reports that it was met
in. Beside the situation itself stand variations of it.
"""

import numpy as np
import pytest
from verdicts import NOT_RIGHT, NOT_WRONG, audit, says, verdict, wrong_in

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
ROOT = lambda w: np.sqrt(w * w).sum()  # noqa: E731


@pytest.mark.parametrize("penalty", [lambda w: np.abs(w).sum(), lambda w: np.maximum(w, -w).sum(), ROOT])
def test_the_lasso_at_zero(penalty):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((50, 4)), rng.standard_normal(50)
    loss = lambda w: 0.5 * np.mean((X @ w - y) ** 2) + penalty(w)  # noqa: E731
    gradient = lambda w: X.T @ (X @ w - y) / 50 + np.sign(w)  # noqa: E731
    report = audit(loss, gradient, np.zeros(4))
    assert report.verdict == "agree" and len(report.arguments[0].kinks) == 4, report
    off = verdict(loss, lambda w: gradient(w) + 2, np.zeros(4))
    assert off in (NOT_RIGHT if penalty is ROOT else ("disagree",))  # of a root at 0, how many pieces meet is not seen
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
    """Where x is symmetric, it may always be: then the gradient is right where it is used, and the report asks."""
    report = audit(*SPECIAL[name])
    if "transpose" in name:
        assert report.verdict == "undetermined" and says(report, "symmetric="), report
        assert verdict(*SPECIAL[name], symmetric="x") == "agree"
    else:
        assert report.verdict == "disagree", report


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
