"""Beside x the loss may be another function: one that the witness does not take, or errs on; or there is no place at all."""

import math

import numpy as np
import pytest
import scipy.linalg
from verdicts import audit

SEEDS = range(4)


def verdicts(make, right, seeds=SEEDS):
    """The verdicts on make(seed, right) = (loss, gradient, x)."""
    return [audit(*make(seed, right), seed=seed, mend=0).verdict for seed in seeds]


# ---- Nothing that the witness takes


def sinc_with_a_shortcut(seed, right):
    c = np.random.default_rng(seed).standard_normal(3)

    def sinc(u):
        return 1 - u / 6 if u < 1e-6 else math.sin(math.sqrt(u)) / math.sqrt(u)

    def slope(u):
        r = math.sqrt(u)
        return -1 / 6 if u < 1e-6 else (r * math.cos(r) - math.sin(r)) / (2 * r**3)

    def gradient(x):
        return sinc(x @ x) * c + (2 * slope(x @ x) * (c @ x) * x if right else 0.0)

    return lambda x: sinc(x @ x) * (c @ x), gradient, np.zeros(3)


def exponential_with_a_shortcut(seed, right):
    C = np.random.default_rng(seed).standard_normal((3, 3))

    def loss(A):
        return np.sum(C * (np.eye(3) + A)) if abs(A).max() < 1e-8 else np.sum(C * scipy.linalg.expm(A))

    def gradient(A):
        return scipy.linalg.expm_frechet(A.T, C, compute_expm=False) if right else scipy.linalg.expm(A).T @ C

    return loss, gradient, np.zeros((3, 3))


@pytest.mark.parametrize(("make", "seeds"), [(sinc_with_a_shortcut, 4), (exponential_with_a_shortcut, 1)])
def test_where_the_witness_of_x_gives_nothing_differences_are_asked(make, seeds):
    assert verdicts(make, right=False, seeds=range(seeds)) == ["disagree"] * seeds
    assert verdicts(make, right=True, seeds=range(seeds)) == ["agree"] * seeds
    found = audit(*make(0, True), mend=0)
    assert "dual numbers and differences" in found.reason


# ---- A witness that errs


def l1_ball(seed, right):
    """Half the squared distance of y from the projection on the ball, whose threshold is found by bisection; x is inside."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, 5))
    x *= 0.999 / np.abs(x).sum()

    def projected(x):
        sizes, t = np.abs(x), None
        if sizes.sum() > 1:
            low, high = 0.0, 1.0
            for _ in range(60):
                t = (low + high) / 2
                low, high = (t, high) if np.sum(np.maximum(sizes - t, 0)) > 1 else (low, t)
            x = np.sign(x) * np.maximum(sizes - t, 0)
        return x, t

    def gradient(x):
        p, t = projected(x)
        g = p - y
        if t is None:
            return g
        m = np.sign(x) * (np.abs(x) > t)
        return m * m * g - (m * (m @ g) / (m @ m) if right else 0.0)

    return lambda x: 0.5 * np.sum((projected(x)[0] - y) ** 2), gradient, x


def l2_ball(seed, right):
    """The norm of a complex step is no analytic function."""
    rng = np.random.default_rng(seed)
    x, c = rng.standard_normal((2, 4))
    x *= 0.999 / np.linalg.norm(x)

    def gradient(x):
        n = max(np.linalg.norm(x), 1)
        y = x / n
        g = c * np.exp(y)
        return g if n == 1 else (g - (y @ g) * y) / n if right else g / n

    def loss(x):
        return np.sum(c * scipy.linalg.expm(np.diag(x / max(np.linalg.norm(x), 1))).diagonal())

    return loss, gradient, x


@pytest.mark.parametrize("make", [l1_ball, l2_ball])
def test_a_witness_that_errs_beside_x_is_not_believed(make):
    assert verdicts(make, right=False, seeds=range(8)).count("disagree") >= 6  # or no place is outside of the ball
    assert "disagree" not in verdicts(make, right=True, seeds=range(8))
    assert verdicts(make, right=True, seeds=range(8)).count("agree") >= 6


def sparsemax_by_bisection(seed, right):
    """A small term; the bisection is one of arrays."""
    rng = np.random.default_rng(seed)
    Z, Y = rng.standard_normal((2, 3, 6))

    def p(Z):
        low, d = Z.max(1, keepdims=True) - 1, np.ones((3, 1))
        for _ in range(60):
            d = d / 2
            low = np.where(np.sum(np.maximum(Z - low - d, 0), 1, keepdims=True) >= 1, low + d, low)
        return np.maximum(Z - low, 0)

    def gradient(Z):
        m = p(Z) > 0
        g = m * Y
        if right:
            g = g - m * (g.sum(1, keepdims=True) / m.sum(1, keepdims=True))
        else:
            g[np.arange(3), Z.argmax(1)] -= g.sum(1)
        return 3 * Z * Z + 1e-6 * g

    return lambda Z: np.sum(Z * Z * Z) + 1e-6 * np.sum(Y * p(Z)), gradient, Z


def test_a_bisection_of_arrays_hides_a_derivative_too():
    assert "agree" not in verdicts(sparsemax_by_bisection, right=False, seeds=range(2))
    assert "disagree" not in verdicts(sparsemax_by_bisection, right=True, seeds=range(1))


def test_layers_of_a_network_are_no_bisection():
    rng = np.random.default_rng(0)
    layers = rng.standard_normal((10, 4, 4)) / 2

    def forward(x):
        kept = []
        for W in layers:
            x = W @ x
            kept.append(x > 0)
            x = np.where(x > 0, x, 0.1 * x)
        return x, kept

    def gradient(x):
        g = np.ones(4)
        for W, on in zip(layers[::-1], forward(x)[1][::-1], strict=True):
            g = W.T @ np.where(on, g, 0.1 * g)
        return g

    found = audit(lambda x: np.sum(forward(x)[0]), gradient, rng.standard_normal(4), mend=0)
    assert found.verdict == "agree" and found.arguments[0].witness == "dual numbers"


# ---- An argument whose derivatives do not show in the loss's last digit


@pytest.mark.parametrize("big", [1e6, 1e7, 1e8])
def test_what_dual_numbers_see_beside_a_huge_loss_is_compared(big):
    rng = np.random.default_rng(0)
    A, y = rng.standard_normal((50, 5)), big * rng.standard_normal(50)
    x = big * rng.standard_normal(5), np.ones(3)

    def loss(w, b):
        return np.sum((A @ w - y) ** 2) + 0.5 * np.sum(b**3)

    assert audit(loss, lambda w, b: (2 * A.T @ (A @ w - y), 1.5 * b**2), x, mend=0).verdict == "agree"
    assert audit(loss, lambda w, b: (2 * A.T @ (A @ w - y), 1.5 * b), x, mend=0).verdict == "disagree"


def test_rounding_beside_a_loss_is_not_compared():
    """The derivative by a shift of all scores is 0, and what dual numbers carry is rounding, as what is given."""
    c = np.array([0.3, -1.0, 0.7])

    def attn(s):
        e = np.exp(s - s.max())
        return e / e.sum()

    def gradient(s, b):
        p = attn(s + b)
        g = p * (c - c @ p)
        return g, g.sum()

    for seed in SEEDS:
        s = np.random.default_rng(seed).standard_normal(3)
        assert audit(lambda s, b: attn(s + b) @ c, gradient, (s, 0.4), seed=seed, mend=0).verdict == "agree"


@pytest.mark.parametrize("given", ["zero", "computed"])
def test_a_bias_before_normalisation_has_no_derivative(given):
    """Dual numbers leave rounding of its step, whatever x is."""
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        X, y = rng.standard_normal((12, 4)), rng.standard_normal((12, 3))
        x = rng.standard_normal((4, 3)), rng.standard_normal(3), rng.standard_normal(3)

        def normalised(W, b, X=X):
            z = X @ W + b
            v = z.var(0) + 1e-5
            return (z - z.mean(0)) / np.sqrt(v), v

        def loss(W, b, g, y=y, normalised=normalised):
            return np.mean((normalised(W, b)[0] * g - y) ** 2)

        def gradient(W, b, g, X=X, y=y, normalised=normalised):
            n, v = normalised(W, b)
            d = 2 * (n * g - y) / n.size
            dn = d * g
            dz = (dn - dn.mean(0) - n * (dn * n).mean(0)) / np.sqrt(v)
            return X.T @ dz, np.zeros(3) if given == "zero" else dz.sum(0), (d * n).sum(0)

        assert audit(loss, gradient, x, seed=seed, mend=0).verdict == "agree"


def test_a_long_loop_of_choices_is_no_bisection_beside_a_large_constant():
    W = np.random.default_rng(0).standard_normal((3, 3)) / 2

    def states(x):
        found = [x]
        for _ in range(40):
            z = W @ found[-1] + x
            found.append(np.where(z > 0, z, 0.3 * z))
        return found

    def gradient(x):
        kept, g, total = states(x), np.ones(3), np.zeros(3)
        for before in kept[-2::-1]:
            dz = np.where(W @ before + x > 0, g, 0.3 * g)
            total, g = total + dz, W.T @ dz
        return total + g

    for seed in SEEDS:
        x = np.random.default_rng(seed).standard_normal(3)
        assert audit(lambda x: 1e9 + np.sum(states(x)[-1]), gradient, x, seed=seed, mend=0).verdict == "agree"


# ---- Constants of nature


def test_constants_of_nature_are_no_rounding():
    """Planck's law. Moved by a typical size of the others, they are another world."""
    x = np.array([6.6e-34, 3e8, 1.4e-23, 5800.0])

    def loss(x):
        h, c, k, T = x
        return 1e-13 * h * c**2 / (5e-7**5 * np.expm1(h * c / (5e-7 * k * T)))

    def gradient(x):
        h, c, k, T = x
        u = h * c / (5e-7 * k * T)
        f = loss(x)
        s = -f * np.exp(u) / np.expm1(u)
        return np.array([f / h + s * u / h, 2 * f / c + s * u / c, -s * u / k, -s * u / T])

    for seed in SEEDS:
        assert audit(loss, gradient, x, seed=seed, mend=0).verdict == "agree"


# ---- No place beside x


def test_a_loss_that_is_defined_at_x_alone_is_said_to_be():
    P, Q = np.random.default_rng(0).standard_normal((2, 6, 3))
    D = np.diag([1.0, 2.0, 3.0])

    def loss(R):
        if not np.allclose(R @ R.T, np.eye(3), atol=1e-6):
            raise ValueError("no rotation")
        return np.sum((P @ R.T @ D @ R - Q) ** 2)

    def gradient(R, right):
        M = 2 * (P @ R.T @ D @ R - Q).T @ P
        return D @ R @ (M + M.T) if right else D @ (M + M.T) @ R.T

    other = np.linalg.qr(P[:3])[0]
    special = audit(loss, lambda R: gradient(R, False), np.eye(3), mend=0)
    assert special.verdict == "undetermined" and "x has zeros and ones, and there is no place near x" in special.reason
    assert audit(loss, lambda R: gradient(R, False), other, mend=0).verdict == "disagree"
    found = audit(loss, lambda R: gradient(R, True), other, mend=0)
    assert found.verdict == "agree" and "no place near x" in str(found)


# ---- An iteration that stops early


def test_what_an_iteration_leaves_is_no_mistake(tolerance=1e-6, seeds=(1, 11)):
    """The exact derivative of a fixed point that is not reached: beside an entry near 0 what is left is large."""

    def make(seed, right):
        rng = np.random.default_rng(seed)
        W, b, c = rng.standard_normal((4, 4)), rng.standard_normal(4), rng.standard_normal(4)
        W *= 0.5 / np.linalg.norm(W, 2)

        def solved(W, b):
            z = np.zeros(4)
            while True:
                new = np.tanh(W @ z + b)
                if np.linalg.norm(new - z) < tolerance:
                    return new
                z = new

        def gradient(W, b):
            z = solved(W, b)
            D = 1 - z * z
            u = D * (np.linalg.solve(np.eye(4) - (D[:, None] * W).T, c) if right else c)
            return np.outer(u, z), u

        return lambda W, b: c @ solved(W, b), gradient, (W, b)

    assert "disagree" not in verdicts(make, right=True, seeds=seeds)
    assert verdicts(make, right=False, seeds=seeds) == ["disagree"] * len(seeds)


def test_comparisons_with_small_numbers_are_no_iteration():
    """A soft threshold entry by entry: a small term that is forgotten is wrong for sure."""
    x, c = np.array([0.7, -0.2, 1.3, 0.4]), np.array([1.0, -2.0, 0.5, 0.002])

    def loss(x):
        return sum(c[i] * x[i] ** 2 if abs(x[i]) > 1e-3 else 0.0 for i in range(4))

    assert audit(loss, lambda x: 2 * c * x, x, mend=0).verdict == "agree"
    assert audit(loss, lambda x: 2 * c * x * [1, 1, 1, 0], x, mend=0).verdict == "disagree"
